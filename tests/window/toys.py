"""Small networks with random parameters, grids of random codes, and the window in coordinates of
cells."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.window.config import WindowModelConfig
from dct_jax.window.neighbours import is_in_window
from dct_jax.window.network import WindowTransformer

CODES, CLASSES = 7, 3


@cache
def toy(window: int, layers: int = 2, codes: int = CODES) -> tuple[WindowTransformer, Any]:
    """A network and its variables, whose logits differ by about 1."""
    config = WindowModelConfig(width=32, heads=2, layers=layers, window=window)
    network = WindowTransformer(config, codes, CLASSES)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 3, 3), jnp.int32), jnp.zeros(1, jnp.int32))
    return network, random_tree(shapes)


def random_tree(shapes: Any) -> Any:
    """Random parameters: biases and scales have values of their own, and heads look at few keys."""
    rng = np.random.default_rng(1)

    def one(path: Any, leaf: Any) -> jax.Array:
        return jnp.asarray((path[-1].key == "scale") + 0.3 * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(one, shapes)


def logits_of(network: WindowTransformer, variables: Any, codes: Any, labels: Any) -> np.ndarray:
    return np.asarray(_logits(network, variables, codes, labels))


@partial(jax.jit, static_argnums=0)
def _logits(network: WindowTransformer, variables: Any, codes: jax.Array, labels: jax.Array) -> jax.Array:
    return network.apply(variables, codes, labels)


def random_codes(*shape: int, codes: int = CODES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, codes, shape).astype(np.int32)


def seen_cells(grid: tuple[int, int], window: int) -> np.ndarray:
    """Which cells each of N cells sees, bool [N, N]; itself, for its own token, among them."""
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])  # [N] each
    return is_in_window(row[:, None] - row, column[:, None] - column, window) | np.eye(len(row), dtype=bool)
