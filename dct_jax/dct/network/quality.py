"""Tells a network the quantisation tables of a list, where these differ from list to list.

An embedding is made of the divisors themselves: neighbouring qualities have nearly the same tables,
and so nearly the same embedding, also those that few pictures of the training had.

Axes: B batch, C channels, D width, V the largest value.
"""

import dataclasses
from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import DCTCodec, Vocabulary
from dct_jax.nn.precision import Precision


class QualityEmbedding(nn.Module):
    """A dense layer over the logarithms of a quality's divisors, normalised as every field that is
    summed into a decoder's input.

    Attributes:
        vocabulary: the symbols of the network; it says which components the tables have.
        width: D.
        precision: the types of the product and of the result.
    """

    vocabulary: Vocabulary
    width: int
    precision: Precision

    @nn.compact
    def __call__(self, quality: jax.Array) -> jax.Array:
        """Embeds qualities, int32 [B], of which 0 has no meaning here. Returns [B, D]."""
        tables = jnp.asarray(log_tables(self.vocabulary))[quality]  # [B, C]
        x = self.precision.dense(self.width)(tables)  # [B, D]
        return nn.LayerNorm(dtype=self.precision.activations, use_bias=False)(x)


def log_tables(vocabulary: Vocabulary) -> np.ndarray:
    """Returns the logarithms of the divisors of every quality, float32 [101, C]: from -1 for a
    divisor of 1 to 1 for one of 256. Channels stand in raster order; row 0 is zeros."""
    tables = [codec.quantization_tables.ravel() for codec in _codecs(vocabulary)]  # [C] each
    return np.pad(np.log2(tables) / 4 - 1, ((1, 0), (0, 0))).astype(np.float32)


@lru_cache
def largest_values(vocabulary: Vocabulary) -> np.ndarray:
    """Returns the largest value of the lists of every quality, at most V, int32 [101]. Row 0, of
    tables that are none of a quality, is V."""
    largest = [vocabulary.largest_value, *(codec.vocabulary((1, 1)).largest_value for codec in _codecs(vocabulary))]
    return np.minimum(largest, vocabulary.largest_value).astype(np.int32)


@lru_cache
def vocabulary_of(vocabulary: Vocabulary, quality: int | None) -> Vocabulary:
    """Returns a network's symbols that lists of a quality may have: their values are smaller."""
    return dataclasses.replace(vocabulary, largest_value=int(largest_values(vocabulary)[quality or 0]))


def _codecs(vocabulary: Vocabulary) -> list[DCTCodec]:
    """Returns the codecs of the qualities 1 .. 100."""
    return [
        DCTCodec(vocabulary.block_size, quality, vocabulary.chroma_subsampling, vocabulary.channel_order)
        for quality in range(1, 101)
    ]
