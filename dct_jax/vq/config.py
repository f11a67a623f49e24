"""The configuration of a VQ-VAE's run."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dct_jax.config import RunConfig, require

if TYPE_CHECKING:
    from dct_jax.vq.reader import PixelReader
    from dct_jax.vq.stage import VQVAEStage

LARGEST_CODES = 2**20
LARGEST_WIDTH = 2**14
"""These bounds are far above what anybody trains; see `dct_jax.config.LARGEST_IMAGE`."""


@dataclass(frozen=True)
class QuantizerConfig:
    """How the vectors of the encoder become codes.

    Attributes:
        kind: "gradient" learns the table by gradients (van den Oord et al., 2017); "ema" keeps
            decayed means of the vectors of each code; "fsq" rounds each coordinate to one of its
            levels and has no table (Mentzer et al., 2023).
        codes: K, the number of codes, of a table.
        dim: D, the coordinates of a code, of a table.
        levels: the levels of each coordinate, of "fsq"; K is their product.
        commitment: the weight of the loss that pulls vectors to their codes (beta).
        decay: the share of a mean that each step keeps, of "ema".
        restart: of "ema", a code whose decayed count falls below this becomes a vector of the
            batch.
    """

    kind: Literal["gradient", "ema", "fsq"] = "ema"
    codes: int = 512
    dim: int = 64
    levels: tuple[int, ...] = (8, 8, 8)
    commitment: float = 0.25
    decay: float = 0.99
    restart: float = 0.5

    def __post_init__(self) -> None:
        require(self.kind in ("gradient", "ema", "fsq"), "quantizer.kind", self.kind, "gradient, ema or fsq")
        require(2 <= self.codes <= LARGEST_CODES, "quantizer.codes", self.codes, f"from 2 to {LARGEST_CODES}")
        require(1 <= self.dim <= LARGEST_WIDTH, "quantizer.dim", self.dim, f"from 1 to {LARGEST_WIDTH}")
        fits = bool(self.levels) and min(self.levels) >= 2 and math.prod(self.levels) <= LARGEST_CODES
        require(fits, "quantizer.levels", self.levels, f"one or more, each 2 or more, of a product of at most {LARGEST_CODES}")
        require(self.commitment >= 0, "quantizer.commitment", self.commitment, "0 or more")
        require(0 <= self.decay < 1, "quantizer.decay", self.decay, "at least 0 and below 1")
        require(self.restart >= 0, "quantizer.restart", self.restart, "0 or more")

    @property
    def num_codes(self) -> int:
        """K."""
        return math.prod(self.levels) if self.kind == "fsq" else self.codes

    @property
    def width(self) -> int:
        """D, the coordinates of a vector that is quantised."""
        return len(self.levels) if self.kind == "fsq" else self.dim


@dataclass(frozen=True)
class AutoencoderConfig:
    """The sizes of a VQ-VAE's encoder and decoder.

    Attributes:
        channels: of every layer.
        residual_blocks: at the coarse end of the encoder, and of the decoder.
        downsampling: f, pixels of a side of the square that a code stands for.
    """

    channels: int = 128
    residual_blocks: int = 2
    downsampling: Literal[2, 4, 8] = 4

    def __post_init__(self) -> None:
        require(1 <= self.channels <= LARGEST_WIDTH, "model.channels", self.channels, f"from 1 to {LARGEST_WIDTH}")
        require(0 <= self.residual_blocks <= 2**10, "model.residual_blocks", self.residual_blocks, "from 0 to 1024")
        require(self.downsampling in (2, 4, 8), "model.downsampling", self.downsampling, "2, 4 or 8")


@dataclass(frozen=True)
class VQVAEConfig(RunConfig):
    """Determines a run of a VQ-VAE."""

    system = "VQ-VAE"
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        size, f = self.data.image_size, self.model.downsampling
        if size[0] % f or size[1] % f:
            raise ValueError(f"data.image_size is {size}; model.downsampling is {f} and must divide both sides")
        if self.data.fit != "crop":
            raise ValueError(f"data.fit is {self.data.fit}; a VQ-VAE is trained on crops of one size: crop")
        if self.data.own_coefficients:
            raise ValueError("data.own_coefficients is on; a VQ-VAE sees pixels: turn it off")
        for name, only in (("accumulate", 1), ("optimizer", "adam"), ("label_dropout", 0.0)):
            value = getattr(self.training, name)
            require(value == only, f"training.{name}", value, f"{only} for a VQ-VAE")

    def reader(self) -> "PixelReader":
        """From records to pixels."""
        from dct_jax.vq.reader import PixelReader

        return PixelReader(self)

    def build(self) -> "VQVAEStage":
        """The stage that trains a VQ-VAE."""
        from dct_jax.vq.stage import VQVAEStage  # JAX starts there

        return VQVAEStage(self)
