"""What stands around an element, as context models of image coders use it (JPEG 2000 and H.264 call
it significance contexts).

The encoder knows the image up to the chunk's start, and attention knows the chunk's elements as a
list. Here every element gets what is known around its place just before it: everything of the
channels before its own, and the places before it of its own channel. The image may hold later
elements, too: they are never looked at.

Axes: B batch, S elements, C channels, P = h w positions, K neighbours, E low channels, H numbers
made of them, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import Vocabulary
from dct_jax.codec.color import component_steps
from dct_jax.dct.network.neighbours import diagonals, low_channels, neighbours
from dct_jax.nn.embedding import rows_of
from dct_jax.nn.initial import normal
from dct_jax.nn.precision import Precision, product_with_constants

VALUE_NUMBERS, VALUE_HIDDEN, POSITION_NUMBERS = 16, 128, 4
"""The H of values, the width of their hidden layer, and the H of positions. Larger ones teach a
little more, and together they take over a tenth of a step."""


class ValueContext(nn.Module):
    """Tells the value decoder of an element's neighbours."""

    vocabulary: Vocabulary
    width: int
    precision: Precision

    @nn.compact
    def __call__(self, image: jax.Array, channels: jax.Array, positions: jax.Array) -> jax.Array:
        """Returns [B, S, D] for elements, int32 [B, S] twice, of an image, int [B, C, P]."""
        v, rows = self.vocabulary, self.vocabulary.num_channels + 2
        values, channel = _known_neighbours(v, image, channels, positions)  # [B, S, K] each
        # It makes the large coefficients of low frequencies about as small as the others.
        scale = np.append(1 + diagonals(v), [0, 0]).astype(self.precision.sums) / 16  # [C + 2]
        sums = []
        for name, numbers in (("signed", values * jnp.asarray(scale)[channel]), ("sizes", _sizes(values, self.precision))):
            weights = self.param(name, normal(0.05), (rows, values.shape[2] * VALUE_NUMBERS))
            weights = rows_of(weights, channels).reshape(*values.shape, VALUE_NUMBERS)
            sums.append(jnp.einsum("BSK,BSKH->BSH", numbers, weights))
        signed, sizes = sums[0], sums[1] + rows_of(self.param("bias", nn.initializers.zeros, (rows, VALUE_NUMBERS)), channels)
        x = jnp.concatenate([signed, jnp.abs(signed), sizes], axis=-1)  # [B, S, 3 H]
        x = nn.relu(self.precision.dense(VALUE_HIDDEN)(x))
        return self.precision.dense(self.width, kernel_init=normal(0.02))(x)


class PositionContext(nn.Module):
    """Tells, from the odds of each position to have a coefficient, which is the next that has
    one."""

    vocabulary: Vocabulary
    precision: Precision

    @nn.compact
    def __call__(
        self, image: jax.Array, channels: jax.Array, last_channels: jax.Array, last_positions: jax.Array, support: jax.Array
    ) -> jax.Array:
        """Returns what is added to the logits, float32 [B, S, P], from an image, int [B, C, P],
        elements, int32 [B, S] three times, and the possible positions, bool [B, S, P].

        Let a_p be the logit of a coefficient at p. The next one is at p if there is one, and none
        at the possible positions before: log s(a_p) + sum_{q < p} log s(-a_q).
        """
        v = self.vocabulary
        rows = jnp.minimum(channels, v.num_channels - 1)  # tokens have no positions
        last = jnp.where(channels == last_channels, last_positions, -1)  # [B, S]
        own = jnp.take_along_axis(_sizes(image, self.precision), rows[..., None], axis=1)  # [B, S, P]
        own = jnp.where(jnp.arange(v.num_positions) <= last[..., None], own, 0)
        near = _before(v, own, channels)  # [B, S, 4, P]

        def of_channel(name: str, *shape: int, deviation: float = 0.1) -> jax.Array:
            table = self.param(name, normal(deviation), (v.num_channels, int(np.prod(shape))))
            return rows_of(table, rows).reshape(*rows.shape, *shape)

        hidden = self._of_lower(_sizes(image, self.precision), rows)  # [B, S, H, P]
        of_own = of_channel("own", POSITION_NUMBERS, 4)
        hidden = hidden + sum(of_own[..., k : k + 1] * near[:, :, None, k] for k in range(4))
        hidden = nn.gelu(hidden + of_channel("bias", POSITION_NUMBERS, 1, deviation=0.0))
        level = self.param("level", nn.initializers.constant(-2.0), (v.num_channels,))
        a = jnp.sum(hidden * of_channel("out", POSITION_NUMBERS, 1), axis=2) + level[rows][..., None]
        none = jnp.where(support, nn.log_sigmoid(-a), 0)  # [B, S, P]
        return nn.log_sigmoid(a) + jnp.cumsum(none, axis=-1) - none

    def _of_lower(self, sizes: jax.Array, rows: jax.Array) -> jax.Array:
        """Adds up, with weights, what the channels before an element's have at each place and
        around it. Takes float32 [B, C, P] and int32 [B, S], returns [B, S, H, P]."""
        v, low = self.vocabulary, low_channels(self.vocabulary)
        planes = _with_surroundings(v, sizes)[:, np.append(low, v.num_channels + low)]  # [B, 2 E, P]
        is_lower = np.tile(v.rank[low] < v.rank[: v.num_channels, None], (1, 2))  # [C, 2 E]
        weights = self.param("lower", normal(0.02), (v.num_channels, POSITION_NUMBERS, 2 * len(low)))
        weights = jnp.where(is_lower[:, None], weights, 0)
        # A step of a sampler has one element a list, whatever the batch; so has its arithmetic.
        if rows.shape[1] == 1 or rows.size < v.num_channels:
            return jnp.einsum("BSHE,BEP->BSHP", weights[rows], planes)
        batch, _, positions = planes.shape
        planes = planes.swapaxes(0, 1).reshape(2 * len(low), -1).astype(self.precision.operands)  # [2 E, B P]
        sums = product_with_constants(weights.reshape(-1, 2 * len(low)), planes)  # [C H, B P]
        sums = sums.reshape(v.num_channels, POSITION_NUMBERS, batch, positions)
        return sums[rows[:, :, None], jnp.arange(POSITION_NUMBERS), jnp.arange(batch)[:, None, None]]


def _sizes(values: jax.Array, precision: Precision) -> jax.Array:
    return jnp.log1p(jnp.abs(values.astype(precision.sums)))


def _known_neighbours(
    vocabulary: Vocabulary, image: jax.Array, channels: jax.Array, positions: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the values of each element's neighbours, int [B, S, K], 0 for those that are not
    known, and their channels, int32 [B, S, K]."""
    height, width = vocabulary.grid
    channel, row, column, is_known = (jnp.asarray(x)[channels] for x in neighbours(vocabulary))  # [B, S, K] each
    row, column = row + (positions // width)[..., None], column + (positions % width)[..., None]
    is_known = is_known & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = jnp.where(is_known, (channel * height + row) * width + column, 0)
    values = jnp.take_along_axis(image.reshape(len(image), -1), index.reshape(len(image), -1), axis=1)
    return jnp.where(is_known, values.reshape(index.shape), 0), channel


def _with_surroundings(vocabulary: Vocabulary, planes: jax.Array) -> jax.Array:
    """Adds to planes [B, C, P], at each place, the sum of the blocks above, below, left and right
    of it. Returns [B, 2 C, P]."""
    area, around = vocabulary.block_size**2, []
    for component, step in enumerate(component_steps(vocabulary.chroma_subsampling)):
        plane = planes[:, component * area : (component + 1) * area]
        around.append(sum(_shift(vocabulary, plane, i * step[0], j * step[1]) for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))))
    return jnp.concatenate([planes, *around], axis=1)


def _before(vocabulary: Vocabulary, planes: jax.Array, channels: jax.Array) -> jax.Array:
    """Returns what is above on the left, above, above on the right, and left: [B, S, 4, P] from the
    planes of the elements' channels, [B, S, P]."""
    steps = component_steps(vocabulary.chroma_subsampling)

    def of(step: tuple[int, int]) -> jax.Array:
        places = ((-1, -1), (-1, 0), (-1, 1), (0, -1))
        return jnp.stack([_shift(vocabulary, planes, i * step[0], j * step[1]) for i, j in places], axis=2)

    if steps[0] == steps[-1]:
        return of(steps[0])
    is_chroma = jnp.asarray(np.append(vocabulary.is_chroma, [0, 0]))[channels]  # [B, S]
    return jnp.where(is_chroma[..., None, None] == 1, of(steps[-1]), of(steps[0]))


def _shift(vocabulary: Vocabulary, planes: jax.Array, row: int, column: int) -> jax.Array:
    """Moves planes [..., P] by so many blocks up and to the left; 0 comes from beyond the
    canvas."""
    height, width = vocabulary.grid
    images = planes.reshape(*planes.shape[:-1], height, width)
    pad = [(0, 0)] * (planes.ndim - 1) + [(abs(row), abs(row)), (abs(column), abs(column))]
    top, left = abs(row) + row, abs(column) + column
    return jnp.pad(images, pad)[..., top : top + height, left : left + width].reshape(planes.shape)
