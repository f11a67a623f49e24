"""Times the compilation of experiments' programs, and accounts for their memory. Only the
initialisation is run.

    python benchmarks/compile.py [EXPERIMENT ...] [--chunks 1 --samples 16 --json FILE]

A device needs the parameters, the optimiser's numbers, and what XLA plans for a training step
beside these: the gradients, and more for every chunk that it does at once. A sampler needs the
parameters, on CPUs the decoders' kernels once more, and its caches. XLA's plan is that of this
machine's backend; others differ.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import tyro
from machine import Figure, machine_figures, report

from dct_jax.commands.ending import run_script
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import DCTransformer, log_likelihood, network
from dct_jax.dct.network.transformer import Logits
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.dct.sampling.sampler import Span, sample_chunk
from dct_jax.dct.stage import init_state, train_step
from dct_jax.distributed.parallel import parallel
from dct_jax.experiment import load_experiment
from dct_jax.nn.initial import initial_params

BARS = {"landscapes": 60, "lsun_bedrooms": 180}
"""Seconds for the training step and the sampler together."""


def size_of(tree: Any) -> int:
    """Returns the bytes of arrays or of their shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def time_making(make: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds of `make`, and what it makes: a compiled program."""
    start = time.perf_counter()
    program = make()
    return time.perf_counter() - start, program


def shapes_of(config: DCTConfig, rows: int) -> Any:
    """Returns a batch of so many chunks, as shapes."""
    one = jax.eval_shape(lambda: ChunkReader(config).example())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), one)


def kept_bytes(model: DCTransformer, rematerialise: bool, params: Any, batch: Any) -> int:
    """Returns the bytes of a batch that the forward pass leaves for the backward pass, if XLA
    repeats no work by itself.

    For CPUs XLA plans as much memory with rematerialisation as without (JAX 0.10), so its plan
    cannot tell.
    """
    model = DCTransformer(model.vocabulary, dataclasses.replace(model.config, rematerialise=rematerialise))

    def backward(params: Any, batch: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = cast(Logits, model.apply(params, batch, rngs={"dropout": jax.random.key(0)}))
            channel, position, value = (x.sum() for x in log_likelihood(logits, batch, model.vocabulary))
            return -(channel + position + value)

        return jax.vjp(loss, params)[1]

    twice = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2 * len(x), *x.shape[1:]), x.dtype), batch)
    return size_of(jax.eval_shape(backward, params, twice)) - size_of(jax.eval_shape(backward, params, batch))


def measure(name: str, chunks: int, samples: int) -> list[Figure]:
    """Measures one experiment; returns its rows."""
    config = load_experiment(name, DCTConfig)
    model, optimizer, devices = network(config), config.build().optimizer, jax.local_devices()[:1]
    batch, sample_batch = shapes_of(config, chunks), shapes_of(config, samples)
    initial, _ = time_making(lambda: jax.block_until_ready(initial_params(model, ChunkReader(config).example(), seed=0)))
    state = jax.eval_shape(lambda batch: init_state(model, optimizer, batch, seed=0), batch)
    shards = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), batch)

    program = parallel(partial(train_step, model, optimizer, seed=0), devices, donate_first=True)
    step_seconds, step = time_making(lambda: program.lower(state, shards).compile())
    numbers = jax.ShapeDtypeStruct((samples,), jnp.int32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), samples))
    span = Span(numbers, numbers, numbers)
    sampler_seconds, _ = time_making(
        lambda: sample_chunk.lower(model, False, Policy(), state.variables, sample_batch, keys, span).compile()
    )
    memory = jax.eval_shape(partial(prefill, model), state.variables, sample_batch)
    together = step_seconds + sampler_seconds
    bar = f" (bar {BARS[name]}: {'met' if together <= BARS[name] else 'MISSED'})" if name in BARS else ""
    return [
        Figure(f"{name}: parameters", size_of(state.variables) // 4),
        Figure(f"{name}: initialisation, run", initial, "s"),
        Figure(f"{name}: compilation of the training step", step_seconds, "s"),
        Figure(f"{name}: compilation of the sampler", sampler_seconds, "s"),
        Figure(f"{name}: compilation of step and sampler", together, f"s{bar}"),
        Figure(f"{name}: parameters in memory", size_of(state.variables) / 1e9, "GB"),
        Figure(f"{name}: the optimiser's state", size_of(state.optimizer) / 1e9, "GB"),
        Figure(f"{name}: a step beside these, {chunks} chunks", step.memory_analysis().temp_size_in_bytes / 1e9, "GB"),
        *(
            Figure(f"{name}: kept for the backward pass, {how}", kept_bytes(model, again, state.variables, batch) / 1e9, "GB")
            for how, again in (("all", False), ("rematerialised", True))
        ),
        Figure(f"{name}: a sampler's caches, {samples} lists", size_of((memory.caches, memory.encoding)) / 1e9, "GB"),
    ]


def main(
    experiments: Annotated[tuple[str, ...], tyro.conf.Positional] = ("landscapes", "lsun_bedrooms"),
    chunks: int = 1,
    samples: int = 16,
    json: Path | None = None,
) -> None:
    """Compiles, and counts bytes.

    Args:
        experiments: names or files.
        chunks: that a device does at once in training.
        samples: that grow at a time.
        json: where to write the figures.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    rows = [row for name in experiments for row in measure(name, chunks, samples)]
    report([*machine_figures(), *rows], json)


if __name__ == "__main__":
    run_script(main)
