"""Commands of lossless compression: compress and decompress."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dct_jax.codec import SparseDCT
from dct_jax.commands.arguments import JPEG_SUFFIXES, parse, say
from dct_jax.commands.folder import Folder
from dct_jax.commands.runs import load_dct
from dct_jax.storage.files import read_limited, replacing

SUFFIX = ".dct"


@dataclass(frozen=True)
class Compress:
    """Compresses a JPEG file, or all in a folder, without loss, with a model's probabilities.

    What comes back is a JPEG file with the file's coefficients, but other bytes: comments and
    profiles are left out, and a picture that an Exif tag turns comes back upright.

    Attributes:
        run: folder of the run whose best checkpoint is used; `decompress` needs this run, too.
        image: a JPEG file with the quantisation tables and the chroma subsampling that the model
            was trained with; or a folder, whose tree is searched for JPEG files.
        label: the class by name or number, for a class-conditional model.
        strict: refuse files with bytes after their last block, which do not come back.
        out: the file to write; the image's name with the suffix .dct by default. For a folder: the
            folder to write to, with a tree like the images'; by default the files stand beside the
            images.
    """

    run: Annotated[str, tyro.conf.Positional]
    image: Annotated[Path, tyro.conf.Positional]
    label: str = ""
    strict: bool = True
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
    from dct_jax.dct import compression

    model = load_dct(command.run, "compress")
    sparse = SparseDCT.from_jpeg(command.image, model.codec.channel_order, strict=command.strict)
    try:
        data = compression.compress(model, sparse, model.label(command.label) if command.label else 0)
    except ValueError as error:
        raise ValueError(f"{command.image}: {error}") from None
    out = command.out or command.image.with_suffix(SUFFIX)
    with replacing(out) as path:
        path.write_bytes(data)
    before, pixels = command.image.stat().st_size, sparse.size[0] * sparse.size[1]
    rate = f"{8 * len(data) / pixels:.3f} bits per pixel"
    return say(f"{before} bytes became {len(data)} ({rate}, {100 * len(data) / before:.1f} %) in {out}")


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
    try:
        sparse = compression.decompress(model, data)
    except ValueError as error:
        raise ValueError(f"{command.file}: {error}") from None
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
    from dct_jax.dct import compression
    from dct_jax.dct.trained_model import TrainedModel

    def read_list(model: TrainedModel, file: Path) -> SparseDCT:
        """Reads a file's list if it fits the model; reasons are grouped, so they name no file."""
        sparse = SparseDCT.from_jpeg(file, model.codec.channel_order, strict=command.strict)
        ours, theirs = model.codec.chroma_subsampling, sparse.codec.chroma_subsampling
        if theirs != ours:
            raise ValueError(f"the chroma subsampling is {theirs}, and the model's {ours}")
        if sparse.codec != model.codec:
            raise ValueError("the quantisation tables are not the model's")
        try:
            model.check_size(sparse.size)
        except ValueError:
            height, width = model.config.data.image_size
            raise ValueError(f"the model has no pictures of this size; its canvas has {height} x {width} pixels") from None
        return sparse

    model = load_dct(command.run, "compress")
    label = model.label(command.label) if command.label else 0
    lists = folder.contents(lambda file: read_list(model, file))
    return folder.write(compression.compress_many(model, lists, itertools.repeat(label)), lambda data: data)


def _decompress_folder(command: Decompress) -> int:
    """Runs `decompress RUN FOLDER`."""
    folder = Folder(command.file, command.out, "decompressed")
    for file in folder.files(lambda suffix: suffix == SUFFIX):
        folder.take(file, ".jpg")
    folder.check()
    from dct_jax.dct import compression

    model = load_dct(command.run, "decompress")
    return folder.write(compression.decompress_many(model, folder.contents(read_limited)), SparseDCT.to_jpeg)
