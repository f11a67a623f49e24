"""Finds out for `evaluate` where a DCTransformer's bits go, and what other coders need."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.breakdown import Bits, break_down
from dct_jax.dct.coders import CODERS, CodedSizes, Coder, available_coders, coded_sizes
from dct_jax.dct.compression.stream import header_bytes
from dct_jax.dct.likelihood import element_log_prob
from dct_jax.dct.plots.likelihood import bits_figure
from dct_jax.dct.plots.training import training_curve
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.distributed.parallel import all_devices
from dct_jax.evaluation.estimate import Estimate, ratio
from dct_jax.tables import align
from dct_jax.training.stage import Findings, HeldOutPictures


def find(
    model: TrainedModel, held: HeldOutPictures, records: Sequence[dict[str, Any]], batch_size: int, coders: bool
) -> Findings:
    """Measures a model on held-out lists; see `training.stage.Stage.findings`."""
    lists, labels = held.content
    nats = element_log_prob(model.network, model.variables, lists, labels, batch_size, all_devices())
    bits = break_down(lists, nats, model.config.model.chunk_size, held.pictures)
    others = available_coders(model.codec) if coders else []
    sizes, failed = _measure_coders(others, lists)
    rows = _compare(model, lists, bits, sizes, held.pictures)
    images = f"{bits.images} images of {bits.pictures} pictures"
    lines = [f"{images} of {held.name}, {bits.triples / bits.images:.0f} triples each", "", _bits_table(bits), ""]
    lines.append(_coders_table(rows))
    if coders and (missing := [coder.name for coder in CODERS if not coder.is_installed]):
        lines.append(f"not installed: {', '.join(missing)}")
    lines += failed
    figures = {"bits.png": bits_figure(bits, _bars(rows))}
    if any("held_out" in record for record in records):
        # Other coders are compared on the pictures alone that the run itself was evaluated on.
        figures["curve.png"] = training_curve(records, _bars(rows) if held.is_own else [])
    return Findings(lines, {"dtype": model.config.model.dtype, "bits": bits.to_dict(), "coders": rows}, figures)


def _measure_coders(coders: Sequence[Coder], lists: Sequence[SparseDCT]) -> tuple[list[CodedSizes], list[str]]:
    """Measures coders, and says which ones failed: what the model needs is known without them."""
    sizes, failed = [], []
    for coder in coders:
        try:
            sizes.append(coded_sizes(coder, lists))
        except (ValueError, OSError) as error:
            failed.append(f"not in the table: {coder.name} ({error})")
    return sizes, failed


def _bits_table(bits: Bits) -> str:
    """Makes a table of the bits of everything, and of each symbol and component."""
    header = ("", "bits per image", "", "share")
    whole = bits.bits_per_image
    parts = {"all": whole, **bits.by_symbol, **bits.by_component}
    lines = [
        (name, f"{one.mean:.1f}", f"+- {one.standard_error:.1f}", f"{100 * one.mean / whole.mean:.1f} %")
        for name, one in parts.items()
    ]
    rates = f"{bits.bits_per_pixel:.4f} bits per pixel, {bits.nats_per_triple:.4f} nats per triple (mean +- standard error)"
    return f"{align([header, *lines])}\n{rates}"


def _compare(
    model: TrainedModel, lists: Sequence[SparseDCT], bits: Bits, sizes: Sequence[CodedSizes], pictures: Sequence[int]
) -> list[dict[str, Any]]:
    """Compares coders and model: mean bytes and bits per pixel of entropy-coded data and files."""

    pixels = np.array([sparse.size[0] * sparse.size[1] for sparse in lists], float)  # [N]

    def measure(sizes: np.ndarray) -> dict[str, float]:
        rate = ratio(8.0 * sizes, pixels, pictures)
        return {
            "bytes": float(sizes.mean()),
            "bits_per_pixel": rate.mean,
            "standard_error": rate.standard_error,
        }

    rows = [
        {"coder": one.name, "scans": None if one.scans is None else measure(one.scans), "files": measure(one.files)}
        for one in sizes
    ]
    ideal, rate = bits.bits_per_image.mean / 8, bits.bits_per_pixel
    scans = {"bytes": ideal, "bits_per_pixel": rate.mean, "standard_error": rate.standard_error}
    # What `compress` adds: the header, and on average half of the range coder's last word.
    header = header_bytes(model.config.model.num_classes) + 2
    files = scans | {"bytes": ideal + header, "bits_per_pixel": rate.mean + 8 * header / pixels.mean()}
    return [*rows, {"coder": "this model (files: estimated)", "scans": scans, "files": files}]


def _coders_table(rows: Sequence[dict[str, Any]]) -> str:
    def cells(sizes: dict[str, float] | None) -> tuple[str, str]:
        if sizes is None:
            return "-", "-"
        return f"{sizes['bytes']:.0f}", f"{sizes['bits_per_pixel']:.3f} +- {sizes['standard_error']:.3f}"

    header = ("lossless coding of these", "data bytes", "bits per pixel", "file bytes", "bits per pixel")
    return align([header, *((row["coder"], *cells(row["scans"]), *cells(row["files"])) for row in rows)])


def _bars(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Estimate]]:
    """Returns the name of every coder but the model, and its bits per pixel, without headers."""
    return [
        (row["coder"], Estimate(row["scans"]["bits_per_pixel"], row["scans"]["standard_error"]))
        for row in rows[:-1]
        if row["scans"]
    ]
