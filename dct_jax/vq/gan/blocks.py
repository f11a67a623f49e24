"""The blocks of a VQ-GAN's convolutions, as in Ho et al., "Denoising Diffusion Probabilistic
Models", 2020.

Axes: B batch, h x w places, C channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.convolution import convolve
from dct_jax.nn.initial import fan_in


class Normalize(nn.GroupNorm):
    """Group normalisation with the epsilon of trained networks."""

    epsilon: float = 1e-6


class ResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))). A convolution of 1 x 1 gives x another width."""

    channels: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, channels]."""
        hidden = convolve(self.channels, (3, 3), name="conv1")(nn.swish(Normalize(self.groups, name="norm1")(x)))
        hidden = convolve(self.channels, (3, 3), name="conv2")(nn.swish(Normalize(self.groups, name="norm2")(hidden)))
        if x.shape[-1] != self.channels:
            x = convolve(self.channels, (1, 1), name="shortcut")(x)
        return x + hidden


class AttentionBlock(nn.Module):
    """x + out(attention(norm(x))), with one head over all places."""

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        batch, height, width, channels = x.shape
        normed = Normalize(self.groups, name="norm")(x).reshape(batch, height * width, channels)  # [B, N, C]
        queries, keys, values = (nn.Dense(channels, kernel_init=fan_in, name=name)(normed) for name in ("q", "k", "v"))
        weights = nn.softmax(jnp.einsum("bqc,bkc->bqk", queries, keys) * channels**-0.5)  # [B, N, N]
        found = jnp.einsum("bqk,bkc->bqc", weights, values)  # [B, N, C]
        return x + nn.Dense(channels, kernel_init=fan_in, name="out")(found).reshape(x.shape)


class Halve(nn.Module):
    """A convolution of 3 x 3 with a stride of 2. Only the right and bottom edge are padded."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h / 2, w / 2, C]."""
        return convolve(x.shape[-1], (3, 3), strides=2, padding=((0, 1), (0, 1)), name="conv")(x)


class Double(nn.Module):
    """Repeats places, then a convolution of 3 x 3."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, 2 h, 2 w, C]."""
        return convolve(x.shape[-1], (3, 3), name="conv")(x.repeat(2, axis=1).repeat(2, axis=2))


class Middle(nn.Module):
    """Two residual blocks around attention, at the coarse end."""

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        x = AttentionBlock(self.groups, name="attention")(ResidualBlock(x.shape[-1], self.groups, name="block1")(x))
        return ResidualBlock(x.shape[-1], self.groups, name="block2")(x)
