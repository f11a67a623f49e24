"""Samples grids of codes, one code after another, with caches.

A step's cost does not depend on the size of the grid: the caches hold the rows of the window alone,
and move down by one row where a row ends.

Axes: B batch, h x n cells, m = n + 1 tokens of a row, K codes, w the window, D width.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.codes.random_keys import choose
from dct_jax.nn.attention import KeysValues
from dct_jax.nn.few_rows import apply_to_few_rows
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.window.network import RowCaches, WindowTransformer
from dct_jax.window.places import Turns, turns


class Known(NamedTuple):
    """Codes that are not sampled.

    Attributes:
        codes: int32 [B, h, n], 0 .. K - 1 where they are known.
        mask: bool [B, h, n], where they are.
    """

    codes: jax.Array
    mask: jax.Array


class _Token(NamedTuple):
    """What is given of a token, for a row with a leading axis m, for the grid with [h, m]."""

    row: jax.Array  # int32 []
    column: jax.Array  # int32 []
    place: jax.Array  # [D]
    turns: Turns
    known: Known  # [B] each, of the cell that it predicts


@partial(jax.jit, static_argnums=(0, 2))
def sample_codes(
    network: WindowTransformer,
    variables: Any,
    grid: tuple[int, int],
    labels: jax.Array,
    keys: jax.Array,
    policy: SymbolPolicy,
    known: Known | None = None,
) -> jax.Array:
    """Samples the codes of grids in raster order.

    Args:
        network, variables: what they are sampled from.
        grid: (h, n) cells; training may have had others.
        labels: int32 [B], as the network takes them.
        keys: [B], a random key for each grid: a sample does not depend on the other rows.
        policy: how a code is sampled from its logits.
        known: codes that stay as they are. A sampled code depends on those before it alone.

    Returns:
        int32 [B, h, n].
    """
    (rows, cells), batch, c = grid, len(keys), network.config
    if known is None:
        known = Known(jnp.zeros((batch, *grid), jnp.int32), jnp.zeros((batch, *grid), bool))
    # The last token of a row predicts nothing.
    known = Known(*(jnp.pad(x, ((0, 0), (0, 0), (0, 1))).transpose(1, 2, 0) for x in known))  # [h, m, B] each
    place = jnp.asarray(network.apply(variables, grid, method="places"))  # [h, m, D]
    by = Turns(*(jnp.asarray(x) for x in turns(grid, c.window, c.head_size)))  # [h, m, .] each
    row, column = jnp.mgrid[:rows, : cells + 1]
    tokens = _Token(row, column, place, by, known)
    apply = apply_to_few_rows(network, variables)
    start = apply(labels, method="start")

    def step(carry: tuple[RowCaches, jax.Array], token: _Token) -> tuple[tuple[RowCaches, jax.Array], jax.Array]:
        """Runs a token, and chooses the code that it predicts, int32 [B]."""
        caches, code = carry
        at = token.row, token.column
        logits, caches = apply(code, token.place, token.turns, at, start, caches, method="step")
        number = token.row * cells + token.column
        sampled = choose(policy(logits), keys, number)
        code = jnp.where(token.known.mask, token.known.codes, sampled)
        return (caches, code), code

    def sample_row(caches: RowCaches, row_tokens: _Token) -> tuple[RowCaches, jax.Array]:
        """Samples a row, int32 [m, B], and makes room for the next."""
        row_start = jnp.full(batch, network.num_codes, jnp.int32)
        (caches, _), codes = jax.lax.scan(step, (caches, row_start), row_tokens)
        return jax.tree.map(lambda x: jnp.roll(x, -1, axis=3), caches), codes

    room = (batch, c.heads, c.head_size, c.window, cells + 2 * c.window)
    caches = (KeysValues(*(jnp.zeros(room),) * 2),) * c.layers
    return jax.lax.scan(sample_row, caches, tokens)[1][:, :-1].transpose(2, 0, 1)
