"""Computes the exact log-likelihood of grain maps and their codes.

Axes: B batch, L symbols of a sequence at most, P position symbols, K codes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.dq_transformer.network import Logits
from dct_jax.dq_transformer.order import Sequences
from dct_jax.nn.log_prob import log_prob


class SymbolNats(NamedTuple):
    """log p of each symbol given those before it, in nats, float32 [B, L] each.

    As a picture has one sequence, the sum of both is log p of its grain map and codes.

    Attributes:
        positions: of where the code is, or of an end; 0 after the last symbol.
        codes: of the code there; 0 at an end and after the last symbol.
    """

    positions: jax.Array
    codes: jax.Array


def log_likelihood(logits: Logits, sequences: Sequences) -> SymbolNats:
    """Computes log p of the symbols of sequences, of what the network says of them."""
    return SymbolNats(*(_of_own(x, symbols) for x, symbols in zip(logits, sequences)))


def _of_own(logits: jax.Array, symbols: jax.Array) -> jax.Array:
    """Returns log p of symbols, [B, L], of logits [B, L, N]; 0 where the symbol is N."""
    return jnp.where(symbols < logits.shape[-1], log_prob(logits, symbols), 0)
