"""Commands of lossless compression: compress and decompress."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dct_jax.codec import SparseDCT
from dct_jax.codec.jpeg import check_values
from dct_jax.commands.arguments import JPEG_SUFFIXES, parse, say
from dct_jax.commands.folder import Folder
from dct_jax.commands.runs import load_dct
from dct_jax.commands.sizes import SizeTable
from dct_jax.storage.files import read_limited, replacing

if TYPE_CHECKING:
    from dct_jax.dct.trained_model import TrainedModel

SUFFIX = ".dct"


@dataclass(frozen=True)
class Compress:
    """Compresses a JPEG file, or all in a folder, without loss, with a model's probabilities.

    What comes back is a JPEG file with the file's coefficients, but other bytes: comments and
    profiles are left out, and a picture that an Exif tag turns comes back upright. A table compares
    the sizes with those that established coders need for these coefficients.

    Attributes:
        run: folder of the run whose best checkpoint is used; `decompress` needs this run, too.
        image: a JPEG file of any size, with the quantisation tables and the chroma subsampling that
            the model was trained with; or a folder, whose tree is searched for JPEG files.
        label: the class by name or number, for a class-conditional model. By default the class is
            hidden if the model was trained so, and it is the first one otherwise.
        strict: refuse files with bytes after their last block, which do not come back.
        verify: decompress each file before it is written. One that does not come back is left out.
        coders: whether to run the other coders that are installed, which takes a moment for each
            picture.
        out: the file to write; the image's name with the suffix .dct by default. For a folder: the
            folder to write to, with a tree like the images'; by default the files stand beside the
            images.
    """

    run: Annotated[str, tyro.conf.Positional]
    image: Annotated[Path, tyro.conf.Positional]
    label: str = ""
    strict: bool = True
    verify: bool = False
    coders: bool = True
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None


@dataclass(frozen=True)
class Decompress:
    """Makes the JPEG file again, or all in a folder, that `compress` was given.

    Attributes:
        run: folder of the run with whose checkpoint the file was compressed.
        file: what `compress` wrote, or a folder, whose tree is searched for .dct files.
        out: the JPEG file to write; FILE-decompressed.jpg by default, as the original may stand
            beside it. For a folder: the folder to write to, with a tree like FILE's and names that
            end in .jpg.
    """

    run: Annotated[str, tyro.conf.Positional]
    file: Annotated[Path, tyro.conf.Positional]
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None


def compress(args: Sequence[str]) -> int:
    """Runs `compress RUN IMAGE`."""
    command = parse(Compress, args, "compress")
    if command.image.is_dir():
        return _compress_folder(command)
    jpeg = read_limited(command.image)
    model = load_dct(command.run, "compress")
    label = _find_label(model, command.label)
    try:
        sparse = _read_list(model, jpeg, command.strict)
        ((_, data),) = _compress_many(model, [sparse], label, command.verify)
        if isinstance(data, ValueError):
            raise data
    except ValueError as error:
        raise ValueError(f"{command.image}: {error}") from None
    out = command.out or command.image.with_suffix(SUFFIX)
    with replacing(out) as path:
        path.write_bytes(data)
    table = _size_table(model, command)
    table.measure(jpeg, sparse)
    rate = f"{8 * len(data) / (sparse.size[0] * sparse.size[1]):.3f} bits per pixel"
    share = f"{100 * len(data) / len(jpeg):.1f} %"
    return say(f"{len(jpeg)} bytes became {len(data)} ({rate}, {share}) in {out}", *table.lines({0: len(data)}))


def decompress(args: Sequence[str]) -> int:
    """Runs `decompress RUN FILE`."""
    command = parse(Decompress, args, "decompress")
    if command.file.is_dir():
        return _decompress_folder(command)
    out = command.out or command.file.with_name(f"{command.file.stem}-decompressed.jpg")
    if out.suffix.lower() not in JPEG_SUFFIXES:
        raise ValueError(f"{out}: what was compressed is a JPEG file; its name must end in .jpg")
    from dct_jax.dct import compression

    data = read_limited(command.file)
    model = load_dct(command.run, "decompress")
    ((_, sparse),) = compression.decompress_many(model, [data])
    if isinstance(sparse, ValueError):
        raise ValueError(f"{command.file}: {sparse}")
    with replacing(out) as path:
        path.write_bytes(sparse.to_jpeg())
    return say(f"{len(sparse)} triples, {sparse.size[0]} x {sparse.size[1]} pixels, are in {out}")


def _compress_folder(command: Compress) -> int:
    """Runs `compress RUN FOLDER`."""
    folder = Folder(command.image, command.out, "compressed")
    for file in folder.files(lambda suffix: suffix != SUFFIX):
        if file.suffix.lower() in JPEG_SUFFIXES:
            folder.take(file, SUFFIX)
        else:
            folder.leave_out(file, "the name does not end in .jpg or .jpeg")
    folder.check()
    model = load_dct(command.run, "compress")
    label = _find_label(model, command.label)
    table = _size_table(model, command)

    def read(jpeg: bytes) -> SparseDCT:
        sparse = _read_list(model, jpeg, command.strict)
        table.measure(jpeg, sparse)  # while the model works on other files
        return sparse

    results = _compress_many(model, folder.contents(read), label, command.verify)
    written = folder.write(results, bytes)
    return folder.report(written, table.lines(written))


def _decompress_folder(command: Decompress) -> int:
    """Runs `decompress RUN FOLDER`."""
    folder = Folder(command.file, command.out, "decompressed")
    for file in folder.files(lambda suffix: suffix == SUFFIX):
        folder.take(file, ".jpg")
    folder.check()
    from dct_jax.dct import compression

    model = load_dct(command.run, "decompress")
    results = compression.decompress_many(model, folder.contents(bytes))
    return folder.report(folder.write(results, SparseDCT.to_jpeg))


def _find_label(model: "TrainedModel", name: str) -> int:
    """Returns the label of a class; without a name that of the hidden class, or else the first."""
    if name:
        return model.label(name)
    return model.config.model.num_classes if model.hides else 0


def _read_list(model: "TrainedModel", jpeg: bytes, strict: bool) -> SparseDCT:
    """Reads a file's list if the model knows its codec. In a folder equal reasons are grouped, so
    the errors say what holds for many files."""
    sparse = SparseDCT.from_jpeg(jpeg, model.codec.channel_order, strict=strict)
    ours, theirs = model.codec.chroma_subsampling, sparse.codec.chroma_subsampling
    if theirs != ours:
        raise ValueError(f"the chroma subsampling is {theirs}, and the model's {ours}")
    if not model.config.takes(sparse.codec):
        qualities = " to ".join(map(str, model.config.model.qualities))
        known = f"those of qualities {qualities}" if qualities else "the model's"
        raise ValueError(f"the quantisation tables are not {known}")
    check_values(sparse)  # or `decompress` could not write the file
    return sparse


def _compress_many(
    model: "TrainedModel", lists: Iterable[SparseDCT], label: int, verify: bool
) -> Iterator[tuple[int, bytes | ValueError]]:
    """Compresses lists of one class."""
    from dct_jax.dct.compression import compress_many
    from dct_jax.dct.compression.verification import verified

    results = compress_many(model, lists, itertools.repeat(label))
    return verified(model, results) if verify else results


def _size_table(model: "TrainedModel", command: Compress) -> SizeTable:
    return SizeTable.of_installed(model.codec) if command.coders else SizeTable()
