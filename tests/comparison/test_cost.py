"""Times are medians, memory is that of one process, and a child says how it ends."""

import functools
import importlib
import os
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from dct_jax.commands import compare
from dct_jax.comparison import cost


class Clock:
    """A prior whose samples take 3 s together and 2 s each, and by turns 100, 9, 0 and 1 s more."""

    block_size, now = 1, 0.0
    variables = MappingProxyType({"params": np.zeros((2, 3))})
    settings = MappingProxyType({"temperature": 1.0})

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()

    def sample_pictures(self, num: int, seed: int, labels: Any, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        assert num == batch_size
        self.calls[num] += 1
        self.now += 3 + 2 * num + (0, 100, 9, 0, 1)[self.calls[num]]
        yield 0, np.zeros(1)

    def with_settings(self, settings: Any) -> "Clock":
        return self

    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def guided_pictures(self, *_: Any) -> None:
        return None


def test_times_are_medians_after_a_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Any = Clock()
    monkeypatch.setattr(cost, "TOGETHER", 8)
    monkeypatch.setattr(cost, "CALLS", 3)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock.now)
    found = cost.measure_cost(clock, 0)
    assert (found.seconds_alone, found.seconds_together, found.elements_per_second) == (3 + 2 + 1, (3 + 16 + 1) / 8, None)
    assert (found.parameters, found.inner_parameters, found.together) == (6, None, 8)


@pytest.mark.slow
def test_a_child_has_its_own_memory_and_end() -> None:
    np.ones(2**28 // 8).sum()  # 256 MiB
    ours = cost.read_peak_memory()
    assert ours == pytest.approx(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, rel=0.1)
    theirs = compare.in_child(cost.read_peak_memory)
    assert ours is not None and theirs is not None and 2**26 < theirs < ours - 2**27
    with pytest.raises(ValueError, match="the process that measures it was killed by signal 9; perhaps there was too little"):
        compare.in_child(functools.partial(signal.raise_signal, signal.SIGKILL))
    with pytest.raises(ValueError, match="the process that measures it failed"):
        compare.in_child(functools.partial(os._exit, 3))
    with pytest.raises(ValueError, match="invalid literal"):
        compare.in_child(functools.partial(int, "x"))
    with pytest.raises(ModuleNotFoundError) as found:
        compare.in_child(functools.partial(importlib.import_module, "missing_module"))
    assert found.value.name == "missing_module"  # by which the command says what to install
