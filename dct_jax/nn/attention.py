"""Multi-head attention with explicit keys and values.

Axes: B batch, S queries, T keys, H heads, K head size, D = H * K width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax import kernels
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.precision import FLOAT32, Precision, is_ampere, product
from dct_jax.nn.tiled_attention import tiled_attention


class KeysValues(NamedTuple):
    """What attention reads. In the sampler's caches columns are overwritten; the shape never
    changes.

    T comes last because a sampler's step, which has one query a head, reads them faster then: on
    CPUs XLA's products of a vector and a matrix are slower with rows of K numbers.
    """

    keys: jax.Array  # [B, H, K, T]
    values: jax.Array  # [B, H, K, T]

    def write(self, new: "KeysValues", index: jax.Array | int) -> "KeysValues":
        """Returns a copy with the S columns of `new` in place of columns index .. index + S - 1."""
        update = jax.lax.dynamic_update_slice_in_dim
        return KeysValues(*(update(old, row.astype(old.dtype), index, axis=3) for old, row in zip(self, new)))


Caches = tuple[KeysValues, ...]
"""There is one KeysValues for each block."""


def empty_caches(layers: int, batch: int, width: int, heads: int, length: int, dtype: jnp.dtype = FLOAT32) -> Caches:
    """Makes caches of so many blocks, with room for so many tokens of each of `batch` sequences."""
    room = jnp.zeros((batch, heads, width // heads, length), dtype)
    return (KeysValues(room, room),) * layers


def attend(
    queries: jax.Array,
    memory: KeysValues,
    operands: jnp.dtype,
    visible: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    """Computes softmax(Q K^T / sqrt(K)) V for many queries at once, the softmax in float32.

    Args:
        queries: [B, H, S, K].
        memory: T keys and values.
        operands: the dtype of the products' operands.
        visible: bool [B, T], the keys that can be seen, one or more of each b; None for all.
        causal: whether query i sees the keys 0 .. i only; S = T then.

    Returns:
        [B, H, S, K].
    """
    dtype = queries.dtype
    queries, keys, values = (x.astype(operands) for x in (queries, *memory))
    if not _cudnn_fits(queries, keys):
        return tiled_attention(queries, keys, values, visible, causal).astype(dtype)
    q, k, v = queries.transpose(0, 2, 1, 3), *(x.transpose(0, 3, 1, 2) for x in (keys, values))  # [B, S or T, H, K] each
    lengths = None
    if visible is not None:
        # The keys' order makes no difference. If the visible ones are first, cuDNN needs their
        # number alone. A mask it would add to all scores, with a gradient.
        order = jnp.argsort(~visible, axis=1)[..., None, None]  # [B, T, 1, 1]
        k, v = (jnp.take_along_axis(x, order, axis=1) for x in (k, v))
        lengths = visible.sum(axis=1, dtype=jnp.int32)  # [B]
    outputs = jax.nn.dot_product_attention(
        q, k, v, is_causal=causal, key_value_seq_lengths=lengths, implementation="cudnn"
    )  # [B, S, H, K]
    return outputs.transpose(0, 2, 1, 3).astype(dtype)


def attend_window(
    queries: jax.Array, new: KeysValues, cache: KeysValues, index: jax.Array | int
) -> tuple[jax.Array, KeysValues]:
    """Attends, causally, from a few new rows to a window, without a backward pass.

    On CPUs, where `kernels` are used, the bits of a row's result do not depend on other rows.

    Args:
        queries: [B, H, S, K].
        new: the S keys and values of the new rows.
        cache: the T keys and values of the window.
        index: the column of the first new row.

    Returns:
        [B, H, S, K], and the cache with the new columns, index .. index + S - 1.
    """
    if _kernels_fit(cache):
        outputs, keys, values = kernels.attend_window(queries, new, cache, jnp.asarray(index, jnp.int32))
        return outputs.astype(queries.dtype), KeysValues(keys, values)
    cache = cache.write(new, index)
    rows = index + jnp.arange(queries.shape[2])  # [S]
    return attend_plainly(queries, cache, jnp.arange(cache.keys.shape[3]) <= rows[:, None]), cache


def attend_step(queries: jax.Array, memory: KeysValues, visible: jax.Array) -> jax.Array:
    """Attends from a few queries, without a backward pass (see `attend`).

    On CPUs, where `kernels` are used, the bits of a row's result do not depend on other rows.

    Args:
        queries: [B, H, S, K].
        memory: T keys and values.
        visible: bool [B, T], the keys that can be seen, one or more of each b.

    Returns:
        [B, H, S, K].
    """
    if _kernels_fit(memory):
        return kernels.attend_memory(queries, memory, visible).astype(queries.dtype)
    return attend_plainly(queries, memory, visible[:, None, None])


def attend_plainly(queries: jax.Array, memory: KeysValues, mask: jax.Array) -> jax.Array:
    """Computes softmax(Q K^T / sqrt(K)) V, [B, H, S, K], with the weights of all heads at once, the
    softmax in float32. `mask`, bool, broadcastable to [B, H, S, T], says which keys each query
    sees."""
    scores = product("BHSK,BHKT->BHST", queries, memory.keys)
    scores = jnp.where(mask, scores / np.sqrt(queries.shape[-1]), IMPOSSIBLE)
    weights = jax.nn.softmax(scores).astype(queries.dtype)  # [B, H, S, T]
    return product("BHST,BHKT->BHSK", weights, memory.values).astype(queries.dtype)


def _kernels_fit(memory: KeysValues) -> bool:
    """Tells whether attention of few rows goes to kernels of its own."""
    return memory.keys.dtype in (jnp.float32, jnp.bfloat16) and kernels.use_kernels()


def _cudnn_fits(queries: jax.Array, keys: jax.Array) -> bool:
    """Tells whether cuDNN's fused attention can be used: on NVIDIA GPUs since Ampere, in bfloat16,
    for heads of up to 128 and even lengths."""
    if jax.default_backend() != "gpu" or queries.dtype != jnp.bfloat16:
        return False
    size = queries.shape[-1]
    return is_ampere(jax.devices()[0]) and size <= 128 and size % 8 == 0 and queries.shape[2] % 2 == keys.shape[3] % 2 == 0


class Attention(nn.Module):
    """The projections of multi-head attention. The caller chooses what is remembered and which keys
    a query may see.

    It has `setup` because its keys and values are made apart from its queries: once per chunk in
    cross-attention, step by step in the sampler.
    """

    width: int
    heads: int
    precision: Precision

    def setup(self) -> None:
        self.query = self.precision.dense(self.width, use_bias=False)
        self.key_value = self.precision.dense(2 * self.width, use_bias=False)
        self.out = self.precision.dense(self.width)

    def remember(self, x: jax.Array) -> KeysValues:
        """Makes the keys and values of T rows [B, T, D]."""
        rows = self.key_value(x).reshape(*x.shape[:2], 2, self.heads, -1)  # [B, T, 2, H, K]
        return KeysValues(*rows.transpose(2, 0, 3, 4, 1))

    def queries(self, x: jax.Array) -> jax.Array:
        """Makes queries [B, H, S, K] of rows [B, S, D]."""
        return self.query(x).reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def merge(self, heads: jax.Array) -> jax.Array:
        """Merges heads [B, H, S, K] into rows [B, S, D]."""
        batch, _, length, _ = heads.shape
        return self.out(heads.transpose(0, 2, 1, 3).reshape(batch, length, self.width))
