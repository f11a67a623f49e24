"""Every figure: of lists and samples here; of data sets, training and evaluation in `statistics`, `training`, `likelihood`."""

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
