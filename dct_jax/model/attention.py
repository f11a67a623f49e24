"""Multi-head attention with explicit keys and values.

Axes: B batch, S queries, T keys, H heads, K head size, D = H * K width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.model.support import IMPOSSIBLE

QUERY_BLOCK = 256


class KeysValues(NamedTuple):
    """What attention reads. The sampler's caches are made of these: rows are overwritten, the shape never changes."""

    keys: jax.Array  # [B, H, T, K]
    values: jax.Array  # [B, H, T, K]

    def write(self, new: "KeysValues", index: jax.Array | int) -> "KeysValues":
        """A copy with rows index .. index + S - 1 replaced by `new`, which has S rows."""
        update = jax.lax.dynamic_update_slice_in_dim
        return KeysValues(*(update(old, row.astype(old.dtype), index, axis=2) for old, row in zip(self, new)))


def attend(queries: jax.Array, memory: KeysValues, mask: jax.Array | None = None) -> jax.Array:
    """softmax(Q K^T / sqrt(K)) V, the softmax in float32.

    Args:
        queries: [B, H, S, K].
        memory: T keys and values.
        mask: bool, broadcastable to [B, H, S, T]: which keys each query may see; None for all.

    Returns:
        [B, H, S, K].
    """
    scores = jnp.einsum("BHSK,BHTK->BHST", queries, memory.keys, preferred_element_type=jnp.float32)
    scores = scores / np.sqrt(queries.shape[-1])
    if mask is not None:
        scores = jnp.where(mask, scores, IMPOSSIBLE)
    weights = jax.nn.softmax(scores).astype(queries.dtype)  # [B, H, S, T]
    return jnp.einsum("BHST,BHTK->BHSK", weights, memory.values)


def causal_attend(queries: jax.Array, memory: KeysValues) -> jax.Array:
    """`attend` where query i sees keys 0..i. Queries go in blocks, each of which leaves out the keys after its end: that
    skips nearly half of the work, exactly.

    Args:
        queries: [B, H, S, K].
        memory: S keys and values.

    Returns:
        [B, H, S, K].
    """
    length = queries.shape[2]
    blocks = []
    for first in range(0, length, QUERY_BLOCK):
        end = min(first + QUERY_BLOCK, length)
        mask = np.arange(end)[None, :] <= np.arange(first, end)[:, None]  # [S', T']
        seen = KeysValues(memory.keys[:, :, :end], memory.values[:, :, :end])
        blocks.append(attend(queries[:, :, first:end], seen, mask))
    return jnp.concatenate(blocks, axis=2)


class Attention(nn.Module):
    """The projections of multi-head attention. The caller chooses what is remembered and which keys a query may see.

    Written with `setup`, as its keys and values are made apart from its queries: once per chunk in cross-attention, step
    by step in the sampler.
    """

    width: int
    heads: int
    dtype: jnp.dtype

    def setup(self) -> None:
        self.query = nn.Dense(self.width, use_bias=False, dtype=self.dtype)
        self.key_value = nn.Dense(2 * self.width, use_bias=False, dtype=self.dtype)
        self.out = nn.Dense(self.width, dtype=self.dtype)

    def remember(self, x: jax.Array) -> KeysValues:
        """[B, T, D] -> the keys and values of its T rows."""
        return KeysValues(*map(self._split, jnp.split(self.key_value(x), 2, axis=-1)))

    def queries(self, x: jax.Array) -> jax.Array:
        """[B, S, D] -> [B, H, S, K]."""
        return self._split(self.query(x))

    def merge(self, heads: jax.Array) -> jax.Array:
        """[B, H, S, K] -> [B, S, D]."""
        batch, _, length, _ = heads.shape
        return self.out(heads.transpose(0, 2, 1, 3).reshape(batch, length, self.width))

    def _split(self, x: jax.Array) -> jax.Array:
        """[B, S, D] -> [B, H, S, K]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)
