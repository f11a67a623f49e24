"""The command sample, which samples pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dct_jax import plots
from dct_jax.commands.arguments import figure_file, parse, save_image, say
from dct_jax.commands.runs import load_dct
from dct_jax.commands.sampling import Sampling, cut_note, sample_into
from dct_jax.published import results_folder

if TYPE_CHECKING:
    from dct_jax.dct.trained_model import TrainedModel

FIGURES = ("samples.png", "progressive.png", "positions.png", "classes.png")
MOST_CLASSES = 50
"""A grid of more classes is not plotted."""


@dataclass(frozen=True)
class Sample:
    """Samples pictures from a run's best checkpoint.

    Attributes:
        run: folder of the run.
        num: how many samples; 16 by default, or 8 of each class that is named.
        label: classes by name or number, "all", or "none" to hide the class; chosen at random by
            default. Of several, up to 50, classes.png shows a row each.
        size: height and width in pixels; by default each sample's is chosen from the training
            pictures' sizes.
        sampling: how to sample.
        out: folder for samples.png (a grid), progressive.png, positions.png, samples.jsonl and
            samples/, in place of those of an earlier call; the run's folder by default, or
            results/NAME of a model that has none.
    """

    run: Annotated[str, tyro.conf.Positional]
    num: int | None = None
    label: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    out: Path | None = None


def sample(args: Sequence[str]) -> int:
    """Runs `sample RUN`."""
    command = parse(Sample, args, "sample")
    out = command.out or results_folder(command.run)

    model = load_dct(command.run, "sample", command.sampling.dtype)
    labels = _labels(model, command.label)
    num = (8 * len(labels) if len(labels) > 1 else 16) if command.num is None else command.num
    samples, images = sample_into(
        out, FIGURES, model, model.starts(num, command.sampling.seed, labels, command.size), command.sampling
    )
    lists = [one.sparse for one in samples]
    scale = max(1, 160 // max(max(image.shape[:2]) for image in images))
    save_image(plots.image_grid(images, columns=max(1, round(len(images) ** 0.5)), scale=scale), out / "samples.png")
    figures = {"progressive.png": plots.progressive(lists[:4]), "positions.png": plots.positions(lists[:2])}
    if 1 < len(labels) <= min(MOST_CLASSES, num):
        names = [model.class_name(label) for label in labels]
        figures["classes.png"] = plots.class_grid([images[i :: len(labels)] for i in range(len(labels))], names)
    for name, figure in figures.items():
        with figure_file(out / name) as path:
            figure.savefig(path)
    return say(
        f"{num} samples are in {out}{cut_note(samples)}: {', '.join(['samples.png', *figures])}, samples.jsonl, samples/"
    )


def _labels(model: "TrainedModel", names: Sequence[str]) -> list[int]:
    if tuple(names) == ("all",) and model.config.model.num_classes and "all" not in model.classes:
        return list(range(model.config.model.num_classes))
    return [model.label(name) for name in names]
