"""Grids with holes as figures need them."""

import jax.numpy as jnp
import numpy as np

from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.grains import fill, map_of
from dct_jax.plots import Grains


def grains_of(config: DQVAEConfig, codes: np.ndarray) -> list[Grains]:
    """Finds the grains of grids with holes, int [N, n, m]."""
    count = config.model.grains
    maps = np.asarray(map_of(jnp.asarray(codes), count, config.quantizer.num_codes))  # [N, h, w]
    return [Grains(one, count, config.model.divisor) for one in maps]


def fill_holes(config: DQVAEConfig, codes: np.ndarray) -> np.ndarray:
    """Gives each cell of grids with holes its code: int [N, n, m] -> [N, n, m]."""
    return np.asarray(fill(jnp.asarray(codes), config.model.grains, config.quantizer.num_codes))
