"""Random keys of pictures and samples, and what is chosen with them."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def sample_keys(seed: int, numbers: Sequence[int] | np.ndarray) -> jax.Array:
    """Makes the keys [B] of samples by a seed and their numbers [B], both below 2^32. They depend
    on nothing else, so sample i of a seed is one grid, whatever its batch (rounding aside, which
    may differ between sizes of batches)."""
    return picture_keys(jax.random.key(np.uint32(seed)), np.asarray(numbers, np.uint32))


def picture_keys(key: jax.Array, seeds: jax.Array | np.ndarray) -> jax.Array:
    """Makes the keys of pictures, [B], of a key and their seeds, uint32 [B]."""
    return jax.vmap(partial(jax.random.fold_in, key))(seeds)


def fold_keys(keys: jax.Array, number: jax.Array | int) -> jax.Array:
    """Makes new keys [B] of keys [B] and a number."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


def choose(logits: jax.Array, keys: jax.Array, number: jax.Array | int) -> jax.Array:
    """Chooses a symbol of each row, int32 [B], of logits [B, N], by its key and choice `number`."""
    return jax.vmap(jax.random.categorical)(fold_keys(keys, number), logits).astype(jnp.int32)
