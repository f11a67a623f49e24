"""Toy models, toy lists and random parameters for the tests."""

import dataclasses
import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codec import DCTCodec, SparseDCT, Vocabulary
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dct.network import DCTransformer, SymbolNats, network
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.lists import Start, sample_lists
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.features import FeatureNetwork
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.stage import TrainState

TINY = ModelConfig(
    width=16,
    heads=2,
    encoder=(1,),
    channel_decoder=(1, 1),
    position_decoder=(1,),
    value_decoder=(2,),
    chunk_size=24,
    overlap=8,
    max_chunks=4,
    position_pointer=True,
    contexts=True,
)

SMALLEST = dataclasses.replace(TINY, encoder=(0,), channel_decoder=(0,), position_decoder=(0,), value_decoder=(1,))
"""One block of each kind, for what does not depend on how many there are: it is compiled sooner."""

TINY_CODEC = DCTCodec(block_size=4, quality=30)
TINY_SIZE = (16, 16)
BLANK = SparseDCT.empty(TINY_SIZE, TINY_CODEC)


def tiny_config(**training: Any) -> DCTConfig:
    """A configuration that trains in seconds: 16 x 16 crops in 4 x 4 blocks."""
    defaults = {"steps": 20, "batch_size": 4, "warmup_steps": 2, "evaluate_every": 100, "checkpoint_every": 100}
    return DCTConfig(
        codec=TINY_CODEC,
        data=DataConfig(image_size=TINY_SIZE, held_out_crops=4),
        model=TINY,
        training=TrainingConfig(**(defaults | training)),
    )


def tiny_model(config: ModelConfig = TINY) -> DCTransformer:
    return DCTransformer(TINY_CODEC.vocabulary(TINY_SIZE), config)


def random_image(rng: np.random.Generator, height: int = 16, width: int = 16) -> np.ndarray:
    """Smooth noise, uint8 [H, W, 3]: its lists have few triples in some blocks and many in
    others."""
    steps = rng.normal(size=(height, width, 3)).cumsum(axis=0).cumsum(axis=1) * 6
    return np.clip(128 + steps - steps.mean(), 0, 255).astype(np.uint8)


def mean_colours(scale: float = 1.0) -> FeatureNetwork:
    """A network whose features are the means of a picture's colours, by a scale."""
    return FeatureNetwork(
        name="colours",
        fingerprint=f"of colours by {scale}",
        dimensions={"pool": 3},
        distances={"pool": "FD"},
        prepare=lambda image: image.astype(np.float32),
        apply=lambda variables, batch: {"pool": batch.mean(axis=(1, 2)) * scale},
        variables=(),
    )


def codec_of(vocabulary: Vocabulary) -> DCTCodec:
    """A codec whose lists have this vocabulary: tables of one divisor that leaves its largest
    value."""
    divisor = 128 * vocabulary.block_size // vocabulary.largest_value
    tables = (divisor,) * vocabulary.num_channels
    return DCTCodec(vocabulary.block_size, None, vocabulary.chroma_subsampling, vocabulary.channel_order, tables)


def random_list(rng: np.random.Generator, vocabulary: Vocabulary, length: int) -> SparseDCT:
    """A uniformly chosen valid list of that many triples."""
    entries = [(c, p) for c in vocabulary.channels for p in np.flatnonzero(vocabulary.on_grid[vocabulary.is_chroma[c]])]
    chosen = np.sort(rng.choice(len(entries), length, replace=False))
    channels, positions = np.array([entries[i] for i in chosen], np.int32).reshape(-1, 2).T
    values = rng.integers(1, vocabulary.largest_value + 1, length) * rng.choice([-1, 1], length)
    size = (vocabulary.grid[0] * vocabulary.block_size, vocabulary.grid[1] * vocabulary.block_size)
    return SparseDCT(channels, positions, values.astype(np.int32), size, codec_of(vocabulary))


def all_lists(vocabulary: Vocabulary) -> Iterator[SparseDCT]:
    """Every valid list of a very small vocabulary with one block size of 1, by enumerating dense
    DCT images."""
    values = range(-vocabulary.largest_value, vocabulary.largest_value + 1)
    entries = [(c, p) for c in vocabulary.channels for p in range(vocabulary.num_positions)]
    for dense in itertools.product(values, repeat=len(entries)):
        triples = [(c, p, v) for (c, p), v in zip(entries, dense) if v]
        channels, positions, values_ = np.array(triples, np.int32).reshape(-1, 3).T
        yield SparseDCT(channels, positions, values_, vocabulary.grid, codec_of(vocabulary))


def batch_of(model: DCTransformer, lists: list[SparseDCT], index: int = 0) -> Chunk:
    """Chunk `index` of each list."""
    config, number = model.config, len(lists)
    return make_chunks(lists, [index] * number, [0] * number, model.vocabulary, config.chunk_size, config.overlap)


@cache
def shapes_of(model: DCTransformer, example: Chunk) -> Any:
    """The shapes of a model's parameters, which many tests ask for; `example` has shapes alone."""
    return jax.eval_shape(model.init, jax.random.key(0), example)


def random_params(model: DCTransformer, batch: Chunk, seed: int = 0, scale: float = 0.3) -> Any:
    """Parameters about as large as fresh ones, with every number moved at random, so that no gate
    stays at 0 and no bias hides a dependence. They are not made by the model's own initialisers,
    which take long to compile."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        kind = path[-1].key
        fresh = {"kernel": leaf.shape[0] ** -0.5 if leaf.ndim > 1 else 0, "embedding": 0.1}.get(kind, 0)
        spread = np.hypot(scale, fresh)
        return ((kind == "scale") + spread * rng.standard_normal(leaf.shape)).astype(np.float32)

    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), batch)
    return jax.tree_util.tree_map_with_path(draw, shapes_of(model, row))


@partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(model: DCTransformer, params: Any, *args: Any, method: str = "__call__") -> Any:
    """model.apply, compiled as one program: one operation after another takes many times as
    long."""
    return model.apply(params, *args, method=method)


def sampled_lists(
    model: DCTransformer, params: Any, num: int, seed: int, policy: Policy = Policy(), rows: int | None = None
) -> tuple[list[SparseDCT], SymbolNats]:
    """Whole lists from nothing, and their log-likelihood, [num] each."""
    starts = [Start(i, BLANK) for i in range(num)]
    samples = [one for grown in sample_lists(model, params, starts, seed, policy, rows or num) for one in grown]
    ended = sorted((one for one in samples if one.state == "complete"), key=lambda one: one.start.number)
    assert [one.start.number for one in ended] == list(range(num))
    return [one.sparse for one in ended], SymbolNats(*(np.array(x) for x in zip(*(one.nats for one in ended))))


def untrained(config: DCTConfig, classes: tuple[str, ...] = ()) -> TrainedModel:
    """A model with random parameters."""
    params = random_params(network(config), ChunkReader(config).example())
    return TrainedModel(config, params, ((*config.data.image_size, 1),), classes)


def save_run(folder: Path, model: TrainedModel) -> Path:
    """A run's folder with one checkpoint of this model."""
    state = TrainState(jnp.int32(1), jax.tree.map(jnp.asarray, model.variables), {"none": jnp.zeros(1)})
    Checkpoints(folder / "checkpoints").save(state, model.sizes, model.config, None, model.classes)
    return folder


@contextmanager
def stop_while_placing(batch: int) -> Iterator[None]:
    """Runs that train in this block get SIGTERM while they place so many-th of their batches."""
    original, placed = loop.place, itertools.count(1)

    def place(*args: Any) -> Any:
        if next(placed) == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "place", place)
        yield
