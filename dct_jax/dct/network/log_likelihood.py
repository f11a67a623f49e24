"""The log-likelihood of the symbols of a batch of chunks, in nats."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.codec import Vocabulary
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network.transformer import Logits


class SymbolNats(NamedTuple):
    """A number of nats for each of the three symbols, or an array of them."""

    channel: jax.Array
    position: jax.Array
    value: jax.Array


def log_likelihood(logits: Logits, batch: Chunk, vocabulary: Vocabulary) -> SymbolNats:
    """log p of every symbol that the chunk's target elements have; the stopping token is a channel without position or value.

    Returns:
        float32 [B, O + C] each; 0 for symbols that do not count.
    """
    is_triple = batch.is_target & (batch.channels[:, 1:] < vocabulary.num_channels)  # [B, W]
    return SymbolNats(
        jnp.where(batch.is_target, _log_prob(logits.channel, batch.channels[:, 1:]), 0),
        jnp.where(is_triple, _log_prob(logits.position, batch.positions[:, 1:]), 0),
        jnp.where(is_triple, _log_prob(logits.value, batch.values[:, 1:] + vocabulary.largest_value), 0),
    )


def _log_prob(logits: jax.Array, symbols: jax.Array) -> jax.Array:
    """[B, W, N], int32 [B, W] -> log softmax(logits)[symbol], [B, W]."""
    symbols = jnp.minimum(symbols, logits.shape[-1] - 1)  # start tokens, which never count, have no logit
    chosen = jnp.take_along_axis(logits, symbols[..., None], axis=-1)[..., 0]  # [B, W]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
