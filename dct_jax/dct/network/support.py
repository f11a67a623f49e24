"""Finds the symbols that can come next.

The list is sorted, its values are not zero and its positions lie on a grid. So much of each
vocabulary is impossible at each step. The impossible symbols are masked, both in training and in
sampling: then the probabilities of all valid lists sum to 1, and every sample is a valid list.

Positions are those of the canvas, the vocabulary's grid. An image lies in its upper left corner.

Axes: B batch, S elements, C = 3 B^2 channels, P positions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import Vocabulary
from dct_jax.codec.color import component_steps


def channel_support(vocabulary: Vocabulary, grid: jax.Array, last_channel: jax.Array, last_position: jax.Array) -> jax.Array:
    """Finds the channels that can follow the triple (last_channel, last_position, .): those after
    last_channel in the channel order, last_channel if a position is left in it, and always the
    stopping token.

    Args:
        grid: int32 [B, 2], the rows and columns of blocks that each image has of the canvas.
        last_channel, last_position: int32 [B, S]; the start token has no positions left.

    Returns:
        bool [B, S, C + 1].
    """
    final = jnp.stack([_final_position(vocabulary, grid, steps) for steps in _steps(vocabulary)], axis=1)  # [B, 2]
    final = jnp.pad(final, ((0, 0), (0, 1)), constant_values=-1)  # [B, 3]
    kind = jnp.asarray(np.append(vocabulary.is_chroma, [2, 2]))[last_channel]  # [B, S]: luma, chroma, or a token
    has_room = last_position < jnp.take_along_axis(final, kind, axis=1)  # [B, S]
    rank = jnp.asarray(vocabulary.rank[:-1])  # [C + 1]
    last_rank = jnp.asarray(vocabulary.rank)[last_channel]  # [B, S]
    return rank >= (last_rank + jnp.where(has_room, 0, 1))[..., None]


def position_support(
    vocabulary: Vocabulary, grid: jax.Array, channel: jax.Array, last_channel: jax.Array, last_position: jax.Array
) -> jax.Array:
    """Finds the positions that the image has in a channel: those after the last position if the
    last channel is this one, too.

    Args:
        grid: int32 [B, 2], as in channel_support.
        channel, last_channel, last_position: int32 [B, S].

    Returns:
        bool [B, S, P].
    """
    is_chroma = jnp.asarray(np.append(vocabulary.is_chroma, [0, 0]))[channel]  # [B, S]
    on_grid = jnp.asarray(vocabulary.on_grid) & on_image(vocabulary.grid, grid)[:, None]  # [B, 2, P]
    first = jnp.where(channel == last_channel, last_position + 1, 0)  # [B, S]
    of_channel = jnp.where(is_chroma[..., None] == 1, on_grid[:, 1:], on_grid[:, :1])  # [B, S, P]
    return of_channel & (jnp.arange(vocabulary.num_positions) >= first[..., None])


def on_image(canvas: tuple[int, int], grid: jax.Array) -> jax.Array:
    """Tells which cells of a canvas of h x w, in raster order, belong to images of `grid`, int32
    [B, 2]. Returns bool [B, h w]."""
    row, column = np.divmod(np.arange(canvas[0] * canvas[1]), canvas[1])  # [h w] each
    return (grid[:, :1] > row) & (grid[:, 1:] > column)


def _steps(vocabulary: Vocabulary) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the rows and columns of blocks from one block of luma, and of chroma, to the next."""
    components = component_steps(vocabulary.chroma_subsampling)
    return components[0], components[-1]


def _final_position(vocabulary: Vocabulary, grid: jax.Array, steps: tuple[int, int]) -> jax.Array:
    """Returns the last position of a component, int32 [B]."""
    row, column = ((grid[:, i] - 1) // steps[i] * steps[i] for i in range(2))
    return row * vocabulary.grid[1] + column


def value_support(vocabulary: Vocabulary, largest: jax.Array | None = None) -> jax.Array:
    """Finds the values that can come: all but 0, up to the largest of each list, int32 [B], if
    these are given. Returns bool [2 V + 1] or [B, 1, 2 V + 1]."""
    values = np.arange(-vocabulary.largest_value, vocabulary.largest_value + 1)  # [2 V + 1]
    is_value = jnp.asarray(values != 0)
    return is_value if largest is None else is_value & (np.abs(values) <= largest[:, None, None])
