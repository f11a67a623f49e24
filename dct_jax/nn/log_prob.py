"""Log-probabilities of symbols."""

import jax
import jax.numpy as jnp


def log_prob(logits: jax.Array, symbols: jax.Array) -> jax.Array:
    """Returns log softmax(logits)[symbol], in nats, [...], of logits [..., N] and int32 [...].

    Symbols of N and more, such as start tokens, have no logit. They get that of N - 1, and do not
    count.
    """
    symbols = jnp.minimum(symbols, logits.shape[-1] - 1)
    own = jnp.take_along_axis(logits, symbols[..., None], axis=-1)[..., 0]  # [...]
    return own - jax.nn.logsumexp(logits, axis=-1)
