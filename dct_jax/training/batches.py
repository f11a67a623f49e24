"""Programs on many rows, some at a time, for what is computed outside of training's steps."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

MOST_ROWS, MOST_PIXELS = 64, 2**20


def pictures_at_a_time(number: int, height: int, width: int) -> int:
    """Returns how many of N pictures of H x W pixels a network takes at once, so that its features
    fit into a device's memory: MOST_ROWS, or fewer that have MOST_PIXELS in all; at least 1."""
    return max(1, min(MOST_ROWS, MOST_PIXELS // (height * width), number))


def split(numbers: range, size: int) -> Iterator[range]:
    """Yields parts of a range, of `size` numbers each but the last."""
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


def mean_in_batches(program: Callable[[Any], dict[str, Any]], rows: Any, size: int) -> dict[str, float]:
    """Returns the means over rows of what a program says of each, [size] by name. Arguments are
    those of `run_in_batches`."""
    parts = list(run_in_batches(program, rows, size))
    return {name: float(np.concatenate([part[name] for part in parts]).mean(dtype=np.float64)) for name in parts[0]}


def run_in_batches(program: Callable[[Any], Any], rows: Any, size: int) -> Iterator[Any]:
    """Runs a program on rows, batch by batch. The last batch is filled up, so one program serves
    all.

    Args:
        program: takes a tree of arrays [size, ...] and returns one.
        rows: a tree of NumPy arrays [N, ...].
        size: rows of a batch, 1 or more; the program sees so many, even if N is smaller.

    Yields:
        A tree of NumPy arrays [n, ...], the program's results of the next n rows.
    """
    number = len(jax.tree.leaves(rows)[0])
    for first in range(0, number, size):
        count = min(size, number - first)
        batch = jax.tree.map(lambda x, first=first: np.resize(x[first : first + size], (size, *x.shape[1:])), rows)
        yield jax.tree.map(lambda x, count=count: np.asarray(x)[:count], program(batch))
