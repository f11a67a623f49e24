"""Reads symbols of files of versions 1 and 2, whose probabilities must be found to the last bit.

The number of rows is fixed, and the probabilities leave the programs as integers. Files of these
versions are read on the same kind of machine with the same versions and settings of JAX alone.
"""

import constriction
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.compression.steps import Walker
from dct_jax.nn.masks import IMPOSSIBLE

ROWS = {1: 1, 2: 8}
"""R by the format's version."""

RESOLUTION = 2**22
"""Probabilities are multiples of about 1 / RESOLUTION."""

PROBED = 8
"""All rows must agree for so many elements before more than one row is used."""


def integer_weights(logits: jax.Array) -> jax.Array:
    """Turns float32 logits [..., N] into int32 weights [..., N] in proportion to the probabilities:
    0 for impossible symbols, at least 1 for all others."""
    weights = jnp.round(jax.nn.softmax(logits) * RESOLUTION).astype(jnp.int32)
    return jnp.where(logits > IMPOSSIBLE / 2, jnp.maximum(weights, 1), 0)


def usable_rows(walker: Walker, blank: SparseDCT) -> int:
    """Returns R if this machine computes all rows of a walker with `integer_weights` alike, as far
    as a few elements of equal lists show it. Otherwise returns 1, as only the first row is safe.

    Args:
        walker: of R rows.
        blank: a list without triples.
    """
    walk = walker.walk([blank], [0], [0])
    weights = np.asarray(next(walk))  # [R, N]
    for _ in range(3 * min(PROBED, walker.model.config.chunk_size) - 1):
        if (weights != weights[:1]).any():
            return 1
        weights = np.asarray(walk.send(weights.argmax(axis=1)))
    return walker.rows


class WeightReader:
    """Reads symbols by their weights."""

    def __init__(self, words: np.ndarray) -> None:
        """Opens the words of a range coder, uint32 [W]."""
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def read(self, weights: np.ndarray) -> int | None:
        """Reads the next symbol. Returns None if there is none or its weight is 0: then the words
        were written with other weights.

        Args:
            weights: int32 [N]. They and their sums are exact in float64, so a distribution made of
                them is the same on every machine.
        """
        model = constriction.stream.model.Categorical(weights.astype(np.float64), perfect=False)
        try:
            symbol = int(self._decoder.decode(model))
        except AssertionError:  # that is how constriction says that no symbol has these bits
            return None
        return symbol if weights[symbol] else None
