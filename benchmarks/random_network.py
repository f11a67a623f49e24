"""Networks, parameters and batches at random, equal in every process and on every device: from
NumPy and a seed."""

from typing import Any

import jax
import numpy as np
from machine import random_list

from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.reader import ChunkReader


def random_params(config: DCTConfig, seed: int = 0) -> Any:
    """Returns parameters, float32 NumPy arrays, about as large as fresh ones, but with open gates,
    so that every layer does work."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), ChunkReader(config).example())

    def random_leaf(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        kind = path[-1].key
        size = {"kernel": leaf.shape[0] ** -0.5 if leaf.ndim > 1 else 0, "embedding": 0.1}.get(kind, 0.1)
        return np.float32(kind == "scale") + np.float32(size) * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree_util.tree_map_with_path(random_leaf, shapes)


def prefer_long_lists(model: DCTransformer, params: Any, slope: float) -> Any:
    """Returns the parameters with heads that never sample the stopping token, and that prefer low
    channels and positions by `slope` nats from one to the next: at 100 a list fills one channel
    after another, below 1 it is random."""
    vocabulary = model.vocabulary
    channel_bias = -slope * vocabulary.rank[: vocabulary.num_channels + 1]  # [3 B^2 + 1]
    channel_bias[vocabulary.stop] = -1e9
    position_bias = -slope * np.arange(vocabulary.num_positions)  # [P]
    layers = dict(params["params"])
    for head, bias in (("channel_head", channel_bias), ("position_head", position_bias)):
        layers[head] = layers[head] | {"bias": bias.astype(np.float32)}
    return {"params": layers}


def random_batch(config: DCTConfig, size: int) -> Chunk:
    """Returns second chunks of random lists, NumPy arrays: all of their elements are triples."""
    rng, model = np.random.default_rng(0), config.model
    length = 2 * model.chunk_size
    lists = [random_list(rng, length, config.codec, config.data.image_size) for _ in range(size)]
    vocabulary = config.vocabulary
    return make_chunks(lists, [1] * size, [0] * size, vocabulary, model.chunk_size, model.overlap)
