"""The network of a VQ-GAN: the convolutional encoder and decoder of Esser et al., "Taming
Transformers for High-Resolution Image Synthesis", 2021, around a quantiser.

Axes: B batch, H x W pixels, h x w codes, f = H / h, C channels, D coordinates of a code.
"""

import flax.linen as nn
import jax

from dct_jax.nn.convolution import convolve
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.blocks import AttentionBlock, Double, Halve, Middle, Normalize, ResidualBlock
from dct_jax.vq.gan.config import ConvolutionsConfig
from dct_jax.vq.network import Autoencoder
from dct_jax.vq.quantizers import Quantized, Quantizer


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where it is asked for."""

    channels: int
    blocks: int
    has_attention: bool
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, channels]."""
        for i in range(self.blocks):
            x = ResidualBlock(self.channels, self.groups, name=f"block{i}")(x)
            if self.has_attention:
                x = AttentionBlock(self.groups, name=f"attention{i}")(x)
        return x


class Encoder(nn.Module):
    """Pixels -> vectors to quantise."""

    config: ConvolutionsConfig
    width: int

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> [B, h, w, D]."""
        c = self.config
        x = convolve(c.channels, (3, 3), name="from_pixels")(pixels)
        for i, multiplier in enumerate(c.multipliers):
            x = Halve(name=f"halve{i - 1}")(x) if i else x
            x = Level(c.channels * multiplier, c.residual_blocks, c.levels[i] in c.attention, c.groups, name=f"level{i}")(x)
        x = Middle(c.groups, name="middle")(x)
        x = convolve(c.latent_channels, (3, 3), name="to_latent")(nn.swish(Normalize(c.groups, name="norm")(x)))
        return convolve(self.width, (1, 1), name="to_vectors")(x)


class Decoder(nn.Module):
    """Vectors of codes -> the features that pixels are made of."""

    config: ConvolutionsConfig

    @nn.compact
    def __call__(self, vectors: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, H, W, channels of the finest level]."""
        c = self.config
        x = convolve(c.latent_channels, (1, 1), name="from_vectors")(vectors)
        x = convolve(c.channels * c.multipliers[-1], (3, 3), name="from_latent")(x)
        x = Middle(c.groups, name="middle")(x)
        for i, multiplier in reversed(list(enumerate(c.multipliers))):
            x = Level(c.channels * multiplier, c.residual_blocks + 1, c.levels[i] in c.attention, c.groups, name=f"level{i}")(x)
            x = Double(name=f"double{i - 1}")(x) if i else x
        return nn.swish(Normalize(c.groups, name="norm")(x))


class VQGAN(Autoencoder):
    """Its last layer stands alone, as the discriminator is weighed by the gradients there.

    Attributes:
        to_pixels: [B, H, W, C] -> [B, H, W, 3], the last convolution.
    """

    to_pixels: nn.Module

    def decode(self, vectors: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, f h, f w, 3]."""
        return self.to_pixels(self.decoder(vectors))

    def features(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array, Quantized]:
        """[B, H, W, 3] -> what the last layer reads, [B, f h, f w, C]; the vectors before the
        quantiser, [B, h, w, D]; and after it."""
        vectors, quantized = self.quantize(pixels)
        return self.decoder(quantized.vectors), vectors, quantized


def make_network(model: ConvolutionsConfig, quantizer: QuantizerConfig) -> VQGAN:
    """Makes the module of a configuration's rooms."""
    encoder, decoder = Encoder(model, quantizer.width), Decoder(model)
    return VQGAN(encoder, Quantizer(quantizer), decoder, model.divisor, convolve(3, (3, 3)))
