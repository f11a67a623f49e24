"""Where a token stands: what its embedding says of it, and how its queries and keys turn.

Grids may have other sizes than those of training, so that neither may depend on the number of a row
or column alone. The embedding says where in the picture a cell lies, as shares of height and width:
a larger grid has more shares between the same ends. What the distance between two cells says comes
from turning queries and keys by angles in proportion to rows and columns (rotary embedding: Su et
al., 2021, for two axes): a product of both depends on the difference of their places alone, which
lies within the window in every grid.

Axes: h rows of m = n + 1 tokens; K head size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WAVES = 8
"""Cosines of an axis. They tell 8 rows apart in any way, and more in smooth ones."""


class Turns(NamedTuple):
    """The angles of tokens [S, K / 4]; for a token without a place both numbers are 0, which hides
    what would turn."""

    cosines: jax.Array | np.ndarray
    sines: jax.Array | np.ndarray


def waves(grid: tuple[int, int]) -> np.ndarray:
    """Returns cosines of each token's place, as shares of h x n cells: float32 [h, m, 2 WAVES]."""
    rows, columns = ((np.arange(size) + 0.5) / cells for size, cells in ((grid[0], grid[0]), (grid[1] + 1, grid[1])))
    of_rows, of_columns = (np.cos(np.pi * np.arange(1, WAVES + 1) * x[:, None]) for x in (rows, columns))
    shape = (len(rows), len(columns), WAVES)
    both = np.broadcast_to(of_rows[:, None], shape), np.broadcast_to(of_columns, shape)
    return np.concatenate(both, axis=-1).astype(np.float32)


def turns(grid: tuple[int, int], window: int, head_size: int) -> Turns:
    """Returns the angles of each token: float32 [h, m, K / 4] each.

    The fastest makes a quarter of a turn from cell to cell, the slowest half of a turn over the
    window's 2 w columns.
    """
    speeds = np.geomspace(np.pi / 2, np.pi / (2 * window), head_size // 8)  # [K / 8]
    row, column = np.mgrid[: grid[0], : grid[1] + 1][..., None] * speeds  # [h, m, K / 8] each
    angles = np.concatenate([row, column], axis=-1)
    return Turns(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))


def turn(x: jax.Array, by: Turns) -> jax.Array:
    """Turns the first half of heads [..., S, K], whose first and second quarters are pairs."""
    quarter = x.shape[-1] // 4
    a, b, rest = x[..., :quarter], x[..., quarter : 2 * quarter], x[..., 2 * quarter :]
    return jnp.concatenate([a * by.cosines - b * by.sines, a * by.sines + b * by.cosines, rest], axis=-1)
