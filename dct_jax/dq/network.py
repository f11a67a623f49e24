"""The network of a DQ-VAE: an encoder with a head for each grain, a router that chooses the grain
of each region, a quantiser, and a decoder.

Axes: B batch, H x W pixels, h x w regions, n x m cells of the finest grid, G grains, C channels, D
coordinates of a code.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.dq.config import DQVAEConfig, GrainsConfig
from dct_jax.dq.decoder import Decoder
from dct_jax.dq.entropy import patch_entropy
from dct_jax.dq.grains import fill, has_code, punch, spread
from dct_jax.dq.holes import check_grid
from dct_jax.dq.router import FeatureRouter, choose_grains, compare_with_thresholds
from dct_jax.nn.convolution import DoublingConvolution, convolve
from dct_jax.vq.gan.blocks import Halve, Middle, Normalize
from dct_jax.vq.gan.network import VQGAN, Level
from dct_jax.vq.quantizers import Quantized, Quantizer


class Head(nn.Module):
    """Features of a level -> those of its grain."""

    channels: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, channels]."""
        x = Middle(self.groups, name="middle")(x)
        return convolve(self.channels, (3, 3), name="to_latent")(nn.swish(Normalize(self.groups, name="norm")(x)))


class Encoder(nn.Module):
    """Pixels -> features of each grain."""

    config: GrainsConfig

    @nn.compact
    def __call__(self, pixels: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> from coarse to fine, [B, h 2^g, w 2^g, C] each."""
        c, heads = self.config, []
        kernel, strides, padding = ((3, 3), 1, "SAME") if c.stem == 1 else ((4, 4), 2, 1)
        x = convolve(c.channels, kernel, strides=strides, padding=padding, name="from_pixels")(pixels)
        for i, multiplier in enumerate(c.multipliers):
            x = Halve(name=f"halve{i - 1}")(x) if i else x
            x = Level(c.channels * multiplier, c.residual_blocks, c.levels[i] in c.attention, c.groups, name=f"level{i}")(x)
            grain = len(c.multipliers) - 1 - i
            if grain < c.grains:
                heads.append(Head(c.latent_channels, c.groups, name=f"head{i}")(x))
        return tuple(reversed(heads))


class Routed(NamedTuple):
    """Pictures with a grain for each region.

    Attributes:
        vectors: to quantise, [B, n, m, D]; the cells of a code's square have equal ones.
        gates: 1 at the grain of a region and 0 elsewhere, [B, h, w, G].
    """

    vectors: jax.Array
    gates: jax.Array

    @property
    def grain_map(self) -> jax.Array:
        """int32 [B, h, w]."""
        return jnp.argmax(self.gates, axis=-1).astype(jnp.int32)


class DQVAE(VQGAN):
    """Its codes are grids with holes; see `dct_jax.dq.grains`.

    The thresholds of a router of the kind "entropy" are the variable "thresholds" of the collection
    "router", float32 [G - 1]. Fresh ones are infinite, and all regions are coarse.

    Attributes:
        router: features of the grains -> logits of the grains; without it, thresholds decide.
        to_vectors: [B, n, m, C] -> [B, n, m, D].
        grains: G.
        grid: n, m, of training's pictures, which the decoder's positions are of.
    """

    router: nn.Module | None
    to_vectors: nn.Module
    grains: int
    grid: tuple[int, int]

    def setup(self) -> None:
        if self.router is None:
            self.thresholds = self.variable("router", "thresholds", jnp.full, (self.grains - 1,), jnp.inf)

    def route(self, pixels: jax.Array, noise: jax.Array | None = None) -> Routed:
        """Encodes pictures, and chooses the grains.

        Args:
            pixels: [B, H, W, 3]; the last row and column are repeated until F divides both sides.
            noise: in training, of the Gumbel distribution, [B, h, w, G]; see `choose_grains`.

        Raises:
            ValueError: if the grid is another one than that of training's pictures.
        """
        pixels = self.pad(pixels)
        check_grid(tuple(side * 2 ** (self.grains - 1) // self.divisor for side in pixels.shape[1:3]), self.grid)
        heads = self.encoder(pixels)
        if self.router is None:
            gates = compare_with_thresholds(patch_entropy(pixels, self.divisor), self.thresholds.value)
        else:
            gates = choose_grains(self.router(heads), noise)
        return Routed(self.to_vectors(assemble(heads, gates)), gates)

    def encode(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> vectors [B, n, m, D]."""
        return self.route(pixels).vectors

    def quantize(self, pixels: jax.Array) -> tuple[jax.Array, Quantized]:
        """[B, H, W, 3] -> the vectors before the quantiser, [B, n, m, D], and after it."""
        routed = self.route(pixels)
        return routed.vectors, self._quantize(routed)

    def routed_features(self, pixels: jax.Array, noise: jax.Array | None) -> tuple[jax.Array, Routed, Quantized]:
        """`features` of a step of training; the arguments are those of `route`."""
        routed = self.route(pixels, noise)
        quantized = self._quantize(routed)
        return self.decoder(quantized.vectors), routed, quantized

    def to_codes(self, pixels: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> a grid with holes, int32 [B, n, m]."""
        routed = self.route(pixels)
        return punch(self._quantize(routed).codes, routed.grain_map, self.grains, self.quantizer.config.num_codes)

    def from_codes(self, codes: jax.Array) -> jax.Array:
        """A grid with holes, int32 [B, n, m] -> [B, f n, f m, 3]."""
        return self.decode(self.quantizer.look_up(fill(codes, self.grains, self.quantizer.config.num_codes)))

    def decode(self, vectors: jax.Array) -> jax.Array:
        """[B, n, m, D] -> [B, f n, f m, 3]. Raises ValueError if the grid is another one than that
        of training's pictures."""
        check_grid(vectors.shape[1:3], self.grid)
        return super().decode(vectors)

    def _quantize(self, routed: Routed) -> Quantized:
        """Counts each code once, however many cells it has."""
        return self.quantizer(routed.vectors, has_code(routed.grain_map, self.grains).astype(jnp.float32))


def assemble(heads: tuple[jax.Array, ...], gates: jax.Array) -> jax.Array:
    """Gives each cell the features of its region's grain: those of all grains, times their gates.

    So the gradient of a gate says what its grain's features would change, also where they are not
    chosen. (The authors' program multiplies the chosen features by their gate alone, and tells the
    router only whether these should be larger.)

    Args:
        heads: from coarse to fine, [B, h 2^g, w 2^g, C] each.
        gates: [B, h, w, G].

    Returns:
        [B, n, m, C].
    """
    count, of_cells = len(heads), spread(gates, len(heads))  # [B, n, m, G]
    sides = [2 ** (count - 1 - grain) for grain in range(count)]
    on_finest = [x.repeat(side, axis=1).repeat(side, axis=2) for x, side in zip(heads, sides)]
    return jnp.stack([x * of_cells[..., g, None] for g, x in enumerate(on_finest)]).sum(axis=0)


def make_network(config: DQVAEConfig) -> DQVAE:
    """Makes the module of a run's configuration."""
    model = config.model
    to_pixels = convolve(3, (3, 3)) if model.stem == 1 else DoublingConvolution(3)
    return DQVAE(
        encoder=Encoder(model),
        quantizer=Quantizer(config.quantizer),
        decoder=Decoder(model, config.grid),
        divisor=model.divisor,
        to_pixels=cast(nn.Module, to_pixels),
        router=FeatureRouter(model.groups) if config.router.kind == "feature" else None,
        to_vectors=convolve(config.quantizer.width, (1, 1)),
        grains=model.grains,
        grid=config.grid,
    )
