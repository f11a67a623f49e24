"""Plots the curve of a run, from its metrics.jsonl."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dct_jax.dct.plots import SYMBOL_COLORS
from dct_jax.evaluation.estimate import Estimate


def minutes_of(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """Returns the minutes of training at each record, float64 [N]. Seconds begin at 0 again
    whenever a run goes on; they are added up."""
    seconds = np.array([record["seconds"] for record in records], float)  # [N]
    steps = np.diff(seconds, prepend=0.0)
    return np.cumsum(np.where(steps < 0, seconds, steps)) / 60


def training_curve(records: Sequence[dict[str, Any]], coders: Sequence[tuple[str, Estimate]]) -> Figure:
    """Plots, left, held-out bits per pixel against minutes, beside what other coders need; right,
    nats of each symbol in training.

    Args:
        records: those of metrics.jsonl, in order. What has no bits per pixel has no point on the
            left, and what has not the nats of all symbols none on the right.
        coders: name and bits per pixel of each coder that the model is compared with; may be empty.
    """
    figure = Figure(figsize=(12, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    minutes = minutes_of(records)
    held_out = _having(records, "held_out", {"bits_per_pixel"})
    bits = [records[i]["held_out"]["bits_per_pixel"] for i in held_out]
    left.plot(minutes[held_out], bits, "o-", markersize=4, color="#2b6cb0", label="this model")
    if bits:
        last = minutes[held_out[-1]], bits[-1]
        left.annotate(f"{bits[-1]:.3f}", last, (0, 7), textcoords="offset points", ha="center", fontsize=9)
    for (name, estimate), style in zip(coders, (":", "-.", "--")):
        left.axhline(estimate.mean, color="0.4", linestyle=style, linewidth=1.1, label=f"{name}: {estimate.mean:.3f}")
    left.set_ylabel("held-out bits per pixel")
    trained = _having(records, "nats_per_triple", SYMBOL_COLORS)
    for symbol, color in SYMBOL_COLORS.items():
        nats = [records[i]["nats_per_triple"][symbol] for i in trained]
        right.plot(minutes[trained], nats, linewidth=0.9, color=color, label=symbol)
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("")
    right.set_ylabel("nats per triple, in training")
    for axis in (left, right):
        axis.set_xlabel("minutes")
        axis.set_xlim(left=0)
        axis.grid(color="0.92")
        axis.legend(loc="upper right")
    return figure


def _having(records: Sequence[dict[str, Any]], group: str, names: Collection[str]) -> list[int]:
    """Returns which records have all of these names in a group. A file may be damaged."""
    groups = [record.get(group) for record in records]
    return [i for i, one in enumerate(groups) if isinstance(one, dict) and all(name in one for name in names)]
