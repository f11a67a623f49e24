"""Plots the figures beside the tables of `evaluate`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dct_jax.dct.breakdown import STOP, Bits
from dct_jax.dct.plots import SYMBOL_COLORS
from dct_jax.evaluation.estimate import Estimate
from dct_jax.plots.lists import COLORS

_BAR = "#2b6cb0"


def bits_figure(bits: Bits, coders: Sequence[tuple[str, Estimate]]) -> Figure:
    """Plots the bits per pixel of the model and the coders, and the bits per image by symbol and
    component, by band, and by chunk. The lines on the bars are one standard error to each side.

    Args:
        bits: the bits of a model.
        coders: name and bits per pixel of each coder that it is compared with; may be empty.
    """
    figure = Figure(figsize=(12, 7.5), dpi=110, layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2, width_ratios=(1, 1.3))
    _plot_coders(first, [*coders, ("this model", bits.bits_per_pixel)])
    components = {name: one for name, one in bits.by_component.items() if name != STOP}
    parts = {**bits.by_symbol, **components, STOP: bits.by_component[STOP]}
    _plot_bars(second, parts, "symbol, component", [{**SYMBOL_COLORS, **COLORS}.get(name, "0.6") for name in parts])
    _plot_bars(third, bits.by_chunk, "chunk")
    bands = {name: one for name, one in bits.by_band.items() if name != STOP}
    _plot_bars(fourth, bands, "frequency band (vertical + horizontal frequency)")
    second.axvline(len(bits.by_symbol) - 0.5, color="0.8", linewidth=0.8)
    figure.suptitle(
        f"{bits.images} images, {bits.triples / bits.images:.0f} triples each: {bits.bits_per_pixel:.3f} bits per pixel",
        fontsize=11,
    )
    return figure


def _plot_coders(axis: Axes, rows: Sequence[tuple[str, Estimate]]) -> None:
    for i, (name, estimate) in enumerate(reversed(rows)):
        axis.barh(i, estimate.mean, xerr=_error(estimate), color=_BAR if i == 0 else "0.7", height=0.65)
        place = 0.02 * max(one.mean for _, one in rows)
        axis.text(place, i, f"{name}: {estimate.mean:.3f}", va="center", fontsize=9, color="black" if i else "white")
    axis.set_yticks([])
    axis.set_xlabel("bits per pixel")


def _plot_bars(axis: Axes, parts: dict[str, Estimate], name: str, colors: Sequence[str] | str = _BAR) -> None:
    places, means = np.arange(len(parts)), [one.mean for one in parts.values()]
    axis.bar(places, means, yerr=[_error(one) for one in parts.values()], color=colors, width=0.75)
    every = -(-len(parts) // 20)  # of many bars only some have their names
    axis.set_xticks(places[::every], list(parts)[::every], fontsize=8)
    axis.set_xlabel(name)
    axis.set_ylabel("bits per image")
    axis.set_axisbelow(True)
    axis.grid(axis="y", color="0.92")


def _error(estimate: Estimate) -> float:
    return 0.0 if np.isnan(estimate.standard_error) else estimate.standard_error
