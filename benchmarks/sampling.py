"""Times one step of the cached sampler with the reference network, and the memory traffic that it cannot do without.

    python benchmarks/sampling.py [--batch-size 16 --repeats 2 --json FILE]

A step draws one triple of every list and does little arithmetic: what it must do is read the decoders' parameters and the
caches once. The time that the machine's memory would need for that is the floor; the ratio to it is what can be won.
"""

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from machine import (
    IMAGE_SIZE,
    REFERENCE_CODEC,
    Figure,
    machine_figures,
    matmul_rate,
    memory_bandwidth,
    peak_memory,
    places,
    reference_model,
    report,
    spread,
)

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import Chunk, make_chunks
from dct_jax.model import DCTransformer, initial_params
from dct_jax.sampling.policy import Policy
from dct_jax.sampling.sampler import Span, sample_chunk

IMAGE_TRIPLES = 1000
"""About those of a 64 x 64 image."""

FLOOR_BAR, GROWTH_BAR = 1.5, 1.3
"""A step by its floor, and late steps of a chunk by early ones."""


def chunks_of(model: DCTransformer, size: int, index: int) -> Chunk:
    """Chunk `index` of lists that `never_stopping` has drawn up to there."""
    config, given = model.config, index * model.config.chunk_size
    channels, positions = (x[:given] for x in places(model.vocabulary))
    blank = SparseDCT.empty(IMAGE_SIZE, REFERENCE_CODEC)
    sparse = dataclasses.replace(blank, channels=channels, positions=positions, values=np.ones(given, np.int32))
    chunk = make_chunks([sparse] * size, [index] * size, [0] * size, model.vocabulary, config.chunk_size, config.overlap)
    return jax.device_put(chunk)


def never_stopping(model: DCTransformer, params: Any) -> Any:
    """The parameters with heads that fill one channel after another, position by position, so that every chunk is full."""
    vocabulary = model.vocabulary
    channel_bias = -100.0 * vocabulary.rank[: vocabulary.num_channels + 1]  # [3 B^2 + 1]
    channel_bias[vocabulary.stop] = -1e9
    position_bias = -100.0 * np.arange(vocabulary.num_positions)  # [P]
    network = dict(params["params"])
    for head, bias in (("channel_head", channel_bias), ("position_head", position_bias)):
        network[head] = network[head] | {"bias": jnp.asarray(bias, jnp.float32)}
    return {"params": network}


def parameter_bytes(params: Any) -> int:
    """Of the decoders and the heads, without the keys and values of cross-attention, which are made once a chunk.

    Embeddings do not count: a step needs a few rows of them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    return sum(
        leaf.nbytes
        for name, leaf in named
        if ("_decoder/" in name or "_head/" in name) and "cross_attention/key_value" not in name
    )


def cache_bytes(model: DCTransformer, batch: int) -> int:
    """Keys and values of the full window and of the encoder's tokens, in every decoder block."""
    config = model.config
    tokens = int(np.prod([-(-side // config.encoder_stride) for side in model.vocabulary.grid]))  # T
    blocks = len(config.channel_decoder) + len(config.position_decoder) + len(config.value_decoder)
    return blocks * 2 * batch * (config.window + tokens) * config.width * jnp.dtype(config.dtype).itemsize


def step_flops(model: DCTransformer, params: Any, batch: int) -> float:
    """Operations of a step: two a weight and list, and two for each number of the caches."""
    return batch * 2 * parameter_bytes(params) / 4 + 2 * cache_bytes(model, batch) / 4


class Sampler:
    """A batch of lists of the reference network that never stop."""

    def __init__(self, batch: int) -> None:
        self.model, self.batch = reference_model(), batch
        self.chunks = [chunks_of(self.model, batch, index) for index in range(2)]
        params = initial_params(self.model, self.chunks[0], seed=0)
        self.params, self.keys = never_stopping(self.model, params), jax.random.split(jax.random.key(1), batch)

    def seconds(self, index: int, until: int) -> float:
        """Of the start of a chunk and so many steps."""
        row = jnp.ones(self.batch, jnp.int32)
        span = Span(0 * row, until * row, 0 * row)
        start = time.perf_counter()
        drawn = sample_chunk(self.model, False, Policy(), self.params, self.chunks[index], self.keys, span)
        lengths = np.asarray((drawn.channels < self.model.vocabulary.stop).sum(axis=1))  # [B]
        seconds = time.perf_counter() - start
        assert np.all(lengths == until), f"the lists have {lengths} triples; each must have {until}, or steps are missing"
        return seconds


def main(batch_size: int = 16, repeats: int = 2, json: Path | None = None) -> None:
    """Times the sampler with the reference network.

    Args:
        batch_size: lists drawn at once.
        repeats: of a chunk of 896 steps, and of half of it.
        json: where to write the figures.
    """
    sampler, one = Sampler(batch_size), Sampler(1)
    model, size = sampler.model, sampler.model.config.chunk_size
    compilation = sampler.seconds(0, 0)
    read = (parameter_bytes(sampler.params), cache_bytes(model, batch_size))
    flops = step_flops(model, sampler.params, batch_size)
    bandwidths, rates = [], []

    def limits() -> None:
        bandwidths.append(memory_bandwidth())
        rates.append(matmul_rate())

    starts, halves, wholes = [], [], []
    limits()
    for _ in range(repeats):
        starts.append(sampler.seconds(0, 0))
        halves.append(sampler.seconds(0, size // 2))
        limits()
        wholes.append(sampler.seconds(0, size))
        limits()
    floor = max(sum(read) / statistics.median(bandwidths), flops / statistics.median(rates))
    start = statistics.median(starts)
    steps = [(whole - start) / size for whole in wholes]
    growth = [(whole - half) / (half - start) for whole, half in zip(wholes, halves)]
    by_floor = statistics.median(steps) / floor
    image = statistics.median(wholes) + sampler.seconds(1, IMAGE_TRIPLES - size)
    one.seconds(0, 0)  # compiles
    alone = one.seconds(0, size) + one.seconds(1, IMAGE_TRIPLES - size)
    peak = peak_memory()
    report(
        [
            *machine_figures(),
            peak,
            Figure("batch", batch_size, "lists"),
            Figure("compilation and first start", compilation, "s"),
            spread("start of a chunk", starts, "s"),
            spread("step", steps, "ms", 1e3),
            spread("steps of a chunk's second half by those of the first", growth, "times"),
            Figure(f"bar of {GROWTH_BAR}", "met" if statistics.median(growth) <= GROWTH_BAR else "MISSED"),
            Figure("parameters read a step", read[0] / 1e6, "MB"),
            Figure("caches read a step", read[1] / 1e6, "MB"),
            Figure("arithmetic of a step", flops / 1e9, "GF"),
            spread("memory bandwidth beside the steps", bandwidths, "GB/s", 1e-9),
            spread("matrix product beside the steps", rates, "GF/s", 1e-9),
            Figure("floor of a step", 1e3 * floor, "ms, the larger of bytes by bandwidth and arithmetic by rate"),
            Figure("step by that", by_floor, "times the floor"),
            Figure(f"bar of {FLOOR_BAR}", "met" if by_floor <= FLOOR_BAR else "MISSED"),
            Figure(f"{batch_size} images of {IMAGE_TRIPLES} triples", image, f"s, {image / batch_size:.3g} s an image"),
            Figure(f"one image of {IMAGE_TRIPLES} triples", alone, "s"),
        ],
        json,
    )


if __name__ == "__main__":
    tyro.cli(main)
