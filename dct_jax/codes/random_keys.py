"""The random keys of samples."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np


def sample_keys(seed: int, numbers: Sequence[int] | np.ndarray) -> jax.Array:
    """Makes the keys [B] of samples by a seed and their numbers [B], both below 2^32. They depend
    on nothing else, so sample i of a seed is one grid, whatever its batch (rounding aside, which
    may differ between sizes of batches)."""
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(np.uint32(seed))))(np.asarray(numbers, np.uint32))
