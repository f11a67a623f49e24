"""Computes the log-likelihood of the symbols of a batch of chunks, in nats."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from dct_jax.codec import Vocabulary
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network.transformer import Logits
from dct_jax.nn.log_prob import log_prob

Nats = TypeVar("Nats")
"""A number, or an array of NumPy or JAX."""


class SymbolNats(NamedTuple, Generic[Nats]):
    """A number of nats for each of the three symbols, or an array of them."""

    channel: Nats
    position: Nats
    value: Nats


def log_likelihood(logits: Logits, batch: Chunk[jax.Array], vocabulary: Vocabulary) -> SymbolNats[jax.Array]:
    """Computes log p of every symbol of the chunk's target elements. The stopping token is a
    channel without position or value.

    Returns:
        float32 [B, O + C] each; 0 for symbols that do not count.
    """
    is_triple = batch.is_target & (batch.channels[:, 1:] < vocabulary.num_channels)  # [B, W]
    return SymbolNats(
        jnp.where(batch.is_target, log_prob(logits.channel, batch.channels[:, 1:]), 0),
        jnp.where(is_triple, log_prob(logits.position, batch.positions[:, 1:]), 0),
        jnp.where(is_triple, log_prob(logits.value, batch.values[:, 1:] + vocabulary.largest_value), 0),
    )
