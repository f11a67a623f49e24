"""Times the steps of the 401 M model's sampler in bfloat16, and attention alone as a step does it,
in two ways.

    python benchmarks/accelerator_sampling.py [--seconds 120 --json FILE]

A step must read the decoders' weights, the filled columns of the caches and the encoder's keys and
values: the time that the device's memory needs for these, the mean over a chunk, is the floor.
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from accelerator_device import Clock, large_config, limits
from machine import Figure, Record, queued_seconds, spread
from random_network import prefer_long_lists, random_params
from roofline import Device, columns_bytes, filled_columns, sampling_bytes, sampling_seconds, tokens_of
from sampling import parameter_bytes

from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dct.network import network
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import Span, sample_chunk
from dct_jax.nn.attention import KeysValues, attend_step

STEPS, GRAPH, PLAIN, FUSED = "steps", "steps as a graph", "plain attention", "fused attention"

SCHEDULE = [
    *((STEPS, 64), (PLAIN, 64), (FUSED, 64), (STEPS, 16), (STEPS, 1)),
    *((GRAPH, 64), (PLAIN, 16), (FUSED, 16), (PLAIN, 1), (FUSED, 1), (GRAPH, 1)),
]
"""What is measured at which number of lists: the bar's first, what only helps to decide last."""

LOOP_AS_GRAPH: dict[str, str | bool] = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL,WHILE"
}
"""Has XLA record the whole loop as one CUDA graph, loop included, so that no kernel of it is
started by the host. By default XLA records what lies between loops and conditions only."""

Implementation = Literal["cudnn", "xla"]
"""Implementations of JAX's attention."""

BAR = 0.7, 64
"""The share of the floor in a step, at that number of lists."""


def step_figures(config: DCTConfig, params: Any, device: Device, batch: int, options: dict[str, str | bool]) -> list[Figure]:
    """Compiles the sampler, with some of XLA's options, and times the steps of a first chunk, in
    which no list ends."""
    model, size = network(config), config.model.chunk_size
    keys = jax.random.split(jax.random.key(1), batch)
    chunk, row = jax.device_put(ChunkReader(config).example(batch)), np.ones(batch, np.int32)

    def span(until: int) -> Span:
        return Span(0 * row, until * row, 0 * row)

    start = time.perf_counter()
    lowered = sample_chunk.lower(model, False, Policy(), params, chunk, keys, span(0))
    traced = time.perf_counter()
    program = lowered.compile(options)
    compiled = time.perf_counter()

    def seconds(until: int) -> float:
        start = time.perf_counter()
        sampled = program(Policy(), params, chunk, keys, span(until))
        lengths = np.asarray((sampled.channels < model.vocabulary.stop).sum(axis=1))  # [B]
        took = time.perf_counter() - start
        if not np.all(lengths == until):
            raise ArithmeticError(f"the lists have {lengths.min()} to {lengths.max()} triples; each must have {until}")
        return took

    seconds(1)
    start_seconds = statistics.median(seconds(0) for _ in range(3))
    steps = [(seconds(size) - start_seconds) / size for _ in range(3)]
    step = statistics.median(steps)
    tokens, weights = tokens_of(config.model, model.vocabulary), parameter_bytes(params)
    floor = sampling_bytes(config.model, tokens, weights, batch) / device.bandwidth
    predicted = sampling_seconds(device, config.model, tokens, weights, batch)
    bar, at = BAR
    judged = f" (bar {100 * bar:.0f}: {'met' if floor / step >= bar else 'MISSED'})" if batch == at else ""
    name = f"batch {batch}{', as a graph' if options else ''}"
    return [
        Figure(f"{name}: tracing and lowering", traced - start, "s"),
        Figure(f"{name}: compilation", compiled - traced, "s"),
        Figure(f"{name}: start of a chunk", start_seconds, "s"),
        spread(f"{name}: step", steps, "ms", 1e3, predicted),
        Figure(f"{name}: speed", 1 / step, "steps/s", 1 / predicted),
        Figure(f"{name}: triples", batch / step, "triples/s", batch / predicted),
        Figure(f"{name}: floor of a step", 1e3 * floor, "ms"),
        Figure(f"{name}: share of the memory's bandwidth", 100 * floor / step, f"%{judged}", 100 * floor / predicted),
    ]


def attend_plainly(queries: jax.Array, memory: KeysValues, length: jax.Array) -> jax.Array:
    """Attends as the sampler does: queries [B, H, 1, K], caches [B, H, K, T], of which `length`
    columns are filled."""
    filled = jnp.arange(memory.keys.shape[3]) < length  # [T]
    return attend_step(queries, memory, jnp.broadcast_to(filled, (len(queries), len(filled))))


def attend_fused(queries: jax.Array, memory: KeysValues, length: jax.Array, implementation: Implementation) -> jax.Array:
    """Attends by JAX's attention with lengths: queries [B, 1, H, K], caches [B, T, H, K]."""
    lengths = jnp.full(len(queries), length, jnp.int32)  # [B]
    return jax.nn.dot_product_attention(
        queries, memory.keys, memory.values, key_value_seq_lengths=lengths, implementation=implementation
    )  # [B, 1, H, K]


def fused_implementation() -> Implementation:
    """Returns the implementation of JAX's attention here: cuDNN on NVIDIA GPUs, elsewhere XLA,
    which makes nothing of the lengths."""
    return "cudnn" if jax.devices()[0].device_kind.startswith("NVIDIA") else "xla"


def attention_figures(config: ModelConfig, tokens: int, device: Device, batch: int, fuses: bool) -> list[Figure]:
    """Times attention of a step in all decoder blocks: to the window, partly and wholly filled, and
    to the encoder's tokens."""
    heads, size = config.heads, config.width // config.heads
    blocks = len(config.channel_decoder) + len(config.position_decoder) + len(config.value_decoder)
    way = fused_implementation() if fuses else "plain"
    attention = partial(attend_fused, implementation=fused_implementation()) if fuses else attend_plainly

    @jax.jit
    def all_blocks(queries: jax.Array, caches: list[KeysValues], length: jax.Array) -> jax.Array:
        for cache in caches:
            queries = attention(queries, cache, length)
        return queries

    queries = jax.random.normal(jax.random.key(0), (batch, 1, heads, size) if fuses else (batch, heads, 1, size), jnp.bfloat16)
    filled, figures = round(filled_columns(config)), []
    for what, columns, lengths in (("window", config.window, (filled, config.window)), ("encoding", tokens, (tokens,))):
        shape = (batch, columns, heads, size) if fuses else (batch, heads, size, columns)
        keys = jax.random.split(jax.random.key(1), (blocks, 2))
        caches = [KeysValues(*(jax.random.normal(key, shape, jnp.bfloat16) for key in pair)) for pair in keys]
        for length in lengths:
            seconds = queued_seconds(partial(all_blocks, queries, caches, jnp.int32(length)), 20)
            read = columns_bytes(config, batch, length) / device.bandwidth
            name = f"batch {batch}: attention to {length} of {columns} columns of the {what}, {way}"
            figures.append(Figure(name, 1e3 * seconds, "ms", 1e3 * read))
    return figures


def main(seconds: float = 120, tiny: bool = False, json: Path | None = None) -> int:
    """Times the sampler.

    Args:
        seconds: that all may take; what does not fit into what is left is not begun.
        tiny: of the debug experiment, with two lists.
        json: where to write the figures.
    """
    record = Record(json)
    clock, config = Clock(record, seconds), large_config(tiny)
    device, model = limits(record, tiny), network(config)
    tokens = tokens_of(config.model, model.vocabulary)
    # As `TrainedModel.with_dtype` has them.
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), prefer_long_lists(model, random_params(config), 100.0))

    def measure(what: str, batch: int) -> list[Figure]:
        if what in (PLAIN, FUSED):
            return attention_figures(config.model, tokens, device, batch, what == FUSED)
        return step_figures(config, params, device, batch, LOOP_AS_GRAPH if what == GRAPH else {})

    took = dict.fromkeys((STEPS, GRAPH, PLAIN, FUSED), 0.0)
    for what, batch in [(STEPS, 2), (PLAIN, 2), (FUSED, 2)] if tiny else SCHEDULE:
        if what == GRAPH and fused_implementation() != "cudnn":
            continue  # graphs are CUDA's
        if clock.has_time(f"batch {batch}: {what}", took[what] or took[STEPS]):
            start = time.perf_counter()
            with record.attempt(f"batch {batch}: {what}"):
                record.add(*measure(what, batch))
            took[what] = time.perf_counter() - start
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
