"""The commands of `python -m dct_jax`. Each reads its arguments, calls the library, and says where the result is."""

import contextlib
import io
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from PIL import Image
from tqdm import tqdm

from dct_jax import plots, plots_statistics, statistics
from dct_jax.codec import DCTCodec, SparseDCT, load_npz, save_npz
from dct_jax.config import Config
from dct_jax.data.sources import open_source, read_image
from dct_jax.experiment import load_experiment
from dct_jax.files import replacing


@dataclass(frozen=True)
class Train:
    """Trains an experiment, or goes on with it.

    Attributes:
        config: of the run; every field can be overridden.
        run_dir: folder of the run; runs/EXPERIMENT by default.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    run_dir: Path


@dataclass(frozen=True)
class Sample:
    """Draws samples from a run's best checkpoint.

    Attributes:
        run: folder of the run.
        num: how many samples.
        seed: sample i of a seed is always the same.
        temperature: one number for all symbols, or three: channel, position, value.
        top_k: only the k likeliest symbols can be drawn; 0 for all; one number or three.
        top_p: only the likeliest symbols with this probability together can be drawn; one number or three.
        label: the class, for a class-conditional model.
        batch_size: samples at a time.
        out: folder for samples.png (a grid), progressive.png and samples/; the run's folder by default.
    """

    run: Annotated[Path, tyro.conf.Positional]
    num: int = 16
    seed: int = 0
    temperature: tuple[float, ...] = (1.0,)
    top_k: tuple[int, ...] = (0,)
    top_p: tuple[float, ...] = (1.0,)
    label: int = 0
    batch_size: int = 16
    out: Path | None = None


@dataclass(frozen=True)
class Encode:
    """Turns an image into a file of triples.

    Attributes:
        image: any file that Pillow reads.
        codec: how to encode.
        own_coefficients: take a JPEG file's coefficients and tables as they are; of the codec's settings only the channel order
            counts then.
        out: the .npz file; the image's name with that suffix by default.
    """

    image: Annotated[Path, tyro.conf.Positional]
    codec: Annotated[DCTCodec, tyro.conf.arg(name="")] = field(default_factory=DCTCodec)
    own_coefficients: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Decode:
    """Turns a file of triples into an image.

    Attributes:
        triples: a .npz file that `encode` wrote.
        out: the image file; TRIPLES-decoded.png by default, as the original may stand beside the triples. A .jpg file has
            exactly the list's coefficients, if its blocks are 8 x 8.
    """

    triples: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None


@dataclass(frozen=True)
class Show:
    """Draws an image's DCT blocks, the traces of its list, and its progressive stages.

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
    """Tabulates how long the lists of pictures are, and how well they decode, for a choice of block size and quality.

    Attributes:
        source: "landscapes" or "folder:PATH".
        codec: the codec whose non-zeros are drawn by channel; the others differ from it in block size and quality only.
        qualities: to be tried.
        block_sizes: to be tried, each with each quality.
        images: how many pictures at most, evenly spaced over the source.
        size: height and width in pixels to which central crops are reduced, as training would; by default pictures stay as
            they are.
        out: the plot to write.
    """

    source: Annotated[str, tyro.conf.Positional]
    codec: Annotated[DCTCodec, tyro.conf.arg(name="")] = field(default_factory=DCTCodec)
    qualities: tuple[int, ...] = (10, 25, 50, 75, 90)
    block_sizes: tuple[int, ...] = (8, 16, 32)
    images: int = 100
    size: tuple[int, int] | None = None
    out: Path = Path("stats.png")


def train(args: Sequence[str]) -> int:
    """`train EXPERIMENT [overrides]`."""
    if not args or args[0].startswith("-"):
        if any(arg in ("-h", "--help") for arg in args):
            return _print("usage: python -m dct_jax train EXPERIMENT [overrides]; train EXPERIMENT --help lists the overrides")
        raise ValueError("train needs the name of an experiment, as in: python -m dct_jax train landscapes")
    config = load_experiment(args[0])
    default = Train(config, Path("runs") / Path(args[0]).stem)
    command = _parse(Train, args[1:], f"train {args[0]}", default)
    # JAX starts here and not with the command line, which answers at once.
    from dct_jax.evaluation.jpeg import arithmetic_bits_per_pixel, arithmetic_coding_available
    from dct_jax.training.loop import train

    outcome = train(command.config, command.run_dir)
    if outcome.skipped:
        print(f"{outcome.skipped} pictures could not be used; the log above names them")
    if outcome.signal:
        print(f"stopped by {outcome.signal} after step {outcome.step}, saved; the same command goes on from there")
        return 128 + signal.Signals[outcome.signal]
    print(f"held-out pictures: {outcome.evaluation['bits_per_pixel']:.3f} bits per pixel (the best checkpoint)")
    codec = command.config.codec
    if arithmetic_coding_available(codec):
        try:
            bits = f"{arithmetic_bits_per_pixel(outcome.held_out):.3f} bits per pixel"
        except RuntimeError as error:
            bits = f"not measured ({error})"
        print(f"JPEG's arithmetic coding of the same coefficients: {bits}")
    return _print(f"the run is in {command.run_dir}: checkpoints/, metrics.jsonl, TensorBoard events")


def sample(args: Sequence[str]) -> int:
    """`sample RUN`."""
    command = _parse(Sample, args, "sample")
    fields = ("temperature", "top_k", "top_p")
    from dct_jax.sampling.policy import Policy, SymbolPolicy
    from dct_jax.trained_model import load

    settings = zip(*(_three(name, getattr(command, name)) for name in fields))
    policy = Policy(*(SymbolPolicy(*setting) for setting in settings))
    out = command.out or command.run
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} cannot be written (it is a file); name a folder")
    model = load(command.run)
    lists = model.sample(command.num, command.seed, policy, command.label, command.batch_size)
    images = [model.codec.decode(sparse) for sparse in lists]
    for i, image in enumerate(images):
        _save_image(image, out / "samples" / f"{i:04d}.png")
    scale = max(1, 160 // max(images[0].shape[:2]))
    _save_image(plots.image_grid(images, columns=max(1, round(len(images) ** 0.5)), scale=scale), out / "samples.png")
    _save_figure(plots.progressive(lists[:4]), out / "progressive.png")
    return _print(f"{command.num} samples are in {out}: samples.png, progressive.png, samples/")


def encode(args: Sequence[str]) -> int:
    """`encode IMAGE`."""
    command = _parse(Encode, args, "encode")
    if command.own_coefficients:
        sparse = SparseDCT.from_jpeg(command.image, command.codec.channel_order)
    else:
        sparse = command.codec.encode(read_image(command.image))
    out = command.out or command.image.with_suffix(".npz")
    with replacing(out) as path, path.open("wb") as file:
        save_npz(file, sparse)
    return _print(f"{len(sparse)} triples are in {out}")


def decode(args: Sequence[str]) -> int:
    """`decode TRIPLES`."""
    command = _parse(Decode, args, "decode")
    sparse = load_npz(command.triples)
    out = command.out or command.triples.with_name(f"{command.triples.stem}-decoded.png")
    if out.suffix.lower() in _JPEG and sparse.codec.block_size == 8:
        with replacing(out) as path:
            path.write_bytes(sparse.to_jpeg())
    else:
        _save_image(sparse.codec.decode(sparse), out)
    return _print(f"the image is in {out}")


def show(args: Sequence[str]) -> int:
    """`show IMAGE`."""
    command = _parse(Show, args, "show")
    image = read_image(command.image)
    out = command.out or command.image.with_name(f"{command.image.stem}-triples.png")
    _save_figure(plots.show(command.codec.encode(image), image), out)
    return _print(f"the blocks, traces and stages are in {out}")


def stats(args: Sequence[str]) -> int:
    """`stats SOURCE`."""
    command = _parse(Stats, args, "stats")
    if command.images < 1:
        raise ValueError(f"images is {command.images}; it must be 1 or more")
    if command.size and min(command.size) < 1:
        raise ValueError(f"size is {command.size}; it must be positive")
    pictures = open_source(command.source)
    number = min(command.images, len(pictures))
    codecs = statistics.sweep(command.codec, command.block_sizes, command.qualities)
    with _figure_file(command.out) as path:  # the place is tried before the long work
        images = statistics.sampled_images(pictures, number, command.size)
        rows = statistics.survey(tqdm(images, total=number, unit=" pictures", disable=None), codecs)
        plots_statistics.overview(rows, command.codec).savefig(path)
    used = number - len(pictures.skipped)
    print(f"{used} of {len(pictures)} pictures, {len(pictures.skipped)} skipped; lengths are in triples")
    print(statistics.table(rows))
    return _print(f"the plot is in {command.out}")


_JPEG = (".jpg", ".jpeg")

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "sample": sample,
    "encode": encode,
    "decode": decode,
    "show": show,
    "stats": stats,
}

USAGE = """usage: python -m dct_jax COMMAND

  train EXPERIMENT   train a model, or go on with it
  sample RUN         draw samples from a run
  encode IMAGE       turn an image into a file of triples
  decode TRIPLES     turn a file of triples into an image
  show IMAGE         draw an image's DCT, the traces of its list and its stages
  stats SOURCE       tabulate list lengths and PSNR over block sizes and qualities

COMMAND --help lists what each takes."""


def main(args: Sequence[str]) -> int:
    """Runs one command; returns the exit code: 0, 2 for anything wrong with what the user gave, 128 + n after signal n."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        if not args or args[0] in ("-h", "--help"):
            return _print(USAGE)
        if args[0] not in COMMANDS:
            raise ValueError(f"there is no command {args[0]!r}; known are {', '.join(COMMANDS)}")
        return COMMANDS[args[0]](args[1:])
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"dct_jax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dct_jax: interrupted", file=sys.stderr)
        return 130


def _parse(command: type, args: Sequence[str], name: str, default: Any = None) -> Any:
    """The command's dataclass, filled from the arguments. tyro's boxed messages become one line."""
    defaults = {} if default is None else {"default": default}
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        with contextlib.ExitStack() as captured:
            if not any(arg in ("-h", "--help") for arg in args):
                captured.enter_context(contextlib.redirect_stderr(said))
                captured.enter_context(contextlib.redirect_stdout(said))  # its encoding decides how tyro draws boxes
            return tyro.cli(command, args=list(args), prog=f"python -m dct_jax {name}", **defaults)
    except SystemExit as stop:
        if not stop.code:
            raise
        said.seek(0)
        lines = [line.strip("│ \n") for line in said if line.startswith("│")]
        text = lines[: next((i for i, line in enumerate(lines) if set(line) == {"─"}), None)]
        raise ValueError(f"{' '.join(text)}; see {name} --help") from None


def _three(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) not in (1, 3):
        raise ValueError(
            f"--{name.replace('_', '-')} has {len(values)} numbers; it must have one, or three: channel position value"
        )
    return values * (3 // len(values))


def _save_image(image: Any, out: Path) -> None:
    if out.suffix.lower() not in (".png", *_JPEG, ".webp"):
        raise ValueError(f"{out}: an image must be .png, .jpg or .webp")
    with replacing(out) as path:
        Image.fromarray(image).save(path)


def _save_figure(figure: Any, out: Path) -> None:
    with _figure_file(out) as path:
        figure.savefig(path)


def _figure_file(out: Path) -> contextlib.AbstractContextManager[Path]:
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{out}: a picture must be .png, .pdf or .svg")
    return replacing(out)


def _print(message: str) -> int:
    print(message)
    return 0
