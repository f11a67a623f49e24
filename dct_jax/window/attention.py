"""Attention restricted to the window of `neighbours`, in two equal forms.

`attend_masked` computes the scores of all pairs of tokens and hides those that are not in the
window: it is plain, and the faster one for small grids. `attend_gathered` cuts the grid into tiles
and reads only the keys around each. Its cost grows with the number of cells, not with their square.

Axes: B batch, H heads, K head size; T = 1 + h m tokens, m = n + 1 of each of h rows; w the window;
N tiles of R x S tokens, Q = R S. A query of a tile reads A keys, those of (R + w - 1) x
(S + 2 w - 1) tokens around the tile, and that of SOS.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.attention import KeysValues, attend_plainly
from dct_jax.window.neighbours import is_seen, seen_tokens

TILE = (4, 9)
"""R, and about S, on CPUs. Larger tiles make larger products, which are faster, of more keys that a
query does not see. The 17 tokens of a row of 16 cells make two tiles of 9."""


MASKED_IS_CHEAPER = 2
"""As products of all tokens are larger ones, they cost less until there are so many times more
tokens than keys around a tile."""

Form = Literal["gathered", "masked"]


class _Tiling(NamedTuple):
    """How a grid is cut.

    Attributes:
        window: w.
        length: m.
        number: of tiles, below each other and side by side.
        tile: R and S. Rows and columns that the grid lacks fill up the last tiles.
    """

    window: int
    length: int
    number: tuple[int, int]
    tile: tuple[int, int]


class _Tile(NamedTuple):
    """What the queries of a tile read.

    Attributes:
        queries: [B, H, Q, K].
        around: the keys and values around it, [R + w - 1, B, H, K, S + 2 w - 1].
        start: those of SOS, [B, H, K, 1].
    """

    queries: jax.Array
    around: KeysValues
    start: KeysValues


def cheaper_form(grid: tuple[int, int], window: int) -> Form:
    """Returns the form that takes less time for (h, n) cells."""
    tokens, (r, s) = 1 + grid[0] * (grid[1] + 1), TILE
    around = (r + window - 1) * (s + 2 * window - 1)
    return "masked" if tokens <= MASKED_IS_CHEAPER * around else "gathered"


def attend_masked(queries: jax.Array, memory: KeysValues, grid: tuple[int, int], window: int) -> jax.Array:
    """Attends with the scores of all pairs.

    Args:
        queries: [B, H, T, K] of all tokens, SOS first.
        memory: their keys and values.
        grid: (h, n) cells.
        window: w.

    Returns:
        [B, H, T, K].
    """
    return attend_plainly(queries, memory, jnp.asarray(seen_tokens(grid, window)))


def attend_gathered(queries: jax.Array, memory: KeysValues, grid: tuple[int, int], window: int) -> jax.Array:
    """Computes what `attend_masked` does, from the keys around each tile; it has its arguments.

    On CPUs it does one grid after another: what lies around the tiles of some rows stays in the
    cache then.
    """
    if jax.default_backend() != "cpu":
        return _attend_grids(queries, memory, grid, window)
    each = queries[:, None], KeysValues(*(x[:, None] for x in memory))  # [B, 1, ...]
    return jax.lax.map(lambda one: _attend_grids(one[0], one[1], grid, window), each)[:, 0]


def _attend_grids(queries: jax.Array, memory: KeysValues, grid: tuple[int, int], window: int) -> jax.Array:
    """Does all grids of `attend_gathered` at once."""
    (rows, cells), (batch, heads, _, size) = grid, queries.shape
    tiling = _tiling(rows, cells + 1, window)
    (down, across), (r, s) = tiling.number, tiling.tile
    below, right = down * r - rows, across * s - tiling.length
    queries_room = ((0, 0), (0, 0), (0, below), (0, right), (0, 0))
    keys_room = ((window - 1, below), (0, 0), (0, 0), (0, 0), (window - 1, right + window))

    q = jnp.pad(queries[:, :, 1:].reshape(batch, heads, rows, -1, size), queries_room)  # [B, H, h', m', K]
    q = q.reshape(batch, heads, down, r, across, s, size).transpose(2, 4, 0, 1, 3, 5, 6)
    q = q.reshape(down * across, batch, heads, r * s, size)  # [N, B, H, Q, K], by tiles
    start = KeysValues(*(x[..., :1] for x in memory))
    by_rows = (x[..., 1:].reshape(batch, heads, size, rows, -1).transpose(3, 0, 1, 2, 4) for x in memory)
    around = KeysValues(*(jnp.pad(x, keys_room) for x in by_rows))
    heads_out = _attend_tiles(tiling, q, around, start).reshape(down, across, batch, heads, r, s, size)
    heads_out = heads_out.transpose(2, 3, 0, 4, 1, 5, 6).reshape(batch, heads, down * r, across * s, size)
    heads_out = heads_out[:, :, :rows, : tiling.length].reshape(batch, heads, -1, size)  # [B, H, T - 1, K]
    return jnp.concatenate([start.values.swapaxes(2, 3).astype(heads_out.dtype), heads_out], axis=2)  # SOS sees itself


def _tiling(rows: int, length: int, window: int) -> _Tiling:
    """Cuts rows x length tokens into tiles of about one size."""
    down, across = -(-rows // TILE[0]), -(-length // TILE[1])
    return _Tiling(window, length, (down, across), (-(-rows // down), -(-length // across)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_tiles(tiling: _Tiling, queries: jax.Array, memory: KeysValues, start: KeysValues) -> jax.Array:
    """Attends from one tile after another, so that its scores stay in a CPU's cache.

    Args:
        tiling: how the grid is cut.
        queries: [N, B, H, Q, K] of all tiles.
        memory: keys and values of the grid and of the room around it.
        start: those of SOS, [B, H, K, 1].

    Returns:
        [N, B, H, Q, K].
    """

    def one(carry: None, tile: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        number, q = tile
        return carry, _attend_tile(tiling, number, _Tile(q, _around(tiling, memory, number), start))

    return jax.lax.scan(one, None, (jnp.arange(len(queries)), queries))[1]


_Arrays = tuple[jax.Array, KeysValues, KeysValues]
_Sums = tuple[KeysValues, KeysValues]


def _forward(tiling: _Tiling, *arrays: *_Arrays) -> tuple[jax.Array, _Arrays]:
    return _attend_tiles(tiling, *arrays), arrays


def _backward(tiling: _Tiling, arrays: _Arrays, gradient: jax.Array) -> _Arrays:
    """Makes the weights of each tile again, and adds up the gradients of the keys around it. XLA's
    own gradient of the loop would keep all weights, and go through all keys for each tile."""
    queries, memory, start = arrays

    def one(sums: _Sums, tile: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[_Sums, jax.Array]:
        number, q, of_outputs = tile
        inputs = _Tile(q, _around(tiling, memory, number), start)
        of = jax.vjp(partial(_attend_tile, tiling, number), inputs)[1](of_outputs)[0]
        more = jax.tree.map(jnp.add, _around(tiling, sums[0], number), of.around)
        corner = _corner(tiling, number)
        of_memory = jax.tree.map(lambda x, part: jax.lax.dynamic_update_slice(x, part, corner), sums[0], more)
        return (of_memory, jax.tree.map(jnp.add, sums[1], of.start)), of.queries

    nothing = jax.tree.map(jnp.zeros_like, (memory, start))
    sums, of_queries = jax.lax.scan(one, nothing, (jnp.arange(len(queries)), queries, gradient))
    return of_queries, *sums


_attend_tiles.defvjp(_forward, _backward)


def _corner(tiling: _Tiling, number: jax.Array) -> tuple[jax.Array | int, ...]:
    """Returns where the keys around a tile begin, in arrays [., B, H, K, .]. As these have room
    around the grid, the last two numbers are also the row and column of the tile's first token."""
    row, column = jnp.divmod(number, tiling.number[1])
    return row * tiling.tile[0], 0, 0, 0, column * tiling.tile[1]


def _around(tiling: _Tiling, memory: KeysValues, number: jax.Array) -> KeysValues:
    """Cuts out the keys and values around a tile."""
    (r, s), w, corner = tiling.tile, tiling.window, _corner(tiling, number)
    sizes = (r + w - 1, *memory.keys.shape[1:4], s + 2 * w - 1)
    return KeysValues(*(jax.lax.dynamic_slice(x, corner, sizes) for x in memory))


def _attend_tile(tiling: _Tiling, number: jax.Array, tile: _Tile) -> jax.Array:
    """Attends from a tile. Returns [B, H, Q, K]."""
    keys = KeysValues(
        *(
            jnp.concatenate([start, x.transpose(1, 2, 3, 0, 4).reshape(*start.shape[:3], -1)], axis=3)
            for start, x in zip(tile.start, tile.around)
        )
    )  # [B, H, K, A]
    row, *_, column = _corner(tiling, number)
    return attend_plainly(tile.queries, keys, seen_around(tiling.tile, (row, column), tiling.length, tiling.window))


def seen_around(tile: tuple[int, int], corner: tuple[Any, Any], length: int, window: int) -> jax.Array:
    """Returns which keys each query of a tile sees: SOS, then those around the tile.

    Args:
        tile: R and S.
        corner: row and column of the tile's first token, int32 [] or int each.
        length: m; what lies beyond the first row or the rows' ends is not seen.
        window: w.

    Returns:
        bool [Q, A].
    """
    (r, s), w = tile, window
    # Rows and columns of the keys are counted from the tile's first token.
    row, column, key_row, key_column = np.ogrid[:r, :s, 1 - w : r, 1 - w : s + w]
    code = corner[1] + key_column
    is_there = (corner[0] + key_row >= 0) & (code < length)
    seen = is_seen(row - key_row, column - key_column, code, w) & is_there
    return jnp.pad(seen.reshape(r * s, -1), ((0, 0), (1, 0)), constant_values=True)
