"""The configuration of a DQ-VAE's run."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dct_jax.dq.holes import check_grid, check_holes
from dct_jax.fields import COSTS, MAY_CHANGE, require
from dct_jax.vq.gan.config import ConvolutionsConfig, VQGANConfig

if TYPE_CHECKING:
    from dct_jax.data.sources import Source
    from dct_jax.dq.network import DQVAE
    from dct_jax.dq.stage import DQVAEStage

log = logging.getLogger(__name__)

CALIBRATION_PICTURES = 1_000
"""Pictures whose patches thresholds are measured of, if the data set has so many."""
LARGEST_REGION = 256
"""Pixels of a side of a region of eight levels and a stem of 2, the most that a model can have."""


@dataclass(frozen=True, kw_only=True)
class GrainsConfig(ConvolutionsConfig):
    """The sizes of a DQ-VAE's encoder and decoder: those of a VQ-GAN, and grains.

    The codes of the coarsest grain are those of the encoder's coarsest level, those of finer grains
    are of the levels before. The decoder has the levels from the finest grain on.

    Attributes:
        grains: how many sizes codes have. Each is half as wide as the one before.
        stem: pixels of a side of the square that is one place of the finest level. With 2 a
            convolution with a stride of 2 makes it, which costs little.
    """

    grains: Literal[2, 3] = 2
    stem: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        require(self.grains in (2, 3), "model.grains", self.grains, "2 or 3")
        require(self.stem in (1, 2), "model.stem", self.stem, "1 or 2")
        super().__post_init__()
        if len(self.multipliers) < self.grains:
            raise ValueError(
                f"model.multipliers is {self.multipliers} and model.grains is {self.grains}; each grain needs a level"
            )

    @property
    def downsampling(self) -> int:
        """f, pixels of a side of the square of a code of the finest grain."""
        return int(self.stem * 2 ** (len(self.multipliers) - self.grains))

    @property
    def divisor(self) -> int:
        """F, pixels of a side of a region, which is the square of a code of the coarsest grain."""
        return int(self.stem * 2 ** (len(self.multipliers) - 1))


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """What decides the grain of each region.

    Attributes:
        kind: "feature" learns it from the encoder's features, within a budget; "entropy" compares
            the entropy of a region's grey levels with thresholds, and learns nothing.
        ratios: the shares of regions of each grain but the coarsest, from coarse to fine: (fine,)
            of two grains, (median, fine) of three.
        budget: of "feature", the weight of the squared differences between the shares of a batch
            and `ratios`.
        thresholds: of "entropy", the file that the command `thresholds` wrote; if it is empty, the
            run computes thresholds of its training pictures at its start. A run that goes on reads
            no file: its thresholds are in its checkpoints.
    """

    kind: Literal["feature", "entropy"] = "feature"
    ratios: tuple[float, ...] = (0.5,)
    budget: float = 20.0
    thresholds: str = field(default="", metadata=MAY_CHANGE | COSTS)

    def __post_init__(self) -> None:
        require(self.kind in ("feature", "entropy"), "router.kind", self.kind, "feature or entropy")
        in_range = len(self.ratios) in (1, 2) and min(self.ratios) >= 0 and sum(self.ratios) <= 1
        require(in_range, "router.ratios", self.ratios, "one or two shares, each from 0 to 1, with a sum of at most 1")
        require(self.budget >= 0, "router.budget", self.budget, "0 or more")
        if self.thresholds and self.kind != "entropy":
            raise ValueError(
                f"router.thresholds is {self.thresholds} and router.kind is {self.kind}; only entropy has thresholds"
            )


@dataclass(frozen=True, kw_only=True)
class DQVAEConfig(VQGANConfig):
    """Determines a run of a DQ-VAE."""

    system = "DQ-VAE"
    model: GrainsConfig = field(default_factory=GrainsConfig)
    router: RouterConfig = field(default_factory=RouterConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.router.ratios) != self.model.grains - 1:
            raise ValueError(
                f"router.ratios is {self.router.ratios} and model.grains is {self.model.grains}; each grain but the coarsest "
                "needs a ratio"
            )

    @property
    def num_symbols(self) -> int:
        """K codes, and the hole."""
        return self.quantizer.num_codes + 1

    @property
    def regions(self) -> tuple[int, int]:
        """(h, w), the regions of a crop."""
        return self.grid[0] // self.region_side, self.grid[1] // self.region_side

    def calibrate(self, training: "Source") -> dict[str, Any]:
        """Takes the thresholds of the router "entropy" from their file, or measures them of the
        training pictures. Measured again, they are equal.

        Raises:
            ValueError: if the file is damaged, or of other patches than those of the run.
        """
        if self.router.kind != "entropy":
            return {}
        from dct_jax.data.skipped import Skipped
        from dct_jax.dq.thresholds import check_fits, measure_percentiles, read_percentiles, shares_of, thresholds_of

        data, side, path = self.data, self.model.divisor, self.router.thresholds
        if path:
            found = read_percentiles(Path(path))
            check_fits(found, path, training, data, side)
        else:
            number = min(CALIBRATION_PICTURES, len(training))
            found = measure_percentiles(training, data, side, number, Skipped(number, most=1.0))
        thresholds = thresholds_of(found.values, self.router.ratios)
        shares = shares_of(found.values, thresholds)
        if max(abs(share - ratio) for share, ratio in zip(shares[1:], self.router.ratios)) > 0.01 + 1e-6:
            log.warning(
                "router.ratios is %s, but above the thresholds %s are the shares %s of the patches: %.0f %% have one entropy",
                self.router.ratios,
                ", ".join(f"{threshold:.3f}" for threshold in thresholds),
                ", ".join(f"{share:.2f}" for share in shares[1:]),
                100 * found.tied,
            )
        return {"router": {"thresholds": thresholds}}

    def check_codes(self, codes: np.ndarray) -> None:
        """Raises ValueError if grids with holes from outside, int [N, n, m], are none of this
        model's pictures; see `holes.check_holes`."""
        check_grid(codes.shape[1:], self.grid)
        check_holes(codes, self.model.grains, self.quantizer.num_codes)

    def network(self) -> "DQVAE":
        """The Flax module."""
        from dct_jax.dq.network import make_network

        return make_network(self)

    def build(self) -> "DQVAEStage":
        """The stage that trains a DQ-VAE."""
        from dct_jax.dq.stage import DQVAEStage  # JAX starts there

        return DQVAEStage(self)
