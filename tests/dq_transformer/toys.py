"""Small networks with random parameters, grids of random codes, and all grids of a small order."""

import itertools
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.dq_transformer.config import StackConfig
from dct_jax.dq_transformer.likelihood import SymbolNats, log_likelihood
from dct_jax.dq_transformer.network import DQTransformer, Logits
from dct_jax.dq_transformer.order import Order, Sequences, pack

CODES, CLASSES = 5, 3
DUAL, TRIPLE = Order((2, 2), 2), Order((1, 2), 3, "regions")


@cache
def toy(order: Order, codes: int = CODES, width: int = 16) -> tuple[DQTransformer, Any]:
    """A network and its variables, whose logits differ by about 1."""
    config = StackConfig(width=width, heads=2, position_layers=1, content_layers=2)
    network = DQTransformer(config, order, codes, CLASSES)
    example = jnp.asarray(random_grids(order, 1, codes)), jnp.zeros(1, jnp.int32)
    return network, random_tree(jax.eval_shape(network.init, jax.random.key(0), *example))


def random_tree(shapes: Any) -> Any:
    """Random parameters: biases and scales have values of their own, and heads look at few keys."""
    rng = np.random.default_rng(1)

    def one(path: Any, leaf: Any) -> jax.Array:
        return jnp.asarray((path[-1].key == "scale") + 0.5 * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(one, shapes)


def sequences_of(order: Order, grids: Any, num_codes: int = CODES) -> Sequences:
    return jax.device_get(_pack(order, grids, num_codes))


def logits_of(network: DQTransformer, variables: Any, grids: Any, labels: Any) -> Logits:
    return jax.device_get(_logits(network, variables, grids, labels))


def nats_of(network: DQTransformer, variables: Any, grids: Any, labels: Any) -> SymbolNats:
    return jax.device_get(_nats(network, variables, grids, labels))


_pack = jax.jit(pack, static_argnums=(0, 2))


@partial(jax.jit, static_argnums=0)
def _logits(network: DQTransformer, variables: Any, grids: jax.Array, labels: jax.Array) -> Logits:
    return network.apply(variables, grids, labels)  # type: ignore[return-value]


@partial(jax.jit, static_argnums=0)
def _nats(network: DQTransformer, variables: Any, grids: jax.Array, labels: jax.Array) -> SymbolNats:
    return log_likelihood(network.apply(variables, grids, labels), pack(network.order, grids, network.num_codes))  # type: ignore[arg-type]


def grid_of(grain_map: np.ndarray, codes: Any, grains: int, num_codes: int) -> np.ndarray:
    """A grid with holes, int32 [n, m], of a grain map, int [h, w], and codes.

    They fill its squares region by region, in raster order.
    """
    side, codes = 2 ** (grains - 1), iter(codes)
    grid = np.full([side * size for size in grain_map.shape], num_codes, np.int32)
    for (i, j), grain in np.ndenumerate(grain_map):
        square = side // 2**grain
        for a, b in itertools.product(range(0, side, square), repeat=2):
            grid[side * i + a, side * j + b] = next(codes)
    return grid


def random_grids(order: Order, number: int, num_codes: int = CODES, seed: int = 0) -> np.ndarray:
    """The first has the coarsest grain everywhere, the last the finest."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, order.grains, (number, *order.regions))
    maps[0], maps[-1] = 0, order.grains - 1
    return np.stack([grid_of(one, iter(lambda: rng.integers(num_codes), -1), order.grains, num_codes) for one in maps])


def all_grids(order: Order, num_codes: int) -> np.ndarray:
    """Every grid with holes, int32 [M, n, m]."""
    of_region = [
        grid_of(np.array([[grain]]), codes, order.grains, num_codes)
        for grain in range(order.grains)
        for codes in itertools.product(range(num_codes), repeat=4**grain)
    ]
    regions, (height, width) = np.array(of_region), order.regions  # [R, s, s]
    chosen = np.indices((len(regions),) * (height * width)).reshape(height * width, -1)  # [h w, M]
    side = regions.shape[1]
    grids = regions[chosen].reshape(height, width, -1, side, side).transpose(2, 0, 3, 1, 4)
    return grids.reshape(-1, height * side, width * side)
