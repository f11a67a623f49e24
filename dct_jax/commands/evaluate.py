"""The command evaluate: bits of held-out pictures, beside established coders, and distances of samples."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from dct_jax import plots_likelihood
from dct_jax.codec import SparseDCT
from dct_jax.commands.arguments import figure_file, parse, say
from dct_jax.files import replacing
from dct_jax.tables import aligned

if TYPE_CHECKING:
    from dct_jax.evaluation.breakdown import Bits
    from dct_jax.evaluation.coders import CodedSizes
    from dct_jax.trained_model import TrainedModel


@dataclass(frozen=True)
class Evaluate:
    """Measures a run's best checkpoint: bits of held-out pictures, beside what JPEG's and JPEG XL's coders need for the same
    coefficients.

    Attributes:
        run: folder of the run.
        data: pictures to measure on, as data.source of an experiment; the run's held-out pictures by default.
        split: of these pictures.
        num: how many pictures, at even distances in the source; by default as many as the run holds out.
        coders: whether to run the other coders, which takes a moment for each picture.
        batch_size: chunks at a time; the result does not depend on it.
        out: folder for evaluation.json and bits.png; RUN/evaluation by default.
    """

    run: Annotated[Path, tyro.conf.Positional]
    data: str = ""
    split: str = ""
    num: int | None = None
    coders: bool = True
    batch_size: int = 16
    out: Path | None = None


def evaluate(args: Sequence[str]) -> int:
    """`evaluate RUN`."""
    command = parse(Evaluate, args, "evaluate")
    from dct_jax.evaluation.breakdown import break_down
    from dct_jax.evaluation.coders import available, coded_sizes
    from dct_jax.evaluation.likelihood import element_log_prob
    from dct_jax.parallel import all_devices
    from dct_jax.trained_model import load

    if command.batch_size < 1:
        raise ValueError(f"batch_size is {command.batch_size}; it must be 1 or more")
    out = command.out or command.run / "evaluation"
    model = load(command.run)
    lists, labels, name = _pictures(model, command)
    nats = element_log_prob(model.network, model.params, lists, labels, command.batch_size, all_devices())
    bits = break_down(lists, nats, model.config.model.chunk_size)
    coders = available(model.codec) if command.coders else []
    sizes = [coded_sizes(coder, lists) for coder in coders]
    rows = _compared(model, lists, bits, sizes)
    print(f"{len(lists)} pictures of {name}, {bits.triples / len(lists):.0f} triples each\n")
    print(_bits_table(bits) + "\n")
    print(_coders_table(rows) + "\n")
    report = {
        "run": command.run.name,
        "fingerprint": model.fingerprint,
        "pictures": name,
        "bits": bits.to_dict(),
        "coders": rows,
    }
    with replacing(out / "evaluation.json") as path:
        path.write_text(json.dumps(report, indent=1) + "\n")
    with figure_file(out / "bits.png") as path:
        plots_likelihood.bits_figure(bits, _bars(rows)).savefig(path)
    return say(f"evaluation.json and bits.png are in {out}")


def _pictures(model: "TrainedModel", command: Evaluate) -> tuple[list[SparseDCT], np.ndarray, str]:
    """The lists to measure, the class of each, and the name of their source."""
    from dct_jax.data.pipeline import held_out_lists
    from dct_jax.data.skipped import Skipped
    from dct_jax.data.sources import open_source
    from dct_jax.training.loop import open_sources

    config = model.config
    if command.split and not command.data:
        raise ValueError(f"split is {command.split!r}, but data names no pictures, as in: --data tar:FILE --split NAME")
    if command.num is not None:
        if command.num < 1:
            raise ValueError(f"num is {command.num}; it must be 1 or more")
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, held_out_crops=command.num))
    source = open_source(command.data, command.split) if command.data else open_sources(config.data)[1]
    classes = config.model.num_classes
    if classes and len(source.classes) not in (0, classes):
        raise ValueError(f"{source.name} has {len(source.classes)} classes; the model has {classes}")
    skipped = Skipped(len(source), config.data.max_skipped)
    lists, labels = held_out_lists(source, config, skipped)
    if skipped:
        print(skipped.summary())
    return lists, labels, source.name


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
    model: "TrainedModel", lists: Sequence[SparseDCT], bits: "Bits", sizes: Sequence["CodedSizes"]
) -> list[dict[str, Any]]:
    """For each coder and the model: mean bytes and bits per pixel of the entropy-coded data and of whole files."""
    from dct_jax.compression.stream import Stream
    from dct_jax.evaluation.breakdown import ratio

    pixels = np.array([sparse.size[0] * sparse.size[1] for sparse in lists], float)  # [N]

    def measured(sizes: np.ndarray) -> dict[str, float]:
        rate = ratio(8.0 * sizes, pixels)
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
    header = len(Stream(bytes(4), None, model.config.model.num_classes, 0, np.zeros(0, np.uint32)).to_bytes()) + 2
    files = scans | {"bytes": ideal + header, "bits_per_pixel": rate.mean + 8 * header / pixels.mean()}
    return [*rows, {"coder": "this model", "scans": scans, "files": files}]


def _coders_table(rows: Sequence[dict[str, Any]]) -> str:
    def cells(sizes: dict[str, float] | None) -> tuple[str, str]:
        if sizes is None:
            return "-", "-"
        return f"{sizes['bytes']:.0f}", f"{sizes['bits_per_pixel']:.3f} +- {sizes['standard_error']:.3f}"

    header = ("lossless coding of these", "data bytes", "bits per pixel", "file bytes", "bits per pixel")
    return aligned([header, *((row["coder"], *cells(row["scans"]), *cells(row["files"])) for row in rows)])


def _bars(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Name and bits per pixel of the data alone, of every coder but the model."""
    from dct_jax.evaluation.breakdown import Estimate

    return [
        (row["coder"], Estimate(row["scans"]["bits_per_pixel"], row["scans"]["standard_error"]))
        for row in rows[:-1]
        if row["scans"]
    ]
