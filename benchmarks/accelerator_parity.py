"""Compares what this device computes with what a CPU computes in float32, from equal numbers and
equal random keys.

    python benchmarks/accelerator_parity.py [--json FILE]

Another process, which has the CPU alone, makes the reference, one case after another. An error is
the norm of the difference by the norm of the reference; the exit code is 1 if one is larger than it
may be. Small models of all systems come last (accelerator_systems.py), as far as there is time.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from accelerator_device import OPTIMIZER, Clock, large_config
from accelerator_sampling import attend_fused, attend_plainly, fused_implementation
from accelerator_systems import DIFFERING, configs, run_system, take_step, with_bfloat16_products
from machine import Figure, Record, random_list
from random_network import prefer_long_lists, random_batch, random_params

from dct_jax.dct.config import DCTConfig, Dtype, ModelConfig
from dct_jax.dct.likelihood import element_log_prob
from dct_jax.dct.network import network
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import Span, sample_chunk
from dct_jax.dct.stage import train_step
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.experiment import load_experiment
from dct_jax.nn.attention import KeysValues, attend
from dct_jax.nn.embedding import rows_of
from dct_jax.storage.files import replacing
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import TrainState

SMALL = ModelConfig(
    width=128,
    heads=2,
    channel_decoder=(1,),
    position_decoder=(1,),
    value_decoder=(1,),
    chunk_size=192,
    overlap=64,
    dropout=0.1,
)
"""Heads of 64, as in the large models."""

Arrays = dict[str, np.ndarray]

ATTENTION = {"plain": (False, False), "causal": (False, True), "hidden keys": (True, False)}
"""Whether keys are hidden, and causality."""

STEP = {"attention, a sampler's step": False, "attention, a step with lengths": True}
"""Whether it is JAX's own attention, which on NVIDIA GPUs is cuDNN's."""

FLOAT32, DEFAULT, BFLOAT16 = "float32", "float32 at default precision", "bfloat16"
"""How a device multiplies: at JAX's highest precision; as the package's float32 models do, in TF32
on NVIDIA GPUs and in bfloat16 on TPUs; and as `model.dtype` bfloat16 does."""

FEW_BITS = {"loss": 2e-3, "gradient norm": 1e-2, "gradient": 0.2, "likelihood": 1e-2, "step": 0.03}
TOLERANCES = {
    FLOAT32: {
        "attention": 2e-5,
        "embedding": 1e-6,
        "loss": 1e-5,
        "gradient norm": 2e-5,
        "gradient": 2e-5,
        "update": 1e-2,
        "likelihood": 1e-5,
        "step": 1e-4,
        "sample": 1e-3,
    },
    DEFAULT: FEW_BITS,
    BFLOAT16: {"attention": 1e-2} | FEW_BITS,
}
"""The largest errors of the worst array of each kind. Rounding is 6e-8 a number in float32, 5e-4 in
TF32 and 4e-3 in bfloat16. Two programs of one CPU that add up in another order differ by 4e-7 in
attention, 8e-7 in the gradient and 9e-5 in the update: Adam's first step moves a parameter by the
gradient's sign, and where the gradient is smaller than its rounding that is chance. So float32 has
25 to 100 times as much. bfloat16 on a CPU differs by 0.3 % in attention, and by 6 % in the gradient
behind a ReLU, which passes or not by the sign of a small number; it has three times as much, and an
update of chance is not compared.

The "step" of a small system is its losses, its whole gradient and its codebook: two programs of one
CPU differ by up to 4e-6, and bfloat16 products by 1 %. Its "sample" is pictures of bytes, of which
some may be rounded to the next level; one other code would differ by 7e-3."""

NATS = 5e-5
"""How much a symbol's log-likelihood may differ on average, in nats: ten roundings of a logit of
about 10."""


def small_config(tiny: bool, dtype: Dtype = "float32") -> DCTConfig:
    """Returns a small network with dropout, which compiles soon."""
    config = large_config(tiny) if tiny else dataclasses.replace(load_experiment("landscapes", DCTConfig), model=SMALL)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))


def attention(name: str, dtype: str, tiny: bool) -> Arrays:
    """Returns the output of `attend` and its gradients, from numbers that bfloat16 has."""
    hides, causal = ATTENTION[name]
    rng, (batch, heads, size) = np.random.default_rng(1), (2, 2, 64)
    length = 16 if tiny else 320  # S = T, more than a tile
    shapes = [(batch, heads, length, size), *[(batch, heads, size, length)] * 2, (batch, heads, length, size)]
    q, k, v, gradient = (jnp.asarray(rng.standard_normal(shape), jnp.bfloat16).astype(dtype) for shape in shapes)
    visible = jnp.asarray(rng.random((batch, length)) < 0.7).at[:, 0].set(True) if hides else None

    @jax.jit
    def both_ways(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, ...]:
        out, backward = jax.vjp(lambda q, k, v: attend(q, KeysValues(k, v), q.dtype, visible, causal), q, k, v)
        return out, *backward(gradient)

    names = ("output", "queries' gradient", "keys' gradient", "values' gradient")
    return dict(zip(names, both_ways(q, k, v)))


def attention_step(lengths: bool, dtype: str, tiny: bool) -> Arrays:
    """Returns what one query a list sees of a cache that is partly filled, as the sampler does it,
    or by JAX's attention with lengths; [B, H, K] both."""
    rng, columns = np.random.default_rng(4), 16 if tiny else 320
    q, k, v = (jnp.asarray(rng.standard_normal((2, 2, *shape)), jnp.bfloat16) for shape in ((1, 64), *[(64, columns)] * 2))
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    filled = jnp.int32(2 * columns // 3)
    if not lengths:
        return {"output": jax.jit(attend_plainly)(q, KeysValues(k, v), filled)[:, :, 0]}
    implementation = fused_implementation() if dtype == "bfloat16" else "xla"
    memory = KeysValues(*(x.transpose(0, 3, 1, 2) for x in (k, v)))  # [B, T, H, K] each
    return {
        "output": jax.jit(partial(attend_fused, implementation=implementation))(q.transpose(0, 2, 1, 3), memory, filled)[:, 0]
    }


def attention_path() -> str:
    """Returns what `attend` goes through here in bfloat16."""
    queries, columns = (jax.ShapeDtypeStruct((2, 2, *shape), jnp.bfloat16) for shape in ((320, 64), (64, 320)))
    program = jax.jit(attend, static_argnums=2).lower(queries, KeysValues._make([columns] * 2), jnp.dtype(jnp.bfloat16))
    return "cuDNN" if "__cudnn" in program.as_text() else "tiles"


def embedding(tiny: bool) -> Arrays:
    """Looks up rows of a table, most of them several times, and the table's gradient."""
    rng, rows = np.random.default_rng(2), 20 if tiny else 500
    table = jnp.asarray(rng.standard_normal((rows, 64)), jnp.float32)  # [N, D]
    index = jnp.asarray(rng.integers(0, rows, (4, 2 * rows)))
    gradient = jnp.asarray(rng.standard_normal((*index.shape, 64)), jnp.float32)
    out, backward = jax.jit(lambda table: jax.vjp(lambda table: rows_of(table, index), table))(table)
    return {"rows": out, "table's gradient": jax.jit(backward)(gradient)[0]}


def step(dtype: Dtype, tiny: bool) -> Arrays:
    """Takes a training step: returns minus log-likelihood by symbol, the gradient, and what Adam
    adds to the parameters."""
    config = small_config(tiny, dtype)
    optimizer = make_optimizer(OPTIMIZER)
    devices, params = jax.local_devices()[:1], random_params(config)
    state = TrainState(jnp.int32(0), params, optimizer.init(jax.tree.map(jnp.asarray, params)))
    program = parallel(partial(train_step, network(config), optimizer, seed=0), devices, donate_first=True)
    after, metrics = program(replicate(state, devices), place(random_batch(config, 2), devices))
    return {
        "loss": np.array([metrics.means[f"nats_per_triple/{name}"].sum for name in ("channel", "position", "value")]),  # [3]
        "gradient norm": np.array(metrics.gradient_norm),
        **_name_arrays("gradient", optax.tree.get(after.optimizer, "mu")),  # Adam's first moment is a tenth of it
        **_name_arrays("update", jax.tree.map(lambda new, old: np.asarray(new) - old, after.variables, params)),
    }


def likelihood(tiny: bool) -> Arrays:
    """Judges given lists: returns the log-likelihood of every symbol, [3, elements]."""
    config, rng = small_config(tiny), np.random.default_rng(6)
    length = 3 * config.model.chunk_size // 2
    lists = [random_list(rng, length, config.codec, config.data.image_size) for _ in range(2)]
    return {"nats": np.concatenate(element_log_prob(network(config), random_params(config), lists, batch_size=4), axis=1)}


def sampler(tiny: bool) -> Arrays:
    """Samples a chunk of several lists."""
    config, batch = small_config(tiny), 4
    model, row = network(config), np.ones(batch, np.int32)
    params = jax.tree.map(jnp.asarray, prefer_long_lists(model, random_params(config), 0.2))
    keys = jax.random.split(jax.random.key(3), batch)
    span = Span(0 * row, config.model.chunk_size * row, 0 * row)
    sampled = sample_chunk(model, False, Policy(), params, ChunkReader(config).example(batch), keys, span)
    triples = np.stack([sampled.channels, sampled.positions, sampled.values], axis=-1)  # [B, C, 3]
    return {"triples": triples, "nats": np.stack(sampled.nats, axis=-1)}  # [B, C, 3]


def cases(tiny: bool) -> dict[str, Callable[[], Arrays]]:
    """Returns what is compared first, all of it in float32."""
    return {
        **{f"attention, {name}": partial(attention, name, "float32", tiny) for name in ATTENTION},
        **{name: partial(attention_step, lengths, "float32", tiny) for name, lengths in STEP.items()},
        "embedding": partial(embedding, tiny),
        "training step": partial(step, "float32", tiny),
        "likelihood": partial(likelihood, tiny),
        "sampler": partial(sampler, tiny),
    }


def systems(tiny: bool) -> dict[str, Callable[[], Arrays]]:
    """Returns a case of each system, or if `tiny`, of the one that is compiled soonest."""
    return {name: partial(run_system, config) for name, config in configs().items() if not tiny or name == "VQ-VAE"}


def write_reference(folder: Path, tiny: bool) -> None:
    """Runs all cases; the file of a case is there when it is whole."""
    with jax.default_matmul_precision("highest"):
        for name, run in (cases(tiny) | systems(tiny)).items():
            arrays = {array: np.asarray(x) for array, x in run().items()}
            with replacing(folder / f"{name}.npz") as path:
                np.savez(path, allow_pickle=False, **arrays)


def difference(ours: Any, theirs: np.ndarray) -> float:
    """Returns the norm of their difference by the reference's norm."""
    theirs = theirs.astype(np.float64)
    return float(np.linalg.norm(np.asarray(ours, np.float64) - theirs) / np.linalg.norm(theirs))


def same_lists(ours: Arrays, theirs: Arrays) -> list[Figure]:
    """Raises AssertionError unless all lists, or all but one, have equal triples, and equal parts
    are equally likely.

    A sampler chooses between two symbols by numbers that may differ by rounding alone; from there
    on the list is another one.
    """
    same = (np.asarray(ours["triples"]) == theirs["triples"]).all(axis=-1)  # [B, C]
    alike = same.cumprod(axis=1).astype(bool)  # [B, C], up to the first difference
    equal = int(alike.all(axis=1).sum())
    if equal < len(same) - 1:
        raise AssertionError(f"{equal} of {len(same)} lists are the same; all are, or all but one")
    error = float(np.abs(np.asarray(ours["nats"]) - theirs["nats"])[alike].mean())
    if not error <= NATS:
        raise AssertionError(f"log-likelihoods differ by {error:.3g} nats a symbol; they may by {NATS:g}")
    triples = int((theirs["nats"][..., 0] != 0).sum())
    return [
        Figure("sampler: lists that are the same", equal, f"of {len(same)}, {triples} triples"),
        Figure("sampler: log-likelihood", error, f"nats a symbol (may be {NATS:g})"),
    ]


def compare(record: Record, name: str, precision: str, ours: Arrays, theirs: Arrays) -> None:
    """Adds a line for each kind of array whose error is bounded: that of the worst one."""
    kind, tolerances = name.partition(",")[0], TOLERANCES[precision]
    errors: dict[str, dict[str, float]] = {}
    for array in ours:
        part = array.partition(":")[0]
        if part in tolerances or kind in tolerances:
            errors.setdefault(part, {})[array] = difference(ours[array], theirs[array])
    for part, by_array in errors.items():
        tolerance, line = tolerances[part if part in tolerances else kind], f"{name}, {precision}: {part}"
        with record.attempt(line):
            worst = max(by_array, key=lambda array: (np.isnan(by_array[array]), by_array[array]))
            where = f" in {worst}" if len(by_array) > 1 else ""
            if not by_array[worst] <= tolerance:
                raise AssertionError(f"its error is {by_array[worst]:.3g}{where}; it may be {tolerance:g}")
            record.add(Figure(line, by_array[worst], f"of its norm{where} (may be {tolerance:g})"))


def compare_all(record: Record, clock: Clock, tiny: bool, reference: Callable[[str], Arrays]) -> None:
    """Runs all cases, in every way of multiplying that makes a difference to the package, as long
    as there is time.

    Args:
        record: of the errors, and of which steps have equal bits when they are taken twice.
        clock: of the part.
        tiny: as of `main`.
        reference: returns the arrays of a case, or raises TimeoutError if they are too late.
    """
    first = cases(tiny)
    runs = [(name, FLOAT32, run) for name, run in first.items()]
    runs += [(f"attention, {name}", BFLOAT16, partial(attention, name, "bfloat16", tiny)) for name in ATTENTION]
    runs += [(name, BFLOAT16, partial(attention_step, lengths, "bfloat16", tiny)) for name, lengths in STEP.items()]
    runs += [("training step", BFLOAT16, partial(step, "bfloat16", tiny))]
    if jax.default_backend() != "cpu":  # which has one float32 only
        runs += [("training step", DEFAULT, partial(step, "float32", tiny)), ("likelihood", DEFAULT, partial(likelihood, tiny))]
    runs += [(name, FLOAT32, run) for name, run in systems(tiny).items()]
    if not tiny:
        runs += [("DCTransformer", BFLOAT16, partial(take_step, with_bfloat16_products(configs()["DCTransformer"])))]
    with record.attempt("attention in bfloat16"):
        record.add(Figure("attention in bfloat16", f"goes through {attention_path()}"))
    took: dict[str, float] = {}
    for name, precision, run in runs:
        line, start = f"{name}, {precision}", time.perf_counter()
        alike = name if name in first else "training step"  # no system takes much longer
        if not clock.has_time(line, took.get(alike, 0)):
            continue
        with record.attempt(line):
            with jax.default_matmul_precision("highest" if precision == FLOAT32 else None):
                ours = {array: np.asarray(x) for array, x in run().items()}
            if DIFFERING in ours:
                bits = f"other bits in {ours[DIFFERING]} arrays" if ours[DIFFERING] else "equal bits"
                record.add(Figure(f"{line}: a step taken twice", bits))
            try:
                theirs = reference(name)
            except TimeoutError as error:
                if name in first:  # without these, nothing is known
                    raise
                record.add(Figure(line, f"skipped: {error}"))
                continue
            if name == "sampler":
                record.add(*same_lists(ours, theirs))
            else:
                compare(record, name, precision, ours, theirs)
        took[alike] = max(took.get(alike, 0), time.perf_counter() - start)


def main(seconds: float = 170, tiny: bool = False, json: Path | None = None, reference: Path | None = None) -> int:
    """Compares this device with the CPU.

    Args:
        seconds: that all may take.
        tiny: at the debug experiment's sizes, and one system.
        json: where to write the figures.
        reference: only run everything on this device, and write the results into this folder.
    """
    if reference:
        write_reference(reference, tiny)
        return 0
    record, deadline = Record(json), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--reference", folder, *(["--tiny"] if tiny else [])]
        process = subprocess.Popen(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})

        def of(name: str) -> Arrays:
            file = Path(folder) / f"{name}.npz"
            while not (has_ended := process.poll() is not None) and not file.exists():
                if time.monotonic() > deadline:
                    raise TimeoutError("the CPU has not made its reference in time")
                time.sleep(0.1)
            if has_ended and not file.exists():
                raise RuntimeError("the process that makes the reference failed")
            with np.load(file) as arrays:
                return dict(arrays)

        try:
            if tiny:
                process.wait(timeout=seconds)  # so that it is one process that compiles, where JAX keeps programs
            compare_all(record, Clock(record, deadline - time.monotonic()), tiny, of)
        finally:
            process.kill()
            process.wait()
    return int(record.failed)


def _name_arrays(what: str, tree: Any) -> Arrays:
    """Returns the arrays of a tree, each by what it is and its place, and the gates, single numbers
    whose gradients are sums of much that cancels, as one array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {f"{what}: {jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for path, leaf in leaves if leaf.ndim}
    return {**arrays, f"{what}: gates": np.array([leaf for _, leaf in leaves if not leaf.ndim])}


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
