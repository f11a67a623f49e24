"""Times training steps with products of float32 and of bfloat16 operands, by turns, and plain
matrix products beside them.

    python benchmarks/train_step.py [--batch-size 2 --repeats 5 --json FILE]

The reference network takes steps with Adam, that of `landscapes` with Muon. The bars: half of the
rate of plain XLA matrix products in float32.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from machine import Figure, machine_figures, matmul_rate, peak_memory, random_list, reference_model, report, spread, timings

from dct_jax.commands.ending import run_script
from dct_jax.config import TrainingConfig
from dct_jax.data.pipeline import Shard, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.stage import init_state, train_step
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.experiment import load_experiment
from dct_jax.nn.modules import is_hidden_matrix
from dct_jax.nn.precision import has_bfloat16_units
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Metrics

Products = Literal["float32", "bfloat16"]
PRODUCTS: tuple[Products, ...] = ("float32", "bfloat16")
"""The types of the operands of products."""

SHARE_BAR = 0.5
"""The model's arithmetic by what matrix products reach, in float32."""


def make_batch(model: DCTransformer, size: int) -> Chunk:
    """Makes chunks 0 and 1 of random lists of 2000 triples, in turn: every target element is a
    triple."""
    rng, config = np.random.default_rng(0), model.config
    lists = [random_list(rng, 2000) for _ in range(size)]
    indices = [i % 2 for i in range(size)]
    batch = make_chunks(lists, indices, [0] * size, model.vocabulary, config.chunk_size, config.overlap)
    targets = batch.is_target.sum(axis=1)  # [B]
    assert np.all(targets == config.chunk_size), f"the chunks have {targets} targets; each must have {config.chunk_size}"
    return batch


def step_flops(model: DCTransformer, params: Any, batch: int) -> float:
    """Returns the floating-point operations of a step's matrix products, forward and backward,
    without what rematerialisation adds.

    6 a weight and row that it acts on: W window rows, but T encoder tokens in the encoder and for
    the keys and values of cross-attention. 12 D a pair of query and key, of which causal
    self-attention has half.
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


class Steps:
    """A network in training, with one kind of products, whose program is compiled."""

    def __init__(self, model: DCTransformer, training: TrainingConfig, batch: Chunk, products: Products) -> None:
        self.model = DCTransformer(model.vocabulary, dataclasses.replace(model.config, products=products))
        optimizer = make_optimizer(training, partial(is_hidden_matrix, self.model, batch))
        devices = jax.local_devices()[:1]
        self.state = replicate(init_state(self.model, optimizer, batch, seed=0), devices)
        self._step = parallel(partial(train_step, self.model, optimizer, seed=0), devices, donate_first=True)
        self._batch = place(batch, devices)
        timings(self.take, 2)

    def take(self) -> Metrics:
        """Takes one step."""
        self.state, metrics = self._step(self.state, self._batch)  # the step overwrites the state
        return metrics


def measure(name: str, forms: Mapping[Products, Steps], batch: Chunk, repeats: int) -> list[Figure]:
    """Measures the forms of one network; returns their rows."""
    model = forms["float32"].model
    # The machine's speed varies from one second to the next: each step is compared with what is
    # around it.
    rates = [matmul_rate()]
    seconds: dict[Products, list[float]] = {products: [] for products in forms}
    for _ in range(repeats):
        for products, steps in forms.items():
            seconds[products] += timings(steps.take, 1)
        rates.append(matmul_rate())
    for products, steps in forms.items():
        nats = float(steps.take().means["nats_per_triple/total"].sum)
        assert np.isfinite(nats), f"the loss is {nats} with products in {products}; these timings are of a broken run"
    beside = [(before + after) / 2 for before, after in itertools.pairwise(rates)]
    flops = step_flops(model, forms["float32"].state.variables, len(batch.chunk_index))
    triples = int(batch.is_target.sum())
    share = [flops / t / rate for t, rate in zip(seconds["float32"], beside)]
    ratio = [mixed / plain for plain, mixed in zip(seconds["float32"], seconds["bfloat16"])]
    return [
        Figure(f"{name}: parameters", sum(x.size for x in jax.tree.leaves(forms["float32"].state.variables))),
        Figure(f"{name}: batch", len(batch.chunk_index), f"chunks of {model.config.chunk_size} triples"),
        Figure(f"{name}: model arithmetic", flops / 1e9, "GF a step"),
        spread(f"{name}: matrix product beside the steps", rates, "GF/s", 1e-9),
        *(spread(f"{name}: step, {products}", times, "s") for products, times in seconds.items()),
        *(
            spread(f"{name}: speed, {products}", [triples / t for t in times], "triples/s")
            for products, times in seconds.items()
        ),
        spread(f"{name}: share of matrix product, float32", share, "%", 100),
        spread(f"{name}: bfloat16 by float32", ratio, "times"),
    ]


def measure_reference(batch_size: int, repeats: int) -> list[Figure]:
    """Measures the reference network, and its memory before anything else takes some."""
    model, training = reference_model(), TrainingConfig()
    batch = make_batch(model, batch_size)
    plain = Steps(model, training, batch, "float32")
    peak = peak_memory("reference: peak memory, float32 alone")
    mixed = Steps(model, training, batch, "bfloat16")
    return [peak, *measure("reference", {"float32": plain, "bfloat16": mixed}, batch, repeats)]


def main(batch_size: int = 2, repeats: int = 5, json: Path | None = None) -> None:
    """Times training steps.

    Args:
        batch_size: chunks in a step of the reference network.
        repeats: timed steps of each form, after two that are not timed.
        json: where to write the figures.
    """
    small, figures = load_experiment("landscapes", DCTConfig), measure_reference(batch_size, repeats)
    training = open_source(small.data.source)
    batches = training_batches(training, small, Skipped(len(training), small.data.max_skipped), 0, Shard(0, 1))
    batch = next(batches)
    forms = {products: Steps(network(small), small.training, batch, products) for products in PRODUCTS}
    figures += measure("landscapes", forms, batch, 3 * repeats)
    units = "yes" if has_bfloat16_units() else "no, so bfloat16 operands stay float32"
    report([*machine_figures(), Figure("units for bfloat16", units), *figures], json)


if __name__ == "__main__":
    run_script(main)
