"""Plots the figure beside the table of `dct_jax.dct.statistics`."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator

from dct_jax.codec import DCTCodec
from dct_jax.dct.statistics import ListStatistics
from dct_jax.plots.lists import COLORS

_LINES = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#a6761d")  # ColorBrewer's Dark2, one for each block size
_PLACES = (((1, -14), "center"), ((-4, 4), "right"), ((6, -4), "left"))
"""The places of a point's name, in 1/72 inch: the names of neighbouring lines do not meet."""
_HALO = withStroke(linewidth=2, foreground="white")


def overview(rows: Sequence[ListStatistics], codec: DCTCodec) -> Figure:
    """Plots, left, the mean length of lists against the mean PSNR: a line for each block size,
    points named by quality; right, the share of non-zeros in each channel of one codec.

    Args:
        rows: sorted by block size and quality.
        codec: the codec of one of the rows, for the right panel.
    """
    figure = Figure(figsize=(12, 5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot_lengths(left, rows, codec)
    _plot_shares(right, _row_of(codec, rows))
    return figure


def _plot_lengths(axis: Axes, rows: Sequence[ListStatistics], codec: DCTCodec) -> None:
    sizes = sorted({row.codec.block_size for row in rows})
    for size, color, (offset, alignment) in zip(sizes, _LINES, itertools.cycle(_PLACES)):
        line = [row for row in rows if row.codec.block_size == size and np.isfinite(row.mean_psnr)]
        standard = [row for row in line if row.codec.quality]
        points = [(row.lengths.mean(), row.mean_psnr) for row in standard]
        axis.plot(*np.array(points).reshape(-1, 2).T, ".-", color=color, label=f"B = {size}")
        for row in line:
            name, point = str(row.codec.quality or "own tables"), (row.lengths.mean(), row.mean_psnr)
            label = axis.annotate(name, point, offset, textcoords="offset points", ha=alignment, fontsize=8, color=color)
            label.set_path_effects([_HALO])
    row = _row_of(codec, rows)
    axis.plot(row.lengths.mean(), row.mean_psnr, "o", markersize=11, markerfacecolor="none", color="0.3", label="right panel")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.set_xlabel("mean number of triples")
    axis.set_ylabel("mean PSNR in dB")
    axis.set_title("length against quality; numbers are q", fontsize=10)
    axis.margins(0.08)
    axis.grid(color="0.92")
    axis.legend(loc="best")


def _plot_shares(axis: Axes, row: ListStatistics) -> None:
    shares = (row.nonzeros / row.places).reshape(-1, row.codec.block_size**2)  # [components, B^2]
    for (name, color), share in zip(COLORS.items(), shares):
        axis.plot(np.where(share, share, np.nan), ".-", markersize=4, linewidth=0.9, color=color, label=name)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.set_xlabel("zigzag index")
    axis.set_ylabel("coefficients that are not zero")
    axis.set_title(str(row.codec), fontsize=10)
    axis.grid(color="0.92")
    axis.legend(loc="upper right")


def _row_of(codec: DCTCodec, rows: Sequence[ListStatistics]) -> ListStatistics:
    return next(row for row in rows if row.codec == codec)
