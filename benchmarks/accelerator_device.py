"""What the parts of accelerator.py share: the large network that they time, and this device's
limits."""

import dataclasses
import math
import sys
import time

import jax
import jax.numpy as jnp
from machine import Figure, Record, queued_seconds
from roofline import Device, device_of

from dct_jax.config import TrainingConfig
from dct_jax.dct.config import DCTConfig
from dct_jax.experiment import load_experiment

OPTIMIZER = TrainingConfig(warmup_steps=0, learning_rate=1e-4)
"""The optimiser of all steps that are timed or compared. A warm-up begins at a learning rate of 0,
which would move nothing."""


class Clock:
    """The time that a part has, shared by things that take about as long as the last one like
    them."""

    def __init__(self, record: Record, seconds: float) -> None:
        self._record, self._end = record, time.perf_counter() + seconds

    def has_time(self, name: str, last: float) -> bool:
        """Returns whether there is time for another one, if the last took so many seconds; if not,
        that is recorded."""
        left = self._end - time.perf_counter()
        if 1.2 * last <= left:
            return True
        self._record.add(Figure(name, f"skipped: the one before took {last:.0f} s, {left:.0f} s are left"))
        return False


def large_config(tiny: bool) -> DCTConfig:
    """Returns the experiment of 401 M parameters, in bfloat16; if `tiny`, the debug experiment with
    its dropout and dtype."""
    large = load_experiment("lsun_bedrooms", DCTConfig)
    if not tiny:
        return large
    debug = load_experiment("debug", DCTConfig)
    return dataclasses.replace(
        debug, model=dataclasses.replace(debug.model, dropout=large.model.dropout, dtype=large.model.dtype)
    )


def limits(record: Record, tiny: bool) -> Device:
    """Records what this kind of device can do by its data sheet, and what plain programs reach now;
    returns the former, or the latter where there is no data sheet. Ends the program on a CPU,
    unless it is `tiny`."""
    kind = jax.devices()[0].device_kind
    if jax.default_backend() == "cpu" and not tiny:
        sys.exit("JAX sees a CPU only, which would take hours: give --tiny, or install JAX for the accelerator")
    measured = Device(matmul_rate(256 if tiny else 8192), memory_bandwidth(2**20 if tiny else 2**31), "measured")
    device = device_of(kind, measured)
    record.add(
        Figure("device", f"{kind}, JAX {jax.__version__}"),
        Figure("peak", device.flops / 1e12, f"TF/s in bfloat16 ({device.source})"),
        Figure("bandwidth", device.bandwidth / 1e9, f"GB/s ({device.source})"),
        Figure("matrix product, bfloat16", measured.flops / 1e12, "TF/s, measured"),
        Figure("streaming read", measured.bandwidth / 1e9, "GB/s, measured"),
    )
    return device


def matmul_rate(size: int) -> float:
    """FLOP/s of a product of bfloat16 matrices, [size, size] each."""
    a, b = (jax.random.normal(key, (size, size), jnp.bfloat16) for key in jax.random.split(jax.random.key(0)))
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / queued_seconds(lambda: product(a, b), 20)


def memory_bandwidth(size: int) -> float:
    """Bytes/s of reading an array of so many bytes once."""
    x = jnp.zeros((1024, size // 4096), jnp.float32) + jax.random.normal(jax.random.key(0), (1024, 1))
    read = jax.jit(lambda x: x.sum(axis=1))
    return x.nbytes / queued_seconds(lambda: read(x), 10)


def bytes_limit() -> float:
    """Returns the bytes that JAX may use of this device's memory; infinite on CPUs, which do not
    tell."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", math.inf)


def peak_bytes() -> int | None:
    """Returns the most bytes that this process had on the device at a time; None if the device does
    not tell."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
