"""Times one step of the cached sampler with the reference network, and the memory traffic that it
cannot do without.

    python benchmarks/sampling.py [--batch-size 16 --repeats 2 --json FILE]

A step samples one triple of every list and does little arithmetic: what it must do is read the
decoders' parameters and the filled part of the caches once. The time that the machine's memory
would need for that is the floor; the ratio to it is what can be won. XLA's own programs, without
the kernels, are timed beside.
"""

import dataclasses
import inspect
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
from dct_jax.commands.ending import run_script
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.network import DCTransformer
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import SampledChunk, Span, sample_chunk
from dct_jax.kernels import without_kernels
from dct_jax.nn.initial import initial_params

IMAGE_TRIPLES = 1000
"""About as many triples as a 64 x 64 image has."""

SHARE_BAR, FLOOR_BAR = 0.5, 1.25
"""The time of a step by that without kernels, and by its floor."""

PLAIN_SHARE = 7
"""Of the steps, only one in so many is timed without kernels: those read the whole window, so all
take as long."""

Sample = Callable[..., SampledChunk]
"""`sample_chunk`, or another program that samples a chunk."""


def chunks_of(model: DCTransformer, size: int, index: int) -> Chunk:
    """Returns chunk `index` of lists that parameters of `forbid_stopping` have sampled up to
    there."""
    config, given = model.config, index * model.config.chunk_size
    channels, positions = (x[:given] for x in places(model.vocabulary))
    blank = SparseDCT.empty(IMAGE_SIZE, REFERENCE_CODEC)
    sparse = dataclasses.replace(blank, channels=channels, positions=positions, values=np.ones(given, np.int32))
    chunk = make_chunks([sparse] * size, [index] * size, [0] * size, model.vocabulary, config.chunk_size, config.overlap)
    return jax.device_put(chunk)


def forbid_stopping(model: DCTransformer, params: Any) -> Any:
    """Returns the parameters with heads that fill one channel after another, position by position,
    so that every chunk is full."""
    vocabulary = model.vocabulary
    channel_bias = -100.0 * vocabulary.rank[: vocabulary.num_channels + 1]  # [3 B^2 + 1]
    channel_bias[vocabulary.stop] = -1e9
    position_bias = -100.0 * np.arange(vocabulary.num_positions)  # [P]
    network = dict(params["params"])
    for head, bias in (("channel_head", channel_bias), ("position_head", position_bias)):
        network[head] = network[head] | {"bias": jnp.asarray(bias, jnp.float32)}
    return {"params": network}


def parameter_bytes(params: Any) -> int:
    """Returns the bytes of the decoders and the heads, without the keys and values of
    cross-attention, which are made once a chunk.

    Embeddings do not count: a step needs a few rows of them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    return sum(
        leaf.nbytes
        for name, leaf in named
        if ("_decoder/" in name or "_head/" in name) and "cross_attention/key_value" not in name
    )


def cache_bytes(model: DCTransformer, batch: int, steps: int) -> float:
    """Returns the bytes of keys and values of the filled columns of the window, on average over a
    chunk's first steps, and of the encoder's tokens, in every decoder block."""
    config = model.config
    tokens = int(np.prod([-(-side // config.encoder_stride) for side in model.vocabulary.grid]))  # T
    blocks = len(config.channel_decoder) + len(config.position_decoder) + len(config.value_decoder)
    filled = config.overlap + (steps + 1) / 2
    return blocks * 2 * batch * (filled + tokens) * config.width * jnp.dtype(config.dtype).itemsize


def step_flops(model: DCTransformer, params: Any, batch: int, steps: int) -> float:
    """Returns the operations of a step: two a weight and list, and two for each number of the
    caches."""
    return batch * 2 * parameter_bytes(params) / 4 + 2 * cache_bytes(model, batch, steps) / 4


def plain_chunk(*args: Any) -> SampledChunk:
    """Samples a chunk by XLA's own programs."""
    with without_kernels():
        return _plain_chunk(*args)


@partial(jax.jit, static_argnums=(0, 1))
def _plain_chunk(*args: Any) -> SampledChunk:
    return inspect.unwrap(sample_chunk)(*args)


class Sampler:
    """A batch of lists of the reference network that never stop."""

    def __init__(self, batch: int) -> None:
        self.model, self.batch = reference_model(), batch
        self.chunks = [chunks_of(self.model, batch, index) for index in range(2)]
        params = initial_params(self.model, self.chunks[0], seed=0)
        self.params, self.keys = forbid_stopping(self.model, params), jax.random.split(jax.random.key(1), batch)

    def seconds(self, sample: Sample, index: int, until: int) -> float:
        """Returns the seconds of the start of a chunk and so many steps."""
        row = jnp.ones(self.batch, jnp.int32)
        span = Span(0 * row, until * row, 0 * row)
        start = time.perf_counter()
        sampled = sample(self.model, False, Policy(), self.params, self.chunks[index], self.keys, span)
        lengths = np.asarray((sampled.channels < self.model.vocabulary.stop).sum(axis=1))  # [B]
        seconds = time.perf_counter() - start
        assert np.all(lengths == until), f"the lists have {lengths} triples; each must have {until}, or steps are missing"
        return seconds


def main(batch_size: int = 16, repeats: int = 2, json: Path | None = None) -> None:
    """Times the sampler with the reference network, with kernels and by XLA's own programs, by
    turns.

    Args:
        batch_size: lists that are sampled at once.
        repeats: of a chunk of 896 steps with kernels, each between measurements of the others.
        json: where to write the figures.
    """
    sampler = Sampler(batch_size)
    model, size = sampler.model, sampler.model.config.chunk_size
    compilation = sampler.seconds(sample_chunk, 0, 0)
    sampler.seconds(sample_chunk, 0, 1)
    peak = peak_memory("peak memory, compilation included")  # before anything else takes memory
    one = Sampler(1)
    for program, lists in ((plain_chunk, sampler), (sample_chunk, one), (plain_chunk, one)):
        lists.seconds(program, 0, 0)  # compiles
    read = parameter_bytes(sampler.params), cache_bytes(model, batch_size, size)
    bandwidths, rates = [], []
    starts, steps, plain_steps, alone, plain_alone, halves = [], [], [], [], [], []

    def step_seconds(lists: Sampler, program: Sample, until: int) -> float:
        starts.append(lists.seconds(program, 0, 0))
        return (lists.seconds(program, 0, until) - starts[-1]) / until

    for _ in range(repeats):
        bandwidths.append(memory_bandwidth())
        rates.append(matmul_rate())
        plain_steps.append(step_seconds(sampler, plain_chunk, size // PLAIN_SHARE))
        halves.append(step_seconds(sampler, sample_chunk, size // 2))
        steps.append(step_seconds(sampler, sample_chunk, size))
        plain_steps.append(step_seconds(sampler, plain_chunk, size // PLAIN_SHARE))
        bandwidths.append(memory_bandwidth())
        plain_alone.append(step_seconds(one, plain_chunk, size // PLAIN_SHARE))
        alone.append(step_seconds(one, sample_chunk, size))
    floor = max(
        sum(read) / statistics.median(bandwidths),
        step_flops(model, sampler.params, batch_size, size) / statistics.median(rates),
    )
    by_floor = statistics.median(steps) / floor
    share, share_alone = (
        statistics.median(ours) / statistics.median(plain) for ours, plain in ((steps, plain_steps), (alone, plain_alone))
    )
    image = one.seconds(sample_chunk, 0, size) + one.seconds(sample_chunk, 1, IMAGE_TRIPLES - size)

    def bar(value: float, limit: float) -> str:
        return "met" if value <= limit else "MISSED"

    report(
        [
            *machine_figures(),
            peak,
            Figure("batch", batch_size, "lists"),
            Figure("compilation and first start", compilation, "s"),
            spread("step", steps, "ms", 1e3),
            spread("step by XLA alone", plain_steps, "ms", 1e3),
            Figure("step by that", share, f"times; bar {SHARE_BAR}: {bar(share, SHARE_BAR)}"),
            spread("step of the chunk's first half", halves, "ms", 1e3),
            Figure("parameters read a step", read[0] / 1e6, "MB"),
            Figure("caches read a step", read[1] / 1e6, "MB, the filled columns"),
            spread("memory bandwidth beside the steps", bandwidths, "GB/s", 1e-9),
            spread("matrix product beside the steps", rates, "GF/s", 1e-9),
            Figure("floor of a step", 1e3 * floor, "ms, the larger of bytes by bandwidth and arithmetic by rate"),
            Figure("step by its floor", by_floor, f"times; bar {FLOOR_BAR}: {bar(by_floor, FLOOR_BAR)}"),
            spread("step of one image alone", alone, "ms", 1e3),
            spread("step of one image alone by XLA alone", plain_alone, "ms", 1e3),
            Figure("one image's step by that", share_alone, f"times; bar {SHARE_BAR}: {bar(share_alone, SHARE_BAR)}"),
            Figure(f"one image of {IMAGE_TRIPLES} triples", image, "s"),
        ],
        json,
    )


if __name__ == "__main__":
    run_script(main)
