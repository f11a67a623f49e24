"""Multi-head attention tile by tile, without all weights at once; it has its own backward pass.

XLA alone keeps the weights for the backward pass, S * T numbers a head, and goes through them in
main memory half a dozen times. Here a tile is a few heads by a block of queries, whose weights fit
into a CPU's cache. The backward pass makes them again from the queries, the keys and each query's
log-sum-exp (FlashAttention: Dao et al., 2022).

Axes: B batch, H heads, N = B * H, G heads of a tile, S queries, T keys, K head size; S' and T',
those of a block.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.precision import product

QUERY_BLOCK = 256
"""The number of a tile's queries. With causality a block leaves out the keys after its end, which
skips nearly half of the work."""

CACHED_WEIGHTS = 2**18
"""The number of a tile's weights on CPUs: a mebibyte of float32, the size of a core's own cache."""


class _Tiles(NamedTuple):
    """What attention reads, [B, H, ...], [N / G, G, ...] or [G, ...] each."""

    queries: jax.Array  # [..., S, K]
    keys: jax.Array  # [..., K, T]
    values: jax.Array  # [..., K, T]
    visible: jax.Array | None  # bool [..., T]


class _Results(NamedTuple):
    """What the backward pass needs of the forward pass, [N / G, G, ...] or [G, ...] each."""

    outputs: jax.Array  # [..., S, K]
    logs: jax.Array  # float32 [..., S], the log-sum-exp of each query's scores


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def tiled_attention(
    queries: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array | None, causal: bool
) -> jax.Array:
    """Computes softmax(Q K^T / sqrt(K)) V, the softmax in float32.

    Args:
        queries: [B, H, S, K].
        keys, values: [B, H, K, T] each, of the queries' dtype.
        visible: bool [B, T], the keys that can be seen, one or more of each b; None for all.
        causal: whether query i sees the keys 0 .. i only; S = T then.

    Returns:
        [B, H, S, K], of the queries' dtype.
    """
    return _forward(queries, keys, values, visible, causal)[0]


def _forward(
    queries: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array | None, causal: bool
) -> tuple[jax.Array, tuple[_Tiles, _Results]]:
    tiles = _tiles(queries, keys, values, visible)
    outputs, logs = jax.lax.map(lambda tile: _tile_forward(_numbers(tile), causal), _bits(tiles))
    outputs = outputs.astype(queries.dtype)
    return outputs.reshape(queries.shape), (tiles, _Results(outputs, logs))


def _backward(causal: bool, residuals: tuple[_Tiles, _Results], gradient: jax.Array) -> tuple[jax.Array | None, ...]:
    tiles, results = residuals
    parts = _bits((tiles, results, gradient.reshape(results.outputs.shape)))
    of_q, of_k, of_v = jax.lax.map(lambda part: _tile_backward(causal, *_numbers(part)), parts)
    gradients = (
        x.swapaxes(2, 3).astype(gradient.dtype) for x in (of_q, of_k, of_v)
    )  # [N / G, G, S, K], [N / G, G, K, T] twice
    return *(x.reshape(*gradient.shape[:2], *x.shape[2:]) for x in gradients), None


tiled_attention.defvjp(_forward, _backward)


def _bits(tree: Any) -> Any:
    """Turns a tree's bfloat16 arrays into integers: XLA's CPU backend takes them into loops as
    float32, and converts every slice again."""
    return jax.tree.map(lambda x: jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x, tree)


def _numbers(tree: Any) -> Any:
    """Inverts `_bits`."""
    return jax.tree.map(lambda x: jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x, tree)


def _tiles(queries: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array | None) -> _Tiles:
    """Cuts arrays [B, H, ...] into tiles, [N / G, G, ...] each."""
    batch, heads, length, _ = queries.shape
    size = _heads_at_once(batch * heads, min(length, QUERY_BLOCK) * keys.shape[3])
    if visible is not None:
        visible = jnp.repeat(visible, heads, axis=0).reshape(-1, size, keys.shape[3])
    q, k, v = (x.reshape(-1, size, *x.shape[2:]) for x in (queries, keys, values))
    return _Tiles(q, k, v, visible)


def _heads_at_once(heads: int, weights: int) -> int:
    """Returns G: as many heads as a CPU's cache holds, given the weights of one; all on
    accelerators, which small tiles leave idle."""
    if jax.default_backend() != "cpu":
        return heads
    return max(n for n in range(1, heads + 1) if heads % n == 0 and (n == 1 or n * weights <= CACHED_WEIGHTS))


def _blocks(tile: _Tiles, causal: bool) -> Iterator[tuple[slice, slice, jax.Array | np.ndarray | None]]:
    """Yields for each block its queries, the keys that it may see, and which of them each query
    sees: [G or 1, S' or 1, T'], or None for all."""
    length, keys = tile.queries.shape[1], tile.keys.shape[2]
    for first in range(0, length, QUERY_BLOCK):
        block = slice(first, min(first + QUERY_BLOCK, length))
        columns = slice(0, block.stop if causal else keys)
        masks: list[jax.Array | np.ndarray] = [] if tile.visible is None else [tile.visible[:, None, columns]]
        if causal:
            masks.append(np.arange(columns.stop) <= np.arange(block.start, block.stop)[None, :, None])
        yield block, columns, masks[0] & masks[-1] if masks else None


def _tile_forward(tile: _Tiles, causal: bool) -> _Results:
    q, k, v, _ = tile
    scale = 1 / np.sqrt(q.shape[-1])
    outputs, logs = [], []
    for block, columns, mask in _blocks(tile, causal):
        scores = product("GSK,GKT->GST", q[:, block], k[:, :, columns])
        scores = scores if mask is None else jnp.where(mask, scores, IMPOSSIBLE)
        highest = scores.max(axis=-1)  # [G, S']
        weights = jnp.exp(scale * (scores - highest[..., None]))  # [G, S', T']
        total = weights.sum(axis=-1)  # [G, S']
        # The product is divided, not the weights: it has K numbers a query instead of T'.
        outputs.append(product("GST,GKT->GSK", weights.astype(v.dtype), v[:, :, columns]) / total[..., None])
        logs.append(scale * highest + jnp.log(total))
    return _Results(jnp.concatenate(outputs, axis=1), jnp.concatenate(logs, axis=1))


def _tile_backward(
    causal: bool, tile: _Tiles, results: _Results, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradients of queries [G, K, S], keys and values [G, T, K]. Weights have the keys
    first, [G, T', S']: then no product has to transpose them."""
    q, k, v, _ = tile
    scale, dtype = 1 / np.sqrt(q.shape[-1]), q.dtype
    # A query's sum of weights times their gradients is that of its output times its gradient.
    means = jnp.sum(results.outputs.astype(jnp.float32) * gradient.astype(jnp.float32), axis=-1)  # [G, S]
    keys, values = k.swapaxes(1, 2), v.swapaxes(1, 2)  # [G, T, K] each
    of_q, of_k, of_v = [], *[jnp.zeros(keys.shape, jnp.float32)] * 2
    for block, columns, mask in _blocks(tile, causal):
        scores = product("GTK,GSK->GTS", keys[:, columns], q[:, block])
        weights = jnp.exp(scale * scores - results.logs[:, None, block])  # [G, T', S']
        weights = weights if mask is None else jnp.where(mask.swapaxes(1, 2), weights, 0)
        of_weights = product("GTK,GSK->GTS", values[:, columns], gradient[:, block])
        of_scores = (scale * weights * (of_weights - means[:, None, block])).astype(dtype)
        of_q.append(product("GKT,GTS->GKS", k[:, :, columns], of_scores))
        of_k = of_k.at[:, columns].add(product("GTS,GSK->GTK", of_scores, q[:, block]))
        of_v = of_v.at[:, columns].add(product("GTS,GSK->GTK", weights.astype(dtype), gradient[:, block]))
    return jnp.concatenate(of_q, axis=2), of_k, of_v
