"""Grids with holes as figures and tables need them: where a picture's codes are, and how many."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.grains import fill, map_of
from dct_jax.plots import GRAIN_NAMES, Grains
from dct_jax.tables import align


class Lengths(NamedTuple):
    """How many codes pictures have.

    Attributes:
        numbers: mean, variance (of these pictures), least and most codes of a picture.
        shares: of the regions of each grain, by its name.
    """

    numbers: dict[str, float]
    shares: dict[str, float]

    def words(self) -> str:
        """Returns the numbers in a line."""
        return ", ".join(
            f"{name} {number:{'.2f' if isinstance(number, float) else ''}}" for name, number in self.numbers.items()
        )

    def lines(self) -> list[str]:
        """Makes a line for the codes, and one for the regions."""
        regions = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        return align([("codes of a picture", self.words()), ("regions", regions)], names=2).splitlines()


def measure_lengths(grains: Sequence[Grains]) -> Lengths:
    """Measures the lengths of one picture or more."""
    lengths, maps = np.array([one.codes.sum() for one in grains]), np.stack([one.map for one in grains])
    numbers = {"mean": float(lengths.mean()), "variance": float(lengths.var())}
    numbers |= {"least": int(lengths.min()), "most": int(lengths.max())}
    names = GRAIN_NAMES[grains[0].number]
    return Lengths(numbers, {name: float((maps == grain).mean()) for grain, name in enumerate(names)})


def grains_of(config: DQVAEConfig, codes: np.ndarray) -> list[Grains]:
    """Finds the grains of grids with holes, int [N, n, m]."""
    count = config.model.grains
    maps = np.asarray(map_of(jnp.asarray(codes), count, config.quantizer.num_codes))  # [N, h, w]
    return [Grains(one, count, config.model.divisor) for one in maps]


def fill_holes(config: DQVAEConfig, codes: np.ndarray) -> np.ndarray:
    """Gives each cell of grids with holes its code: int [N, n, m] -> [N, n, m]."""
    return np.asarray(fill(jnp.asarray(codes), config.model.grains, config.quantizer.num_codes))
