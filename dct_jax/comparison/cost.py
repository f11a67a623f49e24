"""What a model costs: parameters, training, time of samples, and memory."""

import re
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.comparison.measures import Cost, Training
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.prior import Prior
from dct_jax.training.stage import Trained

TOGETHER, CALLS = 64, 3
"""Samples of a batch, and timed calls, of which the median counts."""


def measure_cost(model: Trained, classes: int) -> Cost:
    """Counts a model's parameters and times its samples. For its memory to say something, the
    process has done nothing else before.

    Args:
        model: of any system; one that samples nothing has no times.
        classes: the samples' classes take turns; 0 for no classes.
    """
    inner = model.inner() if isinstance(model, TrainedCodePrior) else None
    alone = together = rate = None
    if isinstance(model, Prior):
        labels = range(max(classes, 1))
        with compiling_anew():
            alone, _ = _time_samples(model, 1, labels)
            seconds, elements = _time_samples(model, TOGETHER, labels)
        together, rate = seconds / TOGETHER, None if elements is None else elements / seconds
    return Cost(
        parameters=count_parameters(model),
        inner_parameters=count_parameters(inner) if inner else None,
        seconds_alone=alone,
        seconds_together=together,
        together=TOGETHER,
        elements_per_second=rate,
        memory=read_peak_memory(),
        device_memory=(jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    )


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Lets JAX compile programs that the cache on disk has: memory is that of a process which
    compiles, whichever run is the first of its configuration."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # or else it goes on as it began
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()


def count_parameters(model: Trained) -> int:
    """Returns how many numbers of a model gradients have learned, as `train` says at its start."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(model.variables["params"]))


def sample_counted(model: Prior, num: int, seed: int, labels: Sequence[int]) -> int | None:
    """Samples as many pictures at once as there are, with all that is needed to see them. Returns
    how many elements they have; None if the system counts none."""
    match model:
        case TrainedModel():
            lists = model.sample(num, seed, label=labels, batch_size=num)
            for sparse in lists:
                sparse.codec.decode(sparse)
            return sum(map(len, lists))
        case TrainedCodePrior():
            number = 0
            for _, sampled in model.sample_batches(num, seed, labels, num):
                model.decode(sampled.codes)
                number += int((sampled.codes < model.config.num_codes).sum())  # other symbols are holes
            return number
    for _ in model.sample_pictures(num, seed, labels, num):
        pass
    return None


def _time_samples(model: Prior, num: int, labels: Sequence[int]) -> tuple[float, float | None]:
    """Returns the median seconds of CALLS calls that sample so many pictures at once, after one
    that compiles; and the mean number of elements of such a call."""
    sample_counted(model, num, 0, labels)
    seconds, elements = [], []
    for seed in range(1, CALLS + 1):
        start = time.perf_counter()
        elements.append(sample_counted(model, num, seed, labels))
        seconds.append(time.perf_counter() - start)
    known = [number for number in elements if number is not None]
    return statistics.median(seconds), float(np.mean(known)) if known else None


def read_peak_memory() -> int | None:
    """Returns the largest resident memory that this process had so far, in bytes.

    Linux's /proc tells that of the program alone; what `getrusage` tells begins with the memory of
    the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.M)):
        return int(found[1]) * 1024
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes there
    return None


def read_training(records: Sequence[Mapping[str, Any]], batch_size: int) -> Training | None:
    """Adds up how long a run was trained, of its metrics.jsonl; None if that has no steps.

    A line stands at the end of some steps, or at the end of an evaluation, whose time does not
    count. "seconds" begin at 0 again whenever the run goes on, so pauses do not count. (If a run is
    stopped in its first seconds, and its next line comes later, these seconds do not count either.)
    The steps
    between a line and an evaluation have no line of their own; they count as the others do on
    average.

    Args:
        records: the lines, in order.
        batch_size: pictures of a step.
    """
    step = covered = 0
    seconds = before = 0.0
    for record in records:
        now = record["seconds"]
        if "held_out" not in record:
            seconds += now - before if now >= before else now
            covered += record["step"] - step
        step, before = record["step"], now
    return Training(step, seconds * step / covered / 60, step * batch_size) if covered else None
