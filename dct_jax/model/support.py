"""Which symbols can come next.

The list is sorted, its values are not zero and its positions lie on a grid, so much of each vocabulary is impossible at
each step. With the impossible symbols masked, in training and in sampling alike, the probabilities of all valid lists sum to 1
and every sample is a valid list.

Axes: ... any leading axes, C = 3 B^2 channels, P positions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import Vocabulary

IMPOSSIBLE = -1e30
"""The logit of an impossible symbol: finite, so that rows without any possible symbol (padding) give no NaN."""


def channel_support(vocabulary: Vocabulary, last_channel: jax.Array, last_position: jax.Array) -> jax.Array:
    """Channels that can follow the triple (last_channel, last_position, .): not before it in the channel order, and not
    the same one if no position is left in it; the stopping token always.

    Args:
        last_channel, last_position: int32 [...]; the start token has no positions left.

    Returns:
        bool [..., C + 1].
    """
    final = np.where(vocabulary.on_grid, np.arange(vocabulary.num_positions), -1).max(axis=1)  # [2]
    final = np.concatenate([final[vocabulary.is_chroma], [-1, -1]])  # [C + 2]: the last position of each channel
    rank = jnp.asarray(vocabulary.rank[:-1])  # [C + 1]
    last_rank = jnp.asarray(vocabulary.rank)[last_channel]  # [...]
    has_room = last_position < jnp.asarray(final)[last_channel]  # [...]
    return rank >= (last_rank + jnp.where(has_room, 0, 1))[..., None]


def position_support(
    vocabulary: Vocabulary, channel: jax.Array, last_channel: jax.Array, last_position: jax.Array
) -> jax.Array:
    """Positions that the channel has, after the last one if it is still the same channel.

    Args:
        channel, last_channel, last_position: int32 [...].

    Returns:
        bool [..., P].
    """
    is_chroma = jnp.asarray(np.append(vocabulary.is_chroma, [0, 0]))[channel]  # [...]
    on_grid = jnp.asarray(vocabulary.on_grid)[is_chroma]  # [..., P]
    first = jnp.where(channel == last_channel, last_position + 1, 0)  # [...]
    return on_grid & (jnp.arange(vocabulary.num_positions) >= first[..., None])


def value_support(vocabulary: Vocabulary) -> jax.Array:
    """bool [2 V + 1]: every value but 0."""
    return jnp.arange(-vocabulary.largest_value, vocabulary.largest_value + 1) != 0
