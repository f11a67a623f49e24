"""Axial rotary embeddings: the scores of attention depend on how far two cells are apart.

Half of a head's channels belong to the rows, half to the columns. A pair of channels turns by an
angle that grows with the coordinate. Both axes run from -1 to 1 at every resolution, so a coarse
cell has about the coordinates of the cells that it stands for.

Axes: B batch, S = h w cells, H heads, K head size, F = K / 4 frequencies of an axis.
"""

import jax
import jax.numpy as jnp
import numpy as np


def rotate(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Turns the pairs of channels of all heads, [B, S, H, K], on a grid (h, w)."""
    angles = _angles(size, x.shape[-1] // 4)[:, None]  # [S, 1, K / 2]
    cos, sin = (jnp.asarray(part, x.dtype) for part in (np.cos(angles), np.sin(angles)))
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    a, b = pairs[..., 0], pairs[..., 1]  # [B, S, H, K / 2] each
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def _angles(size: tuple[int, int], frequencies: int) -> np.ndarray:
    """The angles of all cells in raster order, float64 [S, 2 F]: of the row, then of the column."""
    rows, columns = (_axis_angles(side, frequencies) for side in size)  # [h, F] and [w, F]
    grid = np.broadcast_arrays(rows[:, None], columns[None])  # [h, w, F] each
    return np.concatenate(grid, axis=-1).reshape(size[0] * size[1], -1)


def _axis_angles(side: int, frequencies: int) -> np.ndarray:
    """The angles of the coordinates of one axis, float64 [side, F].

    The fastest pair turns by about half a circle from cell to cell, which is why the frequencies
    depend on the side. With 2 for a side of 2 all pairs would turn by whole circles.
    """
    coordinates = np.linspace(-1, 1, side) if side > 1 else np.zeros(1)
    return coordinates[:, None] * np.linspace(1, max(side, 3) / 2, frequencies) * np.pi
