"""Figures of lists and samples. Those of data sets, training and evaluation are in `dct.plots`."""

from dct_jax.plots.lists import COLORS, image_grid, luma_dct, progressive, show, traces
from dct_jax.plots.samples import Row, class_grid, comparison, pairs, positions

__all__ = [
    "COLORS",
    "Row",
    "class_grid",
    "comparison",
    "image_grid",
    "luma_dct",
    "pairs",
    "positions",
    "progressive",
    "show",
    "traces",
]
