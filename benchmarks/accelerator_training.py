"""Times the training step of the 401 M model, in bfloat16, with as many chunks at once as this
device's memory holds.

    python benchmarks/accelerator_training.py [--rematerialise --seconds 180 --json FILE]

Its figure is the model FLOP utilisation (MFU): the arithmetic of the model's products, without what
rematerialisation adds, by time and by the device's peak (Chowdhery et al., 2022).
"""

import dataclasses
import gc
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from accelerator_device import OPTIMIZER, Clock, bytes_limit, large_config, limits, peak_bytes
from machine import Figure, Record, spread, timings
from random_network import random_batch, random_params
from roofline import STATE_BYTES, Device, tokens_of, training_bytes, training_seconds
from train_step import step_flops

from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import network
from dct_jax.dct.stage import train_step
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Metrics, TrainState

STEPS = 8
"""Steps that are timed."""

BAR = 0.45
"""MFU of the best number of chunks, without rematerialisation."""


class DoesNotFit(Exception):
    """The device's memory does not hold so many chunks."""


class StepTime(NamedTuple):
    """The time of a step with some number of chunks.

    Attributes:
        figures: for the table.
        planned: bytes that XLA plans for it, all in all.
        utilisation: the MFU, a share.
    """

    figures: list[Figure]
    planned: float
    utilisation: float


def time_step(config: DCTConfig, params: Any, device: Device, batch: int) -> StepTime:
    """Compiles and times the step with so many chunks at once. Everything on the device is given
    back.

    Raises:
        DoesNotFit: if XLA plans more memory than there is, or finds less.
    """
    try:
        return _time_step(config, params, device, batch)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
    # Not inside the handler: there the error still holds on to the call's arrays.
    raise DoesNotFit(f"out of memory; the device has {bytes_limit() / 1e9:.0f} GB")


def _time_step(config: DCTConfig, params: Any, device: Device, batch: int) -> StepTime:
    model, optimizer = network(config), make_optimizer(OPTIMIZER)
    devices = jax.local_devices()[:1]
    name = f"{batch} chunks{', rematerialised' if config.model.rematerialise else ''}"
    shards = place(random_batch(config, batch), devices)
    on_device = jax.tree.map(jnp.asarray, params)
    state = replicate(TrainState(jnp.int32(0), on_device, optimizer.init(on_device)), devices)
    del on_device  # `replicate` may have copied

    start = time.perf_counter()
    lowered = parallel(partial(train_step, model, optimizer, seed=0), devices, donate_first=True).lower(state, shards)
    traced = time.perf_counter()
    step = lowered.compile()
    compiled = time.perf_counter()
    planned = planned_bytes(step.memory_analysis())
    if planned > bytes_limit():
        raise DoesNotFit(f"XLA plans {planned / 1e9:.1f} GB; the device has {bytes_limit() / 1e9:.0f} GB")

    def take_step() -> Metrics:
        nonlocal state  # the step overwrites it
        state, metrics = step(state, shards)
        return metrics

    timings(take_step, 2)
    seconds = timings(take_step, STEPS)
    nats = float(take_step().means["nats_per_triple/total"].sum)
    if not nats > 0:
        raise ArithmeticError(f"the loss is {nats} after {STEPS + 3} steps; these timings are of a broken run")
    parameters = sum(x.size for x in jax.tree.leaves(params))
    flops, tokens = step_flops(model, params, batch), tokens_of(config.model, model.vocabulary)
    predicted = training_seconds(device, config.model, tokens, flops, parameters, batch, config.model.rematerialise)
    needed = None if config.model.rematerialise else training_bytes(config.model, tokens, parameters, batch) / 1e9
    triples, peak = batch * config.model.chunk_size, peak_bytes()
    utilisation = [flops / t / device.flops for t in seconds]
    figures = [
        Figure(f"{name}: tracing and lowering", traced - start, "s"),
        Figure(f"{name}: compilation", compiled - traced, "s"),
        spread(f"{name}: step", seconds, "s", predicted=predicted),
        Figure(f"{name}: arithmetic", flops / 1e12, "TF"),
        spread(f"{name}: MFU", utilisation, "%", 100, flops / predicted / device.flops),
        Figure(f"{name}: speed", triples / statistics.median(seconds), "triples/s", triples / predicted),
        Figure(f"{name}: memory that XLA plans", planned / 1e9, "GB", needed),
        Figure(f"{name}: peak memory so far", "not told by this device" if peak is None else peak / 1e9, "GB" if peak else ""),
    ]
    return StepTime(figures, planned, statistics.median(utilisation))


def planned_bytes(plan: Any) -> float:
    """Returns the bytes of XLA's plan for a program and its arrays, from JAX's `memory_analysis`; 0
    if the device's compiler tells none."""
    if plan is None:
        return 0.0
    # What is overwritten is both an argument and a result.
    return plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes


def sizes(first: int, last: int, fits: dict[int, bool]) -> int | None:
    """Returns the next number of chunks to try, given which fit: doubled up to what does not, or
    halved down to what does."""
    if not fits:
        return first
    if fits[first]:
        largest = max(fits)
        return 2 * largest if fits[largest] and 2 * largest <= last else None
    smallest = min(fits)
    return smallest // 2 if not fits[smallest] and smallest > 1 else None


def main(seconds: float = 180, rematerialise: bool = False, tiny: bool = False, json: Path | None = None) -> int:
    """Times the training step.

    Args:
        seconds: that all may take; a size that does not fit into what is left is not begun.
        rematerialise: whether the backward pass computes again what is inside of a block.
        tiny: of the debug experiment, and a single size.
        json: where to write the figures.
    """
    record = Record(json)
    clock, config = Clock(record, seconds), large_config(tiny)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, rematerialise=rematerialise))
    device = limits(record, tiny)
    params = random_params(config)
    state = STATE_BYTES * sum(x.size for x in jax.tree.leaves(params))
    first, last = (2, 2) if tiny else (32, 256) if rematerialise else (8, 128)
    fits: dict[int, bool] = {}
    planned, took, best = 0.0, 0.0, 0.0
    while (batch := sizes(first, last, fits)) is not None and clock.has_time(f"{batch} chunks", took):
        start = time.perf_counter()
        with record.attempt(f"{batch} chunks"):
            try:
                # Compiling what cannot fit takes as long as compiling what can.
                if batch > first and (expected := state + 2 * (planned - state)) > 1.1 * bytes_limit():
                    raise DoesNotFit(f"by the plan for half of them it needs {expected / 1e9:.0f} GB")
                figures, planned, utilisation = time_step(config, params, device, batch)
                record.add(*figures)
                best = max(best, utilisation)
                fits[batch] = True
            except DoesNotFit as error:
                record.add(Figure(f"{batch} chunks", f"does not fit: {error}"))
                fits[batch] = False
        if batch not in fits:
            break  # it failed for another reason, as others would
        gc.collect()
        took = time.perf_counter() - start
    if best and not rematerialise:
        record.add(Figure("the best MFU", 100 * best, f"% (bar {100 * BAR:.0f}: {'met' if best >= BAR else 'MISSED'})"))
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
