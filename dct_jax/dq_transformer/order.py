"""The order of the symbols of a picture, and which of them can come next.

A position symbol says where the next code is, and of which grain. All that there are stand in one
order: the squares of grain 0, the end of grain 0, the squares of grain 1, its end, and so on to the
squares of the finest grain, which needs no end. A picture has some of them, always in this order,
so one sequence alone is that of a picture. See `dq.grains` for regions, grains and holes.

Axes: B batch, T symbols, P all position symbols, N = h w regions, L symbols of a sequence at most.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.dq.grains import map_of


class Sequences(NamedTuple):
    """Packed sequences.

    Attributes:
        positions: int32 [B, L], position symbols; P after the last one.
        codes: int32 [B, L], the code at each; K at an end and after the last one.
    """

    positions: jax.Array
    codes: jax.Array


@dataclass(frozen=True)
class Order:
    """The order of the position symbols of h x w regions.

    Attributes:
        regions: (h, w).
        grains: G.
        within: of a grain, "rows" goes through the rows of its whole grid, "regions" through the
            rows of each region in turn.
    """

    regions: tuple[int, int]
    grains: int
    within: Literal["rows", "regions"] = "rows"

    @property
    def longest(self) -> int:
        """L: all regions have the finest grain."""
        return self.regions[0] * self.regions[1] * 4 ** (self.grains - 1) + self.grains - 1

    @property
    def number(self) -> int:
        """P."""
        return len(self.symbols.grain)

    @cached_property
    def symbols(self) -> "Symbols":
        """What each symbol says."""
        return Symbols(*(np.concatenate(parts) for parts in zip(*(self._of_grain(g) for g in range(self.grains)))))

    def _of_grain(self, grain: int) -> "Symbols":
        (height, width), per_side, finest = self.regions, 2**grain, 2 ** (self.grains - 1)
        rows, columns = np.indices((height * per_side, width * per_side)).reshape(2, -1)  # raster order of its own grid
        region = rows // per_side * width + columns // per_side
        if self.within == "regions":
            by_region = np.argsort(region, kind="stable")
            rows, columns, region = rows[by_region], columns[by_region], region[by_region]
        scale = finest // per_side
        cell = rows * scale * (width * finest) + columns * scale
        is_first = (rows % per_side == 0) & (columns % per_side == 0)
        ends = np.zeros(int(grain < self.grains - 1), int)  # the finest grain needs no end
        is_end = np.append(np.zeros(len(cell), bool), ends == 0)
        region, cell = np.append(region, ends), np.append(cell, ends)
        return Symbols(np.full(len(is_end), grain), region, cell, is_end, np.append(is_first, ends > 0))

    @cached_property
    def first_of_region(self) -> np.ndarray:
        """The number of the symbol of the first square of each symbol's region and grain, int [P];
        an end's own."""
        s, found = self.symbols, np.arange(self.number)
        first = {(g, r): i for i, (g, r) in enumerate(zip(s.grain.tolist(), s.region.tolist())) if s.is_first[i]}
        is_square = np.flatnonzero(~s.is_end)
        found[is_square] = [first[g, r] for g, r in zip(s.grain[is_square].tolist(), s.region[is_square].tolist())]
        return found


class Symbols(NamedTuple):
    """What position symbols say, [P] each.

    Attributes:
        grain: int, of the square, or of the end.
        region: int, which region the square is in, in raster order; 0 for an end.
        cell: int, the square's upper left cell on the finest grid, in raster order; 0 for an end.
        is_end: bool, whether it is the end of a grain.
        is_first: bool, whether the square is the upper left one of its region.
    """

    grain: np.ndarray
    region: np.ndarray
    cell: np.ndarray
    is_end: np.ndarray
    is_first: np.ndarray


def pack(order: Order, codes: jax.Array, num_codes: int) -> Sequences:
    """Makes sequences of grids with holes, int32 [B, n, m]."""
    s, batch = order.symbols, len(codes)
    grain_map = map_of(codes, order.grains, num_codes).reshape(batch, -1)  # [B, N]
    is_own = s.is_end | (grain_map[:, s.region] == s.grain)  # [B, P]
    of_symbol = jnp.where(s.is_end, num_codes, codes.reshape(batch, -1)[:, s.cell])  # [B, P]
    positions = jnp.argsort(~is_own, axis=1, stable=True)[:, : order.longest]  # [B, L]
    is_there = jnp.arange(order.longest) < is_own.sum(axis=1, keepdims=True)
    packed = jnp.take_along_axis(of_symbol, positions, axis=1)
    return Sequences(
        jnp.where(is_there, positions, order.number).astype(jnp.int32), jnp.where(is_there, packed, num_codes).astype(jnp.int32)
    )


def unpack(order: Order, sequences: Sequences, num_codes: int) -> jax.Array:
    """Makes grids with holes, int32 [B, n, m], of whole sequences: the inverse of `pack`."""
    s, (height, width), side = order.symbols, order.regions, 2 ** (order.grains - 1)
    nowhere = height * width * side**2
    cells = np.append(np.where(s.is_end, nowhere, s.cell), nowhere)  # [P + 1]
    grids = jnp.full((len(sequences.codes), nowhere), num_codes, jnp.int32)
    rows = jnp.arange(len(grids))[:, None]
    grids = grids.at[rows, jnp.asarray(cells)[sequences.positions]].set(sequences.codes, mode="drop")
    return grids.reshape(-1, height * side, width * side)


def support(order: Order, previous: jax.Array, grain_map: jax.Array, known: jax.Array | None = None) -> jax.Array:
    """Tells which position symbols can come next, so that every sequence ends with each cell in one
    square.

    A symbol can come next if it is a later one, no coarser code covers its region, and it skips
    nothing that must come: an end; the squares of a region that has one of them already; all that
    is left, at the finest grain; and what is known.

    Args:
        order: of the symbols.
        previous: int32 [B, T], the last symbol of a sequence so far; -1 before the first.
        grain_map: int32 [B, N], of what the sequence has said so far; a region of which it has said
            nothing counts as finest. The map of the whole sequence says the same.
        known: int32 [B, N], grains that regions must have; -1 for any.

    Returns:
        bool [B, T, P], all False after the last symbol.
    """
    s, number = order.symbols, jnp.arange(order.number)
    finest = order.grains - 1
    its_map = grain_map[:, None, s.region]  # [B, 1, P]
    is_later = number > previous[..., None]  # [B, T, P]
    is_begun = (its_map == s.grain) & (order.first_of_region <= previous[..., None])
    is_due = s.is_end | ((s.grain == finest) & (its_map == finest)) | is_begun
    is_open = s.is_end | ((its_map >= s.grain) & (s.is_first | is_begun))
    if known is not None:
        its_known = known[:, None, s.region]
        is_due |= its_known == s.grain
        is_open &= s.is_end | (its_known < 0) | (its_known == s.grain)
    due = jnp.where(is_due & is_later, number, order.number).min(axis=-1, keepdims=True)  # [B, T, 1]
    return jnp.asarray(is_open & is_later & (number <= due))


def start_map(order: Order, batch: int) -> jax.Array:
    """Returns the grain map before the first symbol, int32 [B, N]: all regions count as finest."""
    return jnp.full((batch, order.regions[0] * order.regions[1]), order.grains - 1, jnp.int32)


def lengths(order: Order, grain_map: jax.Array) -> jax.Array:
    """Returns how many symbols sequences have, int32 [B], of their grain maps, int32 [B, N].

    By the map of what a sequence has said so far, it has said fewer until it has said all.
    """
    return (4**grain_map).sum(axis=-1) + order.grains - 1


def say(order: Order, grain_map: jax.Array, position: jax.Array) -> jax.Array:
    """Adds a position symbol, int32 [B], to what sequences have said, int32 [B, N]."""
    s = order.symbols
    at = jnp.minimum(position, order.number - 1)
    is_square = (position < order.number) & ~jnp.asarray(s.is_end)[at]
    rows, region = jnp.arange(len(position)), jnp.asarray(s.region)[at]
    grain = jnp.where(is_square, jnp.asarray(s.grain)[at], grain_map[rows, region])
    return grain_map.at[rows, region].set(grain.astype(jnp.int32))
