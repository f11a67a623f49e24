"""The configurations of autoencoders' runs: what all have, and a VQ-VAE's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dct_jax.config import LARGEST_WIDTH, RunConfig
from dct_jax.fields import LATER, require

if TYPE_CHECKING:
    from dct_jax.vq.network import Autoencoder
    from dct_jax.vq.reader import PixelReader
    from dct_jax.vq.stage import VQVAEStage

LARGEST_CODES = 2**20
"""This bound is far above what anybody trains; see `dct_jax.config.LARGEST_IMAGE`."""


@dataclass(frozen=True, kw_only=True)
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
        restart: of "ema", a code becomes a vector of the batch if its decayed count falls below
            this; or below this share of the mean count, N / K, in batches of N < K vectors.
        start: the table before the first step: "kmeans" finds means of the first batch's vectors;
            "uniform" takes small random numbers, or the table of an imported model.
    """

    kind: Literal["gradient", "ema", "fsq"] = "ema"
    codes: int = 512
    dim: int = 64
    levels: tuple[int, ...] = (8, 8, 8)
    commitment: float = 0.25
    decay: float = 0.99
    restart: float = 0.5
    start: Literal["kmeans", "uniform"] = field(default="kmeans", metadata=LATER)

    def __post_init__(self) -> None:
        require(self.kind in ("gradient", "ema", "fsq"), "quantizer.kind", self.kind, "gradient, ema or fsq")
        require(2 <= self.codes <= LARGEST_CODES, "quantizer.codes", self.codes, f"from 2 to {LARGEST_CODES}")
        require(1 <= self.dim <= LARGEST_WIDTH, "quantizer.dim", self.dim, f"from 1 to {LARGEST_WIDTH}")
        fits = bool(self.levels) and min(self.levels) >= 2 and math.prod(self.levels) <= LARGEST_CODES
        require(fits, "quantizer.levels", self.levels, f"one or more, each 2 or more, of a product of at most {LARGEST_CODES}")
        require(self.commitment >= 0, "quantizer.commitment", self.commitment, "0 or more")
        require(0 <= self.decay < 1, "quantizer.decay", self.decay, "at least 0 and below 1")
        require(self.restart >= 0, "quantizer.restart", self.restart, "0 or more")
        require(self.start in ("kmeans", "uniform"), "quantizer.start", self.start, "kmeans or uniform")

    @property
    def num_codes(self) -> int:
        """K."""
        return math.prod(self.levels) if self.kind == "fsq" else self.codes

    @property
    def width(self) -> int:
        """D, the coordinates of a vector that is quantised."""
        return len(self.levels) if self.kind == "fsq" else self.dim


class Sizes(Protocol):
    """What all rooms "model" of autoencoders have.

    Attributes:
        downsampling: f, pixels of a side of a cell of the grid of codes.
        divisor: what must divide the sides of pictures: f, or a multiple of it.
        sides: "refuse" demands pictures whose sides the divisor divides; "pad" repeats the last row
            and column of others until it does.
    """

    @property
    def downsampling(self) -> int: ...

    @property
    def divisor(self) -> int: ...

    @property
    def sides(self) -> Literal["refuse", "pad"]: ...


def check_sees_crops(config: RunConfig) -> None:
    """Raises ValueError unless the data of a run are crops of pixels, all of one size."""
    if config.data.fit != "crop":
        raise ValueError(f"data.fit is {config.data.fit}; a {config.system} is trained on crops of one size: crop")
    if config.data.own_coefficients:
        raise ValueError(f"data.own_coefficients is on; a {config.system} sees pixels: turn it off")


def check_range(codes: np.ndarray, num_symbols: int) -> None:
    """Raises ValueError if a code, int [...], is negative, or not below the number of symbols."""
    if codes.size and not (0 <= codes.min() and codes.max() < num_symbols):
        raise ValueError(f"the codes go from {codes.min()} to {codes.max()}; this model has 0 to {num_symbols - 1}")


@dataclass(frozen=True, kw_only=True)
class AutoencoderRunConfig(RunConfig):
    """Determines a run of an autoencoder. Each kind of autoencoder adds the room `model`."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_sides(f"data.image_size is {self.data.image_size}", self.data.image_size)
        check_sees_crops(self)
        for name, only in (("accumulate", 1), ("optimizer", "adam"), ("label_dropout", 0.0)):
            value = getattr(self.training, name)
            require(value == only, f"training.{name}", value, f"{only} for a {self.system}")

    @property
    def sizes(self) -> Sizes:
        """The room `model`."""
        raise NotImplementedError

    @property
    def num_symbols(self) -> int:
        """How many symbols a cell of a grid may have: K, the codes."""
        return self.quantizer.num_codes

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes of a crop."""
        return self.grid_of(self.data.image_size)

    @property
    def region_side(self) -> int:
        """Cells of a side of the regions whose codes are known together, or not."""
        return self.sizes.divisor // self.sizes.downsampling

    def grid_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the rows and columns of codes of a picture of (H, W) pixels, perhaps padded."""
        divisor, f = self.sizes.divisor, self.sizes.downsampling
        height, width = (-(-side // divisor) * divisor // f for side in size)
        return height, width

    def check_sides(self, what: str, size: Sequence[int]) -> None:
        """Raises ValueError, which begins with `what`, if pictures of this (H, W) have no codes."""
        divisor = self.sizes.divisor
        if self.sizes.sides == "refuse" and any(side % divisor for side in size):
            raise ValueError(f"{what}; {divisor} must divide both sides, unless the autoencoder's model.sides is pad")

    def check_codes(self, codes: np.ndarray) -> None:
        """Raises ValueError if codes from outside, int [N, h, w], are none of this model."""
        check_range(codes, self.num_symbols)

    def network(self) -> "Autoencoder":
        """The Flax module."""
        raise NotImplementedError

    def reader(self) -> "PixelReader":
        """From records to pixels."""
        from dct_jax.vq.reader import PixelReader

        return PixelReader(self)


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """The sizes of a VQ-VAE's encoder and decoder.

    Attributes:
        channels: of every layer.
        residual_blocks: at the coarse end of the encoder, and of the decoder.
        downsampling: f, pixels of a side of the square that a code stands for.
        sides: "refuse" demands pictures whose sides f divides; "pad" repeats the last row and
            column of others until it does.
    """

    channels: int = 128
    residual_blocks: int = 2
    downsampling: Literal[2, 4, 8] = 4
    sides: Literal["refuse", "pad"] = field(default="refuse", metadata=LATER)

    def __post_init__(self) -> None:
        require(1 <= self.channels <= LARGEST_WIDTH, "model.channels", self.channels, f"from 1 to {LARGEST_WIDTH}")
        require(0 <= self.residual_blocks <= 2**10, "model.residual_blocks", self.residual_blocks, "from 0 to 1024")
        require(self.downsampling in (2, 4, 8), "model.downsampling", self.downsampling, "2, 4 or 8")
        require(self.sides in ("refuse", "pad"), "model.sides", self.sides, "refuse or pad")

    @property
    def divisor(self) -> int:
        """f: every square of a code is as large."""
        return self.downsampling


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig(AutoencoderRunConfig):
    """Determines a run of a VQ-VAE."""

    system = "VQ-VAE"
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)

    @property
    def sizes(self) -> AutoencoderConfig:
        """The room `model`."""
        return self.model

    def network(self) -> "Autoencoder":
        """The Flax module."""
        from dct_jax.vq.network import Autoencoder, Decoder, Encoder
        from dct_jax.vq.quantizers import Quantizer

        encoder = Encoder(self.model, self.quantizer.width)
        return Autoencoder(encoder, Quantizer(self.quantizer), Decoder(self.model), self.model.divisor)

    def build(self) -> "VQVAEStage":
        """The stage that trains a VQ-VAE."""
        from dct_jax.vq.stage import VQVAEStage  # JAX starts there

        return VQVAEStage(self)
