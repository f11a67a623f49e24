"""Grids of codes of several sizes, in one array.

A picture has h x w regions, the cells of its coarsest grid. Each region has a grain g, from 0, the
coarsest, to G - 1, the finest: 4^g codes, each of a square of s x s cells of the finest grid, where
s = 2^(G - 1 - g). A *grain map* has the grain of each region. A *grid with holes* has, on the
finest grid, each code in the upper left cell of its square, and a hole, the number K, in the other
cells of the square. It says the grain map, too, so it is all that a picture becomes.

Axes: B batch, h x w regions, n x m cells of the finest grid, G grains, K codes.
"""

import jax
import jax.numpy as jnp


def cells_of_side(grain: jax.Array, grains: int) -> jax.Array:
    """Returns s, cells of a side of the square of a code, of grains int32 [...]."""
    return 2 ** (grains - 1 - grain)


def spread(regions: jax.Array, grains: int) -> jax.Array:
    """Repeats what each region has for its cells: [B, h, w, ...] -> [B, n, m, ...]."""
    side = 2 ** (grains - 1)
    return regions.repeat(side, axis=1).repeat(side, axis=2)


def has_code(grain_map: jax.Array, grains: int) -> jax.Array:
    """Tells which cells are the upper left ones of a code's square: int32 [B, h, w] -> bool
    [B, n, m]."""
    side = cells_of_side(spread(grain_map, grains), grains)  # [B, n, m]
    rows, columns = jnp.indices(side.shape[1:])
    return (rows % side == 0) & (columns % side == 0)


def punch(codes: jax.Array, grain_map: jax.Array, grains: int, num_codes: int) -> jax.Array:
    """Makes holes of all cells but the upper left ones of squares: int32 [B, n, m] -> [B, n, m]."""
    return jnp.where(has_code(grain_map, grains), codes, num_codes)


def map_of(codes: jax.Array, grains: int, num_codes: int) -> jax.Array:
    """Finds the grain map of valid grids with holes: int32 [B, n, m] -> [B, h, w]."""
    side = 2 ** (grains - 1)
    batch, rows, columns = codes.shape
    is_code = (codes != num_codes).reshape(batch, rows // side, side, columns // side, side)
    counts = is_code.sum(axis=(2, 4))  # [B, h, w], 4^g
    smaller = 4 ** jnp.arange(grains - 1)  # the counts of all grains but the finest
    return (counts[..., None] > smaller).sum(axis=-1).astype(jnp.int32)


def fill(codes: jax.Array, grains: int, num_codes: int) -> jax.Array:
    """Fills the holes of valid grids by the codes of their squares: int32 [B, n, m] -> the same."""
    side = cells_of_side(spread(map_of(codes, grains, num_codes), grains), grains)  # [B, n, m]
    rows, columns = jnp.indices(codes.shape[1:])
    return codes[jnp.arange(len(codes))[:, None, None], rows - rows % side, columns - columns % side]
