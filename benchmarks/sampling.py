"""Times one step of the cached sampler with the reference network, and the memory traffic that it cannot do without.

    python benchmarks/sampling.py [--batch-size 16 --repeats 2 --json FILE]

A step draws one triple of every list and does little arithmetic: what it must do is read the decoders' parameters and the
caches once. The time that the machine's memory would need for that is the floor; the ratio to it is what can be won.
"""

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
    median_seconds,
    memory_bandwidth,
    reference_model,
    report,
    timings,
)

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import Chunk, make_chunks
from dct_jax.model import DCTransformer
from dct_jax.sampling.policy import Policy
from dct_jax.sampling.sampler import SampledChunk, Span, sample_chunk


def empty_chunks(model: DCTransformer, size: int) -> Chunk:
    """Chunk 0 of lists of which nothing is known."""
    config = model.config
    sparse = SparseDCT.empty(IMAGE_SIZE, REFERENCE_CODEC)
    return make_chunks([sparse] * size, [0] * size, [0] * size, model.vocabulary, config.chunk_size, config.overlap)


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


def main(batch_size: int = 16, repeats: int = 2, json: Path | None = None) -> None:
    """Times a step of the sampler with the reference network.

    Args:
        batch_size: lists drawn at once.
        repeats: timed chunks of 896 steps; what comes before them compiles, and takes no step.
        json: where to write the figures.
    """
    model = reference_model()
    chunks = jax.device_put(empty_chunks(model, batch_size))
    params = never_stopping(model, jax.jit(model.init)(jax.random.key(0), chunks))
    keys = jax.random.split(jax.random.key(1), batch_size)
    nothing = jnp.zeros(batch_size, jnp.int32)
    until = nothing + model.config.chunk_size
    span = Span(nothing, until, nothing)

    def draw(finished: bool) -> SampledChunk:
        drawn = sample_chunk(model, False, Policy(), params, chunks, keys, span._replace(until=until * (not finished)))
        lengths = np.asarray((drawn.channels < model.vocabulary.stop).sum(axis=1))  # [B]
        wanted = 0 if finished else model.config.chunk_size
        assert np.all(lengths == wanted), (
            f"the lists got {lengths} triples; each must get {wanted}, or the time is not that of all steps"
        )
        return drawn

    start = time.perf_counter()
    jax.block_until_ready(draw(finished=True))  # the warm-up: it compiles the loop too, but takes none of its steps
    compilation = time.perf_counter() - start
    before = memory_bandwidth()
    steps = model.config.chunk_size
    chunk_timings = timings(lambda: draw(finished=False), repeats)
    chunk_seconds = statistics.median(chunk_timings)
    start_seconds = median_seconds(lambda: draw(finished=True), 3)
    after = memory_bandwidth()

    step_seconds = (chunk_seconds - start_seconds) / steps
    bandwidth = (before + after) / 2
    read = (parameter_bytes(params), cache_bytes(model, batch_size))
    floor = sum(read) / bandwidth
    report(
        [
            *machine_figures(),
            Figure("batch", batch_size, f"lists, {steps} triples of each drawn"),
            Figure("compilation and first start", compilation, "s"),
            Figure("chunk, median", chunk_seconds, "s"),
            Figure("chunk, fastest", min(chunk_timings), "s"),
            Figure("chunk, slowest", max(chunk_timings), "s"),
            Figure("of which encoding and prefill", start_seconds, "s"),
            Figure("step", 1e3 * step_seconds, "ms"),
            Figure("speed", batch_size / step_seconds, "triples/s"),
            Figure("parameters read a step", read[0] / 1e6, "MB"),
            Figure("caches read a step", read[1] / 1e6, "MB"),
            Figure("memory bandwidth before", before / 1e9, "GB/s"),
            Figure("memory bandwidth after", after / 1e9, "GB/s"),
            Figure("step at that bandwidth", 1e3 * floor, "ms (mean of before and after)"),
            Figure("step by that", step_seconds / floor, "times the floor"),
        ],
        json,
    )


if __name__ == "__main__":
    tyro.cli(main)
