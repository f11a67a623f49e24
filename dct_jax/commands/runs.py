"""Commands of runs: train and sample."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dct_jax import plots
from dct_jax.commands.arguments import figure_file, parse, save_image, say
from dct_jax.config import Config
from dct_jax.experiment import load_experiment


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
        size: height and width in pixels; by default each sample's is drawn from the training pictures' sizes.
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
    size: tuple[int, int] | None = None
    batch_size: int = 16
    out: Path | None = None


def train(args: Sequence[str]) -> int:
    """`train EXPERIMENT [overrides]`."""
    if not args or args[0].startswith("-"):
        if any(arg in ("-h", "--help") for arg in args):
            return say("usage: python -m dct_jax train EXPERIMENT [overrides]; train EXPERIMENT --help lists the overrides")
        raise ValueError("train needs the name of an experiment, as in: python -m dct_jax train landscapes")
    config = load_experiment(args[0])
    default = Train(config, Path("runs") / Path(args[0]).stem)
    command = parse(Train, args[1:], f"train {args[0]}", default)
    # JAX starts here and not with the command line, which answers at once.
    import jax

    from dct_jax.evaluation.coders import ARITHMETIC, available, scan_bits_per_pixel
    from dct_jax.judge import Judge
    from dct_jax.processes import joined
    from dct_jax.training.loop import train

    with joined():
        speaks = jax.process_index() == 0
        judge = Judge(command.config) if command.config.training.samples and speaks else None
        outcome = train(command.config, command.run_dir, judge=judge)
    if not speaks:
        return 128 + signal.Signals[outcome.signal] if outcome.signal else 0
    for line in outcome.skipped:
        print(f"{line}; the log above names them")
    if outcome.signal:
        print(f"stopped by {outcome.signal} after step {outcome.step}, saved; the same command goes on from there")
        return 128 + signal.Signals[outcome.signal]
    print(f"held-out pictures: {outcome.evaluation['bits_per_pixel']:.3f} bits per pixel (the best checkpoint)")
    if ARITHMETIC in available(command.config.codec):
        try:
            bits = f"{scan_bits_per_pixel(ARITHMETIC, outcome.held_out):.3f} bits per pixel"
        except ValueError as error:
            bits = f"not measured ({error})"
        print(f"JPEG's arithmetic coding of the same coefficients: {bits}")
    return say(f"the run is in {command.run_dir}: checkpoints/, metrics.jsonl, TensorBoard events")


def sample(args: Sequence[str]) -> int:
    """`sample RUN`."""
    command = parse(Sample, args, "sample")
    fields = ("temperature", "top_k", "top_p")
    from dct_jax.sampling.policy import Policy, SymbolPolicy
    from dct_jax.trained_model import load

    settings = zip(*(_three(name, getattr(command, name)) for name in fields))
    policy = Policy(*(SymbolPolicy(*setting) for setting in settings))
    out = command.out or command.run
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} cannot be written (it is a file); name a folder")
    model = load(command.run)
    lists = model.sample(command.num, command.seed, policy, command.label, command.batch_size, command.size)
    images = [model.codec.decode(sparse) for sparse in lists]
    for i, image in enumerate(images):
        save_image(image, out / "samples" / f"{i:04d}.png")
    scale = max(1, 160 // max(max(image.shape[:2]) for image in images))
    save_image(plots.image_grid(images, columns=max(1, round(len(images) ** 0.5)), scale=scale), out / "samples.png")
    with figure_file(out / "progressive.png") as path:
        plots.progressive(lists[:4]).savefig(path)
    return say(f"{command.num} samples are in {out}: samples.png, progressive.png, samples/")


def _three(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) not in (1, 3):
        raise ValueError(
            f"--{name.replace('_', '-')} has {len(values)} numbers; it must have one, or three: channel position value"
        )
    return values * (3 // len(values))
