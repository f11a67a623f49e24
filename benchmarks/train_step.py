"""Times one training step of the reference network on one device, and the machine's matrix products beside it.

    python benchmarks/train_step.py [--batch-size 2 --repeats 5 --json FILE]

The bars: half of the rate of plain XLA matrix products, and 800 triples/s where these reach 400 GF/s.
"""

import itertools
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from machine import Figure, machine_figures, matmul_rate, peak_memory, random_list, reference_model, report, spread, timings

from dct_jax.config import TrainingConfig
from dct_jax.data.chunks import Chunk, make_chunks
from dct_jax.model import DCTransformer
from dct_jax.parallel import parallel, place, replicate
from dct_jax.training.step import StepMetrics, init_state, make_optimizer, train_step

SHARE_BAR = 0.5
"""The model's arithmetic by what matrix products reach."""

SPEED_BAR = 2.0
"""Triples/s for each GF/s of matrix products: 800 triples/s at 400 GF/s."""


def make_batch(model: DCTransformer, size: int) -> Chunk:
    """Chunks 0 and 1 of random lists of 2000 triples, in turn: every target element is a triple."""
    rng, config = np.random.default_rng(0), model.config
    lists = [random_list(rng, 2000) for _ in range(size)]
    indices = [i % 2 for i in range(size)]
    batch = make_chunks(lists, indices, [0] * size, model.vocabulary, config.chunk_size, config.overlap)
    targets = batch.is_target.sum(axis=1)  # [B]
    assert np.all(targets == config.chunk_size), f"the chunks have {targets} targets; each must have {config.chunk_size}"
    return batch


def step_flops(model: DCTransformer, params: Any, batch: int) -> float:
    """Floating-point operations of a step's matrix products, forward and backward, without what rematerialisation adds.

    6 a weight and row that it acts on: W window rows, but T encoder tokens in the encoder and for the keys and values of
    cross-attention. 12 D a pair of query and key, of which causal self-attention has half.
    """
    config, vocabulary = model.config, model.vocabulary
    window = config.window  # W
    tokens = int(np.prod([-(-side // config.encoder_stride) for side in vocabulary.grid]))  # T
    products = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.endswith("kernel"):
            continue  # embeddings are looked up; biases and norms are no products
        reads_encoding = "cross_attention/key_value" in name or name.startswith("params/encoder/")
        products += 6 * leaf.size * (tokens if reads_encoding else window)
    decoder_blocks = len(config.channel_decoder) + len(config.position_decoder) + len(config.value_decoder)
    pairs = len(config.encoder) * tokens**2 + decoder_blocks * (window**2 / 2 + window * tokens)
    return float(batch * (products + 12 * config.width * pairs))


def main(batch_size: int = 2, repeats: int = 5, json: Path | None = None) -> None:
    """Times a training step of the reference network.

    Args:
        batch_size: chunks in the step.
        repeats: timed steps, after two that are not timed.
        json: where to write the figures.
    """
    model, optimizer = reference_model(), make_optimizer(TrainingConfig(batch_size=batch_size))
    batch = make_batch(model, batch_size)
    devices = jax.local_devices()[:1]
    state = replicate(init_state(model, optimizer, batch, seed=0), devices)
    flops = step_flops(model, state.params, batch_size)
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    step = parallel(partial(train_step, model, optimizer, seed=0), devices, donate_first=True)
    shards = place(batch, devices)

    def take_step() -> StepMetrics:
        nonlocal state  # the step overwrites it
        state, metrics = step(state, shards)
        return metrics

    timings(take_step, 2)
    # The machine's speed varies from one second to the next: each step is compared with the products around it.
    rates, seconds = [matmul_rate()], []
    for _ in range(repeats):
        seconds += timings(take_step, 1)
        rates.append(matmul_rate())
    beside = [(before + after) / 2 for before, after in itertools.pairwise(rates)]

    nats = sum(jax.device_get(take_step().nats))
    assert np.isfinite(nats), f"the loss is {nats} after {repeats + 3} steps; these timings are of a broken run"
    triples = int(batch.is_target.sum())
    by_rate = [triples / t / (rate / 1e9) for t, rate in zip(seconds, beside)]
    share = [flops / t / rate for t, rate in zip(seconds, beside)]
    peak = peak_memory()
    report(
        [
            *machine_figures(),
            peak,
            Figure("parameters", parameters),
            Figure("batch", batch_size, f"chunks of {model.config.chunk_size} triples, windows of {model.config.window} rows"),
            spread("step", seconds, "s"),
            spread("speed", [triples / t for t in seconds], "triples/s"),
            spread("matrix product beside the steps", rates, "GF/s", 1e-9),
            Figure("model arithmetic", flops / 1e9, "GF a step"),
            spread("model arithmetic rate", [flops / t for t in seconds], "GF/s", 1e-9),
            spread("share of matrix product", share, "%", 100),
            Figure(f"bar of {100 * SHARE_BAR:.0f} %", "met" if statistics.median(share) >= SHARE_BAR else "MISSED"),
            spread("speed by matrix product", by_rate, "triples/s per GF/s"),
            Figure(f"bar of {SPEED_BAR}", "met" if statistics.median(by_rate) >= SPEED_BAR else "MISSED"),
        ],
        json,
    )


if __name__ == "__main__":
    tyro.cli(main)
