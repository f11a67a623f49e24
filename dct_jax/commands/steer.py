"""Commands that give a sample its beginning: upsample, colorize and continue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dct_jax import plots
from dct_jax.codec.jpeg import read_partial_jpeg
from dct_jax.commands.arguments import JPEG_SUFFIXES, check_least, parse, save_figure, say
from dct_jax.commands.own_data import own_sources
from dct_jax.commands.runs import load_dct
from dct_jax.commands.sampling import Sampling, cut_note, sample_into
from dct_jax.data.pixels import read_image
from dct_jax.published import results_folder

if TYPE_CHECKING:
    from dct_jax.dct.steering import Given
    from dct_jax.dct.trained_model import TrainedModel

FIGURE = "comparison.png"

Pictures = Callable[["TrainedModel"], "list[tuple[str, Given]]"]
"""Makes what a model's samples are given, each with the name that samples.jsonl says."""


@dataclass(frozen=True)
class Steering:
    """What the three commands share.

    Attributes:
        num: samples of each picture.
        label: the class of the samples, by name or number; by default hidden if the model was
            trained so, else chosen at random.
        sampling: how to sample.
        out: folder for comparison.png, samples.jsonl and samples/, in place of those of an earlier
            call; by default RUN/upsampled, RUN/colorized or RUN/continued.
    """

    num: int = 4
    label: str | None = None
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    out: Path | None = None


@dataclass(frozen=True)
class Upsample(Steering):
    """Samples pictures whose reduction by the block size B is given; it becomes the DCs.

    Attributes:
        run: folder of a run whose channel order lists all DCs first (banded or interleaved).
        small: pictures with one pixel for each block of the result.
        from_large: larger pictures, which are made small first; comparison.png shows the larger
            ones, too.
        held_out: how many of the run's own held-out pictures to take as larger ones, at even
            distances; 0 for none.
        own_data: open held-out pictures wherever the run says they are; bundled ones are opened
            anyway.
        size: height and width of the result in pixels; by default as many whole blocks as the small
            picture has pixels.
    """

    run: Annotated[str, tyro.conf.Positional] = tyro.MISSING
    small: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    from_large: tuple[Path, ...] = ()
    held_out: int = 0
    own_data: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Colorize(Steering):
    """Samples colours for grey pictures; every sample has exactly their luma.

    Attributes:
        run: folder of a run with the channel order luma_first.
        grey: pictures to colour. Of a coloured picture the luma is taken; comparison.png shows
            both.
    """

    run: Annotated[str, tyro.conf.Positional] = tyro.MISSING
    grey: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()


@dataclass(frozen=True)
class Continue(Steering):
    """Samples pictures that begin as a given one does, and go on otherwise.

    Attributes:
        run: folder of the run.
        image: a picture of which a part is kept, or a progressive JPEG file that ends in the
            middle. Of such a file, all channels are kept before the first one, in the model's
            order, that lacks bits.
        keep: the share of the picture's list to keep.
        keep_bands: the number of frequency bands to keep, from 1.
    """

    run: Annotated[str, tyro.conf.Positional] = tyro.MISSING
    image: Annotated[Path, tyro.conf.Positional] = tyro.MISSING
    keep: float | None = None
    keep_bands: int | None = None


def upsample(args: Sequence[str]) -> int:
    """Runs `upsample RUN SMALL`."""
    command = parse(Upsample, args, "upsample")
    check_least(command, held_out=0)
    if bool(command.small) + bool(command.from_large) + bool(command.held_out) != 1:
        raise ValueError(
            "upsample takes small pictures, as in: upsample RUN SMALL.png, or --from-large PICTURE, or --held-out NUMBER"
        )
    if command.own_data and not command.held_out:
        raise ValueError("--own-data opens the held-out pictures of the run, as in: --held-out NUMBER --own-data")
    if command.size and not command.small:
        raise ValueError("--size is for small pictures; the samples of larger ones have the size of the picture itself")

    def make_given(model: "TrainedModel", path: Path) -> "Given":
        from dct_jax.dct.steering import to_restore, to_upsample

        image = read_image(path)
        return to_restore(model, image) if command.from_large else to_upsample(model, image, command.size)

    files = _files(command.small or command.from_large, make_given)
    pictures = _held_out(command.held_out, command.own_data) if command.held_out else files
    return _steer(command, "upsampled", pictures, "given, enlarged")


def colorize(args: Sequence[str]) -> int:
    """Runs `colorize RUN GREY`."""
    command = parse(Colorize, args, "colorize")
    if not command.grey:
        raise ValueError("colorize takes pictures, as in: colorize RUN GREY.png")

    def make_given(model: "TrainedModel", path: Path) -> "Given":
        from dct_jax.dct.steering import to_colorize

        return to_colorize(model, read_image(path))

    return _steer(command, "colorized", _files(command.grey, make_given), "given")


def continue_(args: Sequence[str]) -> int:
    """Runs `continue RUN IMAGE`."""
    command = parse(Continue, args, "continue")
    if command.keep is not None and command.keep_bands is not None:
        raise ValueError("--keep and --keep-bands both say what to keep; give one of them")

    def make_given(model: "TrainedModel", path: Path) -> "Given":
        from dct_jax.dct.sampling.conditioning import bands, share
        from dct_jax.dct.steering import to_continue

        if command.keep_bands is not None:
            return to_continue(model, read_image(path), partial(bands, keep=command.keep_bands))
        if command.keep is not None:
            return to_continue(model, read_image(path), partial(share, keep=command.keep))
        return _part_of_file(model, path)

    return _steer(command, "continued", _files((command.image,), make_given), "given")


def _part_of_file(model: "TrainedModel", path: Path) -> "Given":
    """Reads what arrived of a progressive JPEG file; says how much of it is of use."""
    from dct_jax.dct.sampling.conditioning import scans
    from dct_jax.dct.steering import Given

    if path.exists() and path.suffix.lower() not in JPEG_SUFFIXES:
        raise ValueError(f"{path}: say what to keep of it, with --keep or --keep-bands")

    def check_size(size: tuple[int, int]) -> None:
        try:
            model.check_size(size)
        except ValueError as error:
            raise ValueError(f"{error}; of a whole file, --keep or --keep-bands say what to keep") from None

    file = read_partial_jpeg(path, model.codec.channel_order, check_size)
    if file.whole:
        raise ValueError(f"{path}: this JPEG file is whole; say what to keep of it, with --keep or --keep-bands")
    own = file.sparse.codec
    prefix, useless = scans(file, own if model.config.takes(own) else model.codec)
    say(
        f"{path.name}: scans that arrived: {file.scans}; given are {prefix.next_rank} of {len(file.missing_bits)} channels, "
        f"{len(prefix.given)} triples" + (f"; {useless} more arrived, but a channel before them lacks bits" if useless else "")
    )
    return Given(prefix, prefix.given.codec.decode(prefix.given))


def _files(paths: Sequence[Path], make_given: Callable[["TrainedModel", Path], "Given"]) -> Pictures:
    """Makes pictures of files, by the files' names; errors name the path."""

    def pictures(model: "TrainedModel") -> "list[tuple[str, Given]]":
        pairs = []
        for path in paths:
            try:
                pairs.append((path.name, make_given(model, path)))
            except ValueError as error:
                message = str(error)
                raise ValueError(message if message.startswith(str(path)) else f"{path}: {message}") from None
        return pairs

    return pictures


def _held_out(num: int, own_data: bool) -> Pictures:
    """Makes pictures of `num` pictures that the run holds out, by their numbers."""

    def pictures(model: "TrainedModel") -> "list[tuple[str, Given]]":
        from dct_jax.data.pictures import SeenPictures
        from dct_jax.dct.steering import to_restore

        pictures = SeenPictures(own_sources(model.config.data, own_data)[1], model.config, num)
        return [(f"held-out picture {i}", to_restore(model, pictures[i])) for i in range(len(pictures))]

    return pictures


def _steer(command: Upsample | Colorize | Continue, name: str, pictures_of: Pictures, title: str) -> int:
    """Samples for all pictures, and plots the figure that compares the samples."""
    num, sampling, out = command.num, command.sampling, command.out or results_folder(command.run) / name
    check_least(command, num=1)
    from dct_jax.dct.steering import starts_of

    model = load_dct(command.run, type(command).__name__.lower(), sampling.dtype)
    label = None if command.label is None else model.label(command.label)
    names, pictures = zip(*pictures_of(model))
    starts = starts_of(model, [picture.prefix for picture in pictures], num, sampling.seed, label)
    samples, images = sample_into(
        out, (FIGURE,), model, starts, sampling, lambda start: {"picture": names[start.number // num]}
    )
    rows = [plots.Row(picture.shown, images[i * num : (i + 1) * num], picture.original) for i, picture in enumerate(pictures)]
    save_figure(plots.comparison(rows, title), out / FIGURE)
    return say(f"{len(samples)} samples are in {out}{cut_note(samples)}: {FIGURE}, samples.jsonl, samples/")
