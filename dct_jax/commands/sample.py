"""The command sample, which samples pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import tyro

from dct_jax import plots
from dct_jax.commands import code_sampling
from dct_jax.commands.arguments import parse, save_figure, save_image, say
from dct_jax.commands.code_sampling import (
    AnySampling,
    dct_sampling,
    named_settings,
    pixel_grid,
    sample_codes_into,
    write_history,
)
from dct_jax.commands.grains import GRAINS, GROWTH, ROWS, grain_tiles, with_grains_of
from dct_jax.commands.runs import load_prior
from dct_jax.commands.sampling import cut_note, sample_into
from dct_jax.dq.config import DQVAEConfig
from dct_jax.published import results_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dct_jax.codes.prior import TrainedCodePrior
    from dct_jax.dct.trained_model import TrainedModel

FIGURES = ("samples.png", "progressive.png", "positions.png", "classes.png", GRAINS, GROWTH, *code_sampling.FIGURES)
MOST_CLASSES = 50
"""A grid of more classes is not plotted."""


@dataclass(frozen=True)
class Sample:
    """Samples pictures from a run's best checkpoint.

    Attributes:
        run: folder of the run, of a DCTransformer or of a prior over codes.
        num: how many samples; 16 by default, or 8 of each class that is named.
        label: classes by name or number, "all", or "none" to hide the class of a DCTransformer;
            chosen at random by default. Of several, up to 50, classes.png shows a row each.
        size: height and width in pixels; by default those of the training pictures, one of them at
            random for each sample if they differ.
        quality: of a DCTransformer with model.qualities, the one that the samples have; by default
            codec.quality.
        grid: of a prior over codes, rows and columns of codes, in place of a size in pixels.
        grains_of: of a DQ-Transformer, a picture; the samples have its grains, and their codes
            alone are sampled.
        history: of SUNDAE, show how samples become what they are: history.png has a row for each
            sample, with its states at even distances, and in history.gif all samples move.
        sampling: how to sample.
        out: folder for samples.png (a grid), samples.jsonl and samples/, in place of those of an
            earlier call, of a DCTransformer also progressive.png and positions.png, of a
            DQ-Transformer grains.png and growth.png; the run's folder by default, or results/NAME
            of a model that has none.
    """

    run: Annotated[str, tyro.conf.Positional]
    num: int | None = None
    label: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    quality: int | None = None
    grid: tuple[int, int] | None = None
    grains_of: Path | None = None
    history: bool = False
    sampling: Annotated[AnySampling, tyro.conf.arg(name="")] = field(default_factory=AnySampling)
    out: Path | None = None


class _Made(NamedTuple):
    """What a system has sampled.

    Attributes:
        images: uint8 [H, W, 3] each.
        figures: to save, by the names of their files.
        names: of files that are there already.
        cut: of samples that were cut off, a note for the last line; may be empty.
        line: stands before the last line; may be empty.
    """

    images: "list[np.ndarray]"
    figures: "dict[str, Figure]"
    names: tuple[str, ...]
    cut: str = ""
    line: str = ""


def sample(args: Sequence[str]) -> int:
    """Runs `sample RUN`."""
    command = parse(Sample, args, "sample")
    out = command.out or results_folder(command.run)
    model = load_prior(command.run, "sample", command.sampling.dtype)
    from dct_jax.codes.prior import TrainedCodePrior

    classes = model.config.reader().num_classes
    is_all = command.label == ("all",) and classes and "all" not in model.classes
    labels = list(range(classes)) if is_all else [model.label(name) for name in command.label]
    num = (8 * len(labels) if len(labels) > 1 else 16) if command.num is None else command.num
    if isinstance(model, TrainedCodePrior):
        made = _sample_codes(model, command, out, num, labels)
    else:
        made = _sample_lists(model, command, out, num, labels)
    scale = max(1, 160 // max(max(image.shape[:2]) for image in made.images))
    columns = max(1, round(len(made.images) ** 0.5))
    save_image(plots.image_grid(made.images, columns, scale), out / "samples.png")
    if 1 < len(labels) <= min(MOST_CLASSES, num):
        of_classes = [made.images[i :: len(labels)] for i in range(len(labels))]
        made.figures["classes.png"] = plots.class_grid(of_classes, [model.class_name(label) for label in labels])
    for name, figure in made.figures.items():
        save_figure(figure, out / name)
    files = ", ".join(["samples.png", *made.names, *made.figures])
    return say(*[made.line] * bool(made.line), f"{num} samples are in {out}{made.cut}: {files}, samples.jsonl, samples/")


def _sample_lists(model: "TrainedModel", command: Sample, out: Path, num: int, labels: Sequence[int]) -> _Made:
    """Samples from a DCTransformer."""
    sampling = dct_sampling(command.sampling)
    for name, value in (("grid", command.grid), ("grains_of", command.grains_of), ("history", command.history)):
        if value:
            raise ValueError(f"a DCTransformer has no {name}; it is for priors over codes")
    starts = model.starts(num, sampling.seed, labels, command.size, quality=command.quality)
    samples, images = sample_into(out, FIGURES, model, starts, sampling)
    lists = [one.sparse for one in samples]
    figures = {"progressive.png": plots.progressive(lists[:4]), "positions.png": plots.positions(lists[:2])}
    return _Made(images, figures, (), cut=cut_note(samples))


def _sample_codes(model: "TrainedCodePrior", command: Sample, out: Path, num: int, labels: Sequence[int]) -> _Made:
    """Samples from a prior over codes."""
    sampling = command.sampling
    if command.quality is not None:
        raise ValueError("a prior over codes has no quality; it is for DCTransformers")
    model = model.with_settings(named_settings(sampling, but=("seed", "batch_size", "dtype")))
    if command.grid and command.size:
        raise ValueError("--grid and --size both say how large the samples are; give one of them")
    made_from = None
    if command.grains_of:
        model, made_from = with_grains_of(model, command.grains_of), {"grains_of": command.grains_of.name}
    grid = command.grid or pixel_grid(model, command.size or model.config.data.image_size)
    found = sample_codes_into(
        out,
        FIGURES,
        model,
        num,
        sampling.seed,
        labels,
        sampling.batch_size,
        grid,
        history=command.history,
        made_from=made_from,
    )
    if found.history:
        return _Made(found.pictures, {}, code_sampling.FIGURES, line=write_history(found.history, out))
    if not isinstance(model.config.autoencoder, DQVAEConfig):
        return _Made(found.pictures, {}, ())
    from dct_jax.dq.pictures import grains_of, measure_lengths

    maps = grains_of(model.config.autoencoder, np.stack(found.codes))
    save_image(grain_tiles([found.pictures], maps), out / GRAINS)
    growth = plots.growth(found.pictures[:ROWS], maps[:ROWS])
    return _Made(found.pictures, {GROWTH: growth}, (GRAINS,), line=f"codes of a sample: {measure_lengths(maps).words()}")
