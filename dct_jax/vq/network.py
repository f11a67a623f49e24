"""An autoencoder with codes, and the parts that make a VQ-VAE: convolutions and residual blocks.

See van den Oord et al., "Neural Discrete Representation Learning", 2017.

Axes: B batch, H x W pixels, h x w codes, f = H / h, C channels, D coordinates of a code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.convolution import DoublingConvolution, convolve
from dct_jax.vq.config import AutoencoderConfig
from dct_jax.vq.quantizers import Quantized, Quantizer


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x))))."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        channels = x.shape[-1]
        hidden = nn.relu(convolve(channels, (3, 3))(nn.relu(x)))
        return x + convolve(channels, (1, 1))(hidden)


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
            x = convolve(c.channels, (4, 4), strides=2, padding=1)(x)
        for _ in range(c.residual_blocks):
            x = ResidualBlock()(x)
        return convolve(self.width, (1, 1))(nn.relu(x))


class Decoder(nn.Module):
    """Vectors of codes -> pixels."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, vectors: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, H, W, 3]."""
        c = self.config
        x = convolve(c.channels, (3, 3))(vectors)
        for _ in range(c.residual_blocks):
            x = ResidualBlock()(x)
        number = halvings(c)
        for i in range(number):
            x = DoublingConvolution(3 if i == number - 1 else c.channels, name=f"ConvTranspose_{i}")(nn.relu(x))
        return x


class Autoencoder(nn.Module):
    """Encoder, quantiser and decoder. Pixels are float32 from -1 to 1.

    Attributes:
        encoder: [B, H, W, 3] -> [B, h, w, D].
        quantizer: of the encoder's vectors.
        decoder: [B, h, w, D] -> what `decode` turns into pixels: here, pixels.
        divisor: what must divide the sides of pictures: f, or a multiple of it.
    """

    encoder: nn.Module
    quantizer: Quantizer
    decoder: nn.Module
    divisor: int

    def __call__(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array, Quantized]:
        """[B, H, W, 3] -> the reconstruction, [B, H, W, 3]; the vectors before the quantiser,
        [B, h, w, D]; and after it."""
        vectors, quantized = self.quantize(pixels)
        _, height, width, _ = pixels.shape
        return self.decode(quantized.vectors)[:, :height, :width], vectors, quantized

    def encode(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> vectors [B, h, w, D]; the last row and column are repeated until the
        divisor divides both sides."""
        return self.encoder(self.pad(pixels))

    def pad(self, pixels: jax.Array) -> jax.Array:
        """Repeats the last row and column of [B, H, W, 3] until the divisor divides both sides."""
        return pad_sides(pixels, self.divisor)

    def quantize(self, pixels: jax.Array) -> tuple[jax.Array, Quantized]:
        """[B, H, W, 3] -> the vectors before the quantiser, [B, h, w, D], and after it."""
        vectors = self.encode(pixels)
        return vectors, self.quantizer(vectors)

    def decode(self, vectors: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, f h, f w, 3]."""
        return self.decoder(vectors)

    def to_codes(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> int32 [B, h, w]."""
        return self.quantizer(self.encode(pixels)).codes

    def from_codes(self, codes: jax.Array) -> jax.Array:
        """int32 [B, h, w] of any h and w -> [B, f h, f w, 3]."""
        return self.decode(self.quantizer.look_up(codes))


def halvings(config: AutoencoderConfig) -> int:
    """How many convolutions have a stride of 2."""
    return config.downsampling.bit_length() - 1


def pad_sides(pixels: jax.Array, divisor: int) -> jax.Array:
    """Repeats the last row and column of [B, H, W, 3] until a divisor divides both sides."""
    missing = [(0, -side % divisor) for side in pixels.shape[1:3]]
    return jnp.pad(pixels, [(0, 0), *missing, (0, 0)], mode="edge")


def to_float(pixels: jax.Array) -> jax.Array:
    """uint8 -> float32 from -1 to 1."""
    return pixels.astype(jnp.float32) / 127.5 - 1


def to_uint8(pixels: jax.Array) -> jax.Array:
    """The inverse of `to_float`; numbers beyond -1 and 1 are cut off."""
    return jnp.round((jnp.clip(pixels, -1, 1) + 1) * 127.5).astype(jnp.uint8)
