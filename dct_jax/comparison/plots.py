"""Figures of runs side by side: what a representation costs and loses, and what samples take."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from dct_jax.comparison.measures import Measures
from dct_jax.comparison.table import spread_of
from dct_jax.tables import printable

_COLORS = ("#2b6cb0", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#666666")
"""One a system."""
_MARKERS = "osD^vP*X"
"""One a run of a system."""


class _Point(NamedTuple):
    row: int
    x: float
    y: float
    x_error: float | None = None
    y_error: float | None = None


def rate_distortion(rows: Sequence[Measures]) -> Figure | None:
    """Plots PSNR against bits a pixel, for runs with bits, and against elements a picture; a point
    a run. What loses nothing has an infinite PSNR, and no point. None if no run has a point."""
    of_bits, of_elements = [], []
    for number, row in enumerate(rows):
        if not row.distortion or not math.isfinite(row.distortion.psnr):
            continue
        if bits := row.held_out.bits:
            of_bits.append(_Point(number, bits.per_pixel.mean, row.distortion.psnr, bits.per_pixel.error))
        if elements := row.held_out.elements:
            of_elements.append(_Point(number, elements.mean, row.distortion.psnr))
    panels = [(of_bits, "bits a pixel"), (of_elements, "elements a picture (triples or codes)")]
    panels = [(points, label) for points, label in panels if points]
    if not panels:
        return None
    figure = _figure(len(panels), len(rows))
    for axis, (points, label) in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels):
        _scatter(axis, points, styles_of(rows))
        axis.set_xlabel(label)
    figure.axes[0].set_ylabel("PSNR of the representation, dB")
    _explain(figure, rows, {point.row for points, _ in panels for point in points})
    return figure


def quality_time(rows: Sequence[Measures]) -> Figure | None:
    """Plots the distance of samples against the seconds that one takes in a batch, with standard
    errors and the floor; a point a run. None if no run has a point."""
    networks = {network: name for row in rows for one in row.samples for network, name in _distances(one.metrics).items()}
    panels = []
    for network, name in networks.items():
        points: list[_Point] = []
        floors: dict[str, set[float]] = {}  # of each data, which may have other crops by another seed
        for number, row in enumerate(rows):
            spread = spread_of(row.samples, network, name)
            if spread and row.cost.seconds_together is not None:
                points.append(_Point(number, row.cost.seconds_together, spread.matched.mean, None, spread.matched.error))
                floors.setdefault(row.data, set()).add(spread.floor)
        if points:
            panels.append((name, points, floors))
    if not panels:
        return None
    figure = _figure(len(panels), len(rows))
    for axis, (name, points, floors) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        _scatter(axis, points, styles_of(rows))
        axis.set_xscale("log")
        axis.set_xlim(min(one.x for one in points) / 1.6, max(one.x for one in points) * 1.6)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        for data, found in floors.items():
            for floor in found:
                axis.axhline(floor, color="0.5", linestyle="--", linewidth=1)
            place = axis.get_yaxis_transform()
            said = "real pictures" if len(floors) == 1 else f"real pictures: {printable(data)}"
            text = axis.text(0.99, max(found), said, transform=place, ha="right", va="bottom", fontsize=8, color="0.4")
            text.set_parse_math(False)  # data may be a path: a dollar is a dollar
        axis.set_xlabel(f"seconds a sample, {rows[0].cost.together} at once")
        axis.set_ylabel(f"{name} (matched), lower is nearer")
        axis.set_ylim(bottom=0)
    _explain(figure, rows, {point.row for _, points, _ in panels for point in points})
    return figure


def styles_of(rows: Sequence[Measures]) -> list[dict[str, Any]]:
    """Returns the colour and the marker of each run: runs of a system have one colour."""
    systems = list(dict.fromkeys(row.system for row in rows))
    styles = []
    for number, row in enumerate(rows):
        before = sum(one.system == row.system for one in rows[:number])
        color = _COLORS[systems.index(row.system) % len(_COLORS)]
        styles.append({"color": color, "marker": _MARKERS[before % len(_MARKERS)]})
    return styles


def stack_strips(rows: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Plots strips of pictures, uint8 [H, W, 3], one above the other, with their names. All are of
    one height, so that pictures are of one size, and begin at the left, so that they make columns
    where a strip has fewer pictures."""
    rows = [(printable(name), strip) for name, strip in rows]
    widest = max(strip.shape[1] / strip.shape[0] for _, strip in rows)  # in heights of a strip
    margin = 0.3 + 0.085 * max(len(name) for name, _ in rows)  # inches
    dots = widest * max(strip.shape[0] for _, strip in rows)
    figure = Figure(figsize=(margin + 8, 8 * len(rows) / widest + 0.1), dpi=max(80, dots / 8))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=margin / (margin + 8), right=1, bottom=0, top=1, hspace=0)
    for axis, (name, strip) in zip(axes, rows):
        axis.imshow(strip, interpolation="nearest")
        axis.set_xlim(-0.5, widest * strip.shape[0] - 0.5)
        axis.set_axis_off()
        text = axis.text(-0.01, 0.5, name, transform=axis.transAxes, ha="right", va="center", fontsize=9)
        text.set_parse_math(False)
    return figure


def _distances(metrics: dict[str, Any]) -> dict[str, str]:
    """Returns the first distance of each feature network, by the network's name."""
    return {network: next(iter(one["measures"])) for network, one in metrics.items()}


def _figure(panels: int, runs: int) -> Figure:
    return Figure(figsize=(5.2 * panels + 1.5, 4.4 + 0.12 * runs), dpi=110, layout="constrained")


def _scatter(axis: Axes, points: Sequence[_Point], styles: Sequence[dict[str, Any]]) -> None:
    for one in points:
        axis.errorbar(one.x, one.y, one.y_error, one.x_error, markersize=7, capsize=3, linestyle="", **styles[one.row])
    axis.margins(0.15)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)


def _explain(figure: Figure, rows: Sequence[Measures], shown: set[int]) -> None:
    """Writes a legend below the panels. Names are of folders: a dollar is a dollar."""
    numbers, styles = sorted(shown), styles_of(rows)
    handles = [Line2D([], [], linestyle="", **styles[i]) for i in numbers]
    names = [printable(f"{rows[i].run} ({rows[i].system})") for i in numbers]
    legend = figure.legend(
        handles, names, loc="outside lower center", ncols=2 if len(names) > 1 else 1, fontsize=9, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
