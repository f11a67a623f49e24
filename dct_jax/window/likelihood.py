"""Computes the exact log-likelihood of grids of codes."""

import jax
import jax.numpy as jnp


def log_likelihood(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes log p of each code given those before it, in nats; their sum is that of the grid.

    Args:
        logits: float32 [B, h, w, K], from the network and the codes.
        codes: int32 [B, h, w].

    Returns:
        float32 [B, h, w].
    """
    own = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return own - jax.nn.logsumexp(logits, axis=-1)
