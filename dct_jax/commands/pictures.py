"""Commands of pictures: encode, decode, show and stats."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from dct_jax import plots
from dct_jax.codec import DCTCodec, SparseDCT, load_npz, save_npz
from dct_jax.commands.arguments import JPEG_SUFFIXES, check_least, figure_file, parse, save_figure, save_image, say
from dct_jax.data.central_crops import evenly_spaced_crops
from dct_jax.data.pixels import read_image
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dct import statistics
from dct_jax.dct.plots.statistics import overview
from dct_jax.storage.files import replacing


@dataclass(frozen=True)
class Encode:
    """Turns an image into a file of triples.

    Attributes:
        image: any file that Pillow reads.
        codec: how to encode.
        own_coefficients: take a JPEG file's coefficients and tables as they are; then only the
            codec's channel order counts.
        strict: with own_coefficients, refuse a JPEG file whose data go on after its last block.
        out: the .npz file; the image's name with that suffix by default.
    """

    image: Annotated[Path, tyro.conf.Positional]
    codec: Annotated[DCTCodec, tyro.conf.arg(name="")] = field(default_factory=DCTCodec)
    own_coefficients: bool = False
    strict: bool = True
    out: Path | None = None


@dataclass(frozen=True)
class Decode:
    """Turns a file of triples into an image.

    Attributes:
        triples: a .npz file that `encode` wrote.
        out: the image file; TRIPLES-decoded.png by default, as the original may stand beside the
            triples. A .jpg file has exactly the list's coefficients, if its blocks are 8 x 8.
    """

    triples: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None


@dataclass(frozen=True)
class Show:
    """Plots an image's DCT blocks, the traces of its list, and its progressive stages.

    Attributes:
        image: any file that Pillow reads.
        codec: how to encode.
        out: the picture to write; IMAGE-triples.png by default.
    """

    image: Annotated[Path, tyro.conf.Positional]
    codec: Annotated[DCTCodec, tyro.conf.arg(name="")] = field(default_factory=DCTCodec)
    out: Path | None = None


@dataclass(frozen=True)
class Stats:
    """Tabulates how long lists of pictures are and how well they decode, by block size and quality.

    Attributes:
        source: "landscapes", "fashion", "folder:PATH", "tar:PATH", "csv:FILE", "idx:FOLDER" or
            "tfds:NAME[/CONFIG][:VERSION]".
        split: of a TFDS data set, as TFDS writes it; of a folder or a tar file, one sub-folder; of
            "fashion" and idx files, "train" or "test"; all by default.
        codec: the codec whose non-zeros are plotted by channel; other codecs differ from it in
            block size and quality only.
        qualities: qualities to try.
        block_sizes: block sizes to try, each with each quality.
        images: how many pictures at most, evenly spaced over the source.
        size: height and width in pixels to which central crops are reduced, as training would; by
            default pictures stay as they are.
        out: the plot to write.
    """

    source: Annotated[str, tyro.conf.Positional]
    codec: Annotated[DCTCodec, tyro.conf.arg(name="")] = field(default_factory=DCTCodec)
    qualities: tuple[int, ...] = (10, 25, 50, 75, 90)
    block_sizes: tuple[int, ...] = (8, 16, 32)
    split: str = ""
    images: int = 100
    size: tuple[int, int] | None = None
    out: Path = Path("stats.png")


def encode(args: Sequence[str]) -> int:
    """Runs `encode IMAGE`."""
    command = parse(Encode, args, "encode")
    if command.out and command.out.suffix != ".npz":
        raise ValueError(f"{command.out}: a file of triples must be .npz; `decode` makes images of it")
    if not command.strict and not command.own_coefficients:
        raise ValueError(
            "--no-strict is for the coefficients of a JPEG file, as in: encode FILE.jpg --own-coefficients --no-strict"
        )
    if command.own_coefficients:
        sparse = SparseDCT.from_jpeg(command.image, command.codec.channel_order, strict=command.strict)
    else:
        sparse = command.codec.encode(read_image(command.image))
    out = command.out or command.image.with_suffix(".npz")
    with replacing(out) as path, path.open("wb") as file:
        save_npz(file, sparse)
    return say(f"{len(sparse)} triples are in {out}")


def decode(args: Sequence[str]) -> int:
    """Runs `decode TRIPLES`."""
    command = parse(Decode, args, "decode")
    sparse = load_npz(command.triples)
    out = command.out or command.triples.with_name(f"{command.triples.stem}-decoded.png")
    if out.suffix.lower() in JPEG_SUFFIXES and sparse.codec.block_size == 8:
        with replacing(out) as path:
            path.write_bytes(sparse.to_jpeg())
    else:
        save_image(sparse.codec.decode(sparse), out)
    return say(f"the image is in {out}")


def show(args: Sequence[str]) -> int:
    """Runs `show IMAGE`."""
    command = parse(Show, args, "show")
    image = read_image(command.image)
    out = command.out or command.image.with_name(f"{command.image.stem}-triples.png")
    save_figure(plots.show(command.codec.encode(image), image), out)
    return say(f"the blocks, traces and stages are in {out}")


def stats(args: Sequence[str]) -> int:
    """Runs `stats SOURCE`."""
    command = parse(Stats, args, "stats")
    check_least(command, images=1)
    if command.size and min(command.size) < 1:
        raise ValueError(f"size is {command.size}; it must be positive")
    source = open_source(command.source, command.split)
    number = min(command.images, len(source))
    skipped = Skipped(number, most=1.0)
    codecs = statistics.sweep(command.codec, command.block_sizes, command.qualities)
    with figure_file(command.out) as path:  # the place is tried before the long work
        images = evenly_spaced_crops(source, number, command.size, skipped)
        rows = statistics.survey(tqdm(images, total=number, unit=" pictures", disable=None), codecs)
        overview(rows, command.codec).savefig(path)
    say(f"{number - len(skipped)} of {len(source)} pictures; lengths are in triples")
    if skipped:
        say(skipped.summary())
    say(*statistics.table(rows).splitlines())
    return say(f"the plot is in {command.out}")
