"""Figures of lists and samples. Those of data sets, training and evaluation are in `dct.plots`."""

from dct_jax.plots.grains import GRAIN_NAMES, Grains, grain_lines, grain_overlay, growth, symbols_beside
from dct_jax.plots.lists import COLORS, image_grid, luma_dct, progressive, show
from dct_jax.plots.samples import Row, class_grid, comparison, even_places, pairs, positions

__all__ = [
    "COLORS",
    "GRAIN_NAMES",
    "Grains",
    "Row",
    "class_grid",
    "comparison",
    "even_places",
    "grain_lines",
    "grain_overlay",
    "growth",
    "image_grid",
    "luma_dct",
    "pairs",
    "positions",
    "progressive",
    "show",
    "symbols_beside",
]
