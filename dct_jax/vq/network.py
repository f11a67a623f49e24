"""The VQ-VAE's network: convolutions and residual blocks around a quantiser.

See van den Oord et al., "Neural Discrete Representation Learning", 2017.

Axes: B batch, H x W pixels, h x w codes, f = H / h, C channels, D coordinates of a code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig
from dct_jax.vq.quantizers import Quantized, Quantizer


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x))))."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        channels = x.shape[-1]
        hidden = nn.relu(nn.Conv(channels, (3, 3))(nn.relu(x)))
        return x + nn.Conv(channels, (1, 1))(hidden)


class Encoder(nn.Module):
    """Pixels -> vectors to quantise."""

    config: AutoencoderConfig
    width: int

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> [B, h, w, D]."""
        c, x = self.config, pixels
        for i in range(halvings(c)):
            x = nn.relu(x) if i else x
            x = nn.Conv(c.channels, (4, 4), strides=2, padding=1)(x)
        for _ in range(c.residual_blocks):
            x = ResidualBlock()(x)
        return nn.Conv(self.width, (1, 1))(nn.relu(x))


class Decoder(nn.Module):
    """Vectors of codes -> pixels."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, vectors: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, H, W, 3]."""
        c = self.config
        x = nn.Conv(c.channels, (3, 3))(vectors)
        for _ in range(c.residual_blocks):
            x = ResidualBlock()(x)
        number = halvings(c)
        for i in range(number):
            x = nn.ConvTranspose(3 if i == number - 1 else c.channels, (4, 4), strides=(2, 2))(nn.relu(x))
        return x


class VQVAE(nn.Module):
    """Encoder, quantiser and decoder. Pixels are float32 from -1 to 1."""

    config: AutoencoderConfig
    quantizer_config: QuantizerConfig

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.quantizer_config.width)
        self.quantizer = Quantizer(self.quantizer_config)
        self.decoder = Decoder(self.config)

    def __call__(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array, Quantized]:
        """[B, H, W, 3] -> the reconstruction, [B, H, W, 3]; the vectors before the quantiser,
        [B, h, w, D]; and after it."""
        vectors = self.encode(pixels)
        quantized = self.quantizer(vectors)
        return self.decoder(quantized.vectors), vectors, quantized

    def encode(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> vectors [B, h, w, D]."""
        return self.encoder(pixels)

    def to_codes(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> int32 [B, h, w]."""
        return self.quantizer(self.encode(pixels)).codes

    def from_codes(self, codes: jax.Array) -> jax.Array:
        """int32 [B, h, w] of any h and w -> [B, H, W, 3]."""
        return self.decoder(self.quantizer.look_up(codes))


def halvings(config: AutoencoderConfig) -> int:
    """How many convolutions have a stride of 2."""
    return config.downsampling.bit_length() - 1


def to_float(pixels: jax.Array) -> jax.Array:
    """uint8 -> float32 from -1 to 1."""
    return pixels.astype(jnp.float32) / 127.5 - 1


def to_uint8(pixels: jax.Array) -> jax.Array:
    """The inverse of `to_float`; numbers beyond -1 and 1 are cut off."""
    return jnp.round((jnp.clip(pixels, -1, 1) + 1) * 127.5).astype(jnp.uint8)
