"""Random codes: uniform ones, corrupted ones, and samples from logits.

Each picture has a key of its own, so its numbers depend on nothing else: neither on the batch nor
on the devices that share it.

Axes: B batch, h x w cells, K codes.
"""

import jax
import jax.numpy as jnp

from dct_jax.codes.random_keys import fold_keys


def uniform_cells(keys: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns uniform numbers from 0 to 1 (excluded), float32 [B, h, w]."""
    return jax.vmap(lambda key: jax.random.uniform(key, size))(keys)


def uniform_codes(keys: jax.Array, size: tuple[int, int], num_codes: int) -> jax.Array:
    """Returns uniform codes, int32 [B, h, w]."""
    return jax.vmap(lambda key: jax.random.randint(key, size, 0, num_codes))(keys)


def corrupt(codes: jax.Array, keys: jax.Array, num_codes: int) -> jax.Array:
    """Replaces cells by uniform codes, which may equal the old ones.

    A picture's share of replaced cells is random, too, and uniform from 0 to 1. On average
    0.5 (1 - 1 / K) of the codes change.

    Args:
        codes: int32 [B, h, w].
        keys: [B].
        num_codes: K.

    Returns:
        int32 [B, h, w].
    """
    size = (codes.shape[1], codes.shape[2])
    rates = jax.vmap(jax.random.uniform)(fold_keys(keys, 0))  # [B]
    is_replaced = uniform_cells(fold_keys(keys, 1), size) < rates[:, None, None]
    return jnp.where(is_replaced, uniform_codes(fold_keys(keys, 2), size, num_codes), codes)


def sample_cells(logits: jax.Array, keys: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """Samples the code of each cell from its logits.

    One random number a cell meets the cumulative distribution. On CPUs a number for each code
    (Gumbel) would take seven times as long.

    Args:
        logits: float32 [B, h, w, K].
        keys: [B].
        temperature: divides the logits; float32 [].

    Returns:
        int32 [B, h, w].
    """
    weights = jnp.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    sums = jnp.cumsum(weights, axis=-1)  # [B, h, w, K]
    places = uniform_cells(keys, (logits.shape[1], logits.shape[2]))[..., None] * sums[..., -1:]
    codes = jnp.sum(sums <= places, axis=-1, dtype=jnp.int32)
    return jnp.minimum(codes, logits.shape[-1] - 1)
