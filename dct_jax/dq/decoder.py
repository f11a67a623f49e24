"""The decoder of a DQ-VAE, which knows where a cell is.

Axes: B batch, n x m cells of the finest grid, f = H / n, C channels, D coordinates of a code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.dq.config import GrainsConfig
from dct_jax.nn.convolution import convolve
from dct_jax.vq.gan.blocks import Double, Middle, Normalize
from dct_jax.vq.gan.network import Level


class Positions(nn.Module):
    """What is added to each place of a grid: sines of learned waves (Fourier features), and learned
    vectors of rows and of columns."""

    channels: int
    grid: tuple[int, int]

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns float32 [n, m, C]."""
        rows, columns = self.grid
        y, x = jnp.meshgrid(jnp.linspace(-1, 1, rows), jnp.linspace(-1, 1, columns), indexing="ij")
        waves = nn.Dense(self.channels, kernel_init=_wave_numbers, name="waves")(jnp.stack([x, y], axis=-1))
        learned = nn.initializers.truncated_normal(1.0)
        of_rows = self.param("rows", learned, (rows, self.channels))
        of_columns = self.param("columns", learned, (columns, self.channels))
        return jnp.sin(waves) + of_rows[:, None] + of_columns


def _wave_numbers(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, minval=-((9 / 2) ** 0.5), maxval=(9 / 2) ** 0.5)


class Decoder(nn.Module):
    """Vectors of codes -> the features that pixels are made of, at the side of the encoder's first
    level.

    Attributes:
        config: of both.
        grid: n, m, of training's pictures.
    """

    config: GrainsConfig
    grid: tuple[int, int]

    @nn.compact
    def __call__(self, vectors: jax.Array) -> jax.Array:
        """[B, n, m, D] -> [B, stem's grid, channels of the finest level]."""
        c = self.config
        last = len(c.multipliers) - c.grains  # the level of the finest grain
        x = convolve(c.latent_channels, (1, 1), name="from_vectors")(vectors)
        x = x + Positions(c.latent_channels, self.grid, name="positions")()
        x = convolve(c.channels * c.multipliers[last], (3, 3), name="from_latent")(x)
        x = Middle(c.groups, name="middle")(x)
        for i, multiplier in reversed(list(enumerate(c.multipliers[: last + 1]))):
            x = Level(c.channels * multiplier, c.residual_blocks + 1, c.levels[i] in c.attention, c.groups, name=f"level{i}")(x)
            x = Double(name=f"double{i - 1}")(x) if i else x
        return nn.swish(Normalize(c.groups, name="norm")(x))
