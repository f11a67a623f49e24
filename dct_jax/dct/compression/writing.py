"""Finds the decisions that write lists, with the parallel pass: who writes knows all symbols, so
the chunks of all lists go through the model side by side.

Axes: B chunks of a batch; O overlap; C chunk; M decisions.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import Chunk, make_chunks, num_chunks
from dct_jax.dct.compression.decisions import depth, path_log_odds, sides_to
from dct_jax.dct.network import DCTransformer
from dct_jax.dct.network.transformer import Logits
from dct_jax.nn.masks import IMPOSSIBLE

BATCH = 8
"""B. Larger batches are no faster on CPUs."""


class Decisions(NamedTuple):
    """Decisions of a list in order, without certain ones."""

    symbols: np.ndarray  # int64 [M], the number of the symbol that each belongs to
    sides: np.ndarray  # int32 [M], 0 for left, 1 for right
    log_odds: np.ndarray  # float64 [M]


@dataclass(frozen=True, eq=False)
class _Job:
    """One chunk of one list."""

    sparse: SparseDCT
    label: int
    index: int


def find_decisions(model: DCTransformer, params: Any, lists: Iterable[tuple[SparseDCT, int]]) -> Iterator[Decisions]:
    """Finds the decisions of lists.

    Args:
        model, params: the network in float64.
        lists: valid lists of the model and their labels; each is taken when it is needed.

    Yields:
        The decisions of each list, in order.
    """
    size = model.config.chunk_size
    jobs = (_Job(sparse, label, i) for sparse, label in lists for i in range(num_chunks(len(sparse), size)))
    parts: list[Decisions] = []
    pending: tuple[list[_Job], tuple[Any, ...]] | None = None
    while True:
        batch = list(itertools.islice(jobs, BATCH))
        started = (batch, _start(model, params, batch)) if batch else None
        if pending:  # while the devices work
            for job, part in zip(pending[0], _take(model, *pending)):
                parts.append(part)
                if job.index == len(job.sparse) // size:
                    yield Decisions(*map(np.concatenate, zip(*parts)))
                    parts = []
        if started is None:
            return
        pending = started


def merge(parts: list[Decisions]) -> Decisions:
    """Merges the decisions of lists that are read side by side: symbol by symbol, and each symbol
    list by list."""
    symbols, sides, log_odds = map(np.concatenate, zip(*parts))
    order = np.argsort(symbols, kind="stable")
    return Decisions(symbols[order], sides[order], log_odds[order])


def _start(model: DCTransformer, params: Any, jobs: list[_Job]) -> tuple[Any, ...]:
    """Sends chunks through the model. Returns their symbols, int32 [B, C, 3], and log-odds."""
    config = model.config
    rows = [*jobs, *[jobs[-1]] * (BATCH - len(jobs))]
    lists, indices, labels = zip(*((job.sparse, job.index, job.label) for job in rows))
    chunk = make_chunks(lists, indices, labels, model.vocabulary, config.chunk_size, config.overlap)
    first = config.overlap + 1
    elements = chunk.channels, chunk.positions, chunk.values + model.vocabulary.largest_value
    symbols = np.stack([x[:, first:] for x in elements], axis=-1)  # [B, C, 3]
    with jax.enable_x64(True):
        return symbols, _log_odds(model, params, chunk, symbols)


@partial(jax.jit, static_argnums=0)
def _log_odds(model: DCTransformer, params: Any, chunk: Chunk[jax.Array], symbols: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the log-odds of the decisions for each symbol, [B, C, D] three times."""
    logits = cast(Logits, model.apply(params, chunk))
    targets = (one[:, model.config.overlap :] for one in logits)  # [B, C, N] each
    return tuple(path_log_odds(one, symbols[..., i]) for i, one in enumerate(targets))


def _take(model: DCTransformer, jobs: list[_Job], results: tuple[Any, ...]) -> Iterator[Decisions]:
    """Yields the decisions of each chunk."""
    symbols, log_odds = results[0], jax.device_get(results[1])
    v = model.vocabulary
    depths = [depth(n) for n in (v.num_channels + 1, v.num_positions, v.num_values)]
    sides = [sides_to(symbols[..., i], d) for i, d in enumerate(depths)]  # [B, C, D] each
    all_odds, all_sides = (np.concatenate(x, axis=-1) for x in (log_odds, sides))  # [B, C, sum of D]
    of_symbol = np.repeat(np.arange(3), depths)  # [sum of D]
    for job, odds, sides_of in zip(jobs, all_odds, all_sides):
        first = job.index * model.config.chunk_size
        number = 3 * np.arange(first, first + len(odds))[:, None] + of_symbol  # [C, sum of D]
        wanted = (number <= 3 * len(job.sparse)) & (np.abs(odds) < -IMPOSSIBLE / 2)
        yield Decisions(number[wanted], sides_of[wanted], odds[wanted])
