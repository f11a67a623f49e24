"""Reads lists that range coders wrote, some side by side in the model.

Two batches are under way at a time: while the device works on one, a range coder works on the
other.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import extend
from dct_jax.dct.compression.steps import Walker

BATCHES = 2
"""So many batches are under way at a time."""


class SymbolReader(Protocol):
    """What reads the symbols that one range coder wrote."""

    def read(self, told: np.ndarray) -> int | None:
        """Reads a symbol, given what a `Walker` tells of it. Returns None if there is none."""


@dataclass(eq=False)
class Reading:
    """Lists that one range coder wrote: symbol by symbol, and each symbol list by list.

    Attributes:
        file, group: the number of the file, and which of its groups this is.
        reader: reads the symbols.
        lists: as far as they are known; first without triples.
        label: their class.
        growing: the numbers of the lists that have not ended.
        failed: whether a symbol was impossible.
    """

    file: int
    group: int
    reader: SymbolReader
    lists: list[SparseDCT]
    label: int
    growing: list[int] = field(init=False)
    failed: bool = False

    def __post_init__(self) -> None:
        self.growing = list(range(len(self.lists)))

    @property
    def is_done(self) -> bool:
        """Tells whether nothing is left to read."""
        return self.failed or not self.growing


def read_lists(walker: Walker, rows: int, waiting: Iterator[Reading]) -> Iterator[Reading]:
    """Leads lists through the model, BATCHES batches at a time. Lists that end make room for the
    next.

    Args:
        walker: tells the readers what they need.
        rows: of a batch, so many are used. No reading has more lists.
        waiting: each is taken when there is room for it.

    Yields:
        Readings that are done.
    """
    running: deque[Future[list[Reading]]] = deque()
    staying: list[Reading] = []
    held: deque[Reading] = deque()
    with ThreadPoolExecutor(BATCHES) as pool:
        while True:
            while len(running) < BATCHES:
                if not (batch := _fill(staying, rows, held, waiting)):
                    break
                staying = []
                running.append(pool.submit(_read_chunk, walker, batch))
            if not running:
                return
            for one in running.popleft().result():
                if one.is_done:
                    yield one
                else:
                    staying.append(one)


def _fill(batch: list[Reading], rows: int, held: deque[Reading], waiting: Iterator[Reading]) -> list[Reading]:
    """Fills a batch up to so many lists. The first for which there is no room is held back."""
    batch, room = list(batch), rows - sum(len(one.growing) for one in batch)
    while True:
        if not held and (one := next(waiting, None)):
            held.append(one)
        if not held or len(held[0].growing) > room:
            return batch
        batch.append(held.popleft())
        room -= len(batch[-1].growing)


def _read_chunk(walker: Walker, batch: list[Reading]) -> list[Reading]:
    """Reads a chunk of each list."""
    with jax.enable_x64(walker.model.config.dtype == "float64"):
        return _read_symbols(walker, batch)


def _read_symbols(walker: Walker, batch: list[Reading]) -> list[Reading]:
    vocabulary, size = walker.model.vocabulary, walker.model.config.chunk_size
    rows = [_Row(one, i, one.lists[i]) for one in batch for i in one.growing]
    walk = walker.walk(*zip(*((row.sparse, len(row.sparse) // size, row.reading.label) for row in rows)))
    growing, last = list(enumerate(rows)), np.zeros(walker.rows, np.int32)  # [R]
    output = next(walk)
    for step in range(3 * size):
        told = np.asarray(output)  # [R, ...]
        for i, row in growing:
            symbol = None if row.reading.failed else row.reading.reader.read(told[i])
            if symbol is None:
                row.reading.failed = True
            elif step % 3 == 0 and symbol == vocabulary.stop:
                row.reading.growing.remove(row.number)
            else:
                row.symbols.append(symbol)
                last[i] = symbol
        growing = [(i, row) for i, row in growing if row.number in row.reading.growing and not row.reading.failed]
        if not growing:
            break
        if step + 1 < 3 * size:
            output = walk.send(last)
    for row in rows:
        whole = len(row.symbols) // 3 * 3
        triples = np.array(row.symbols[:whole], np.int32).reshape(-1, 3) - [0, 0, vocabulary.largest_value]
        channels, positions, values = triples.T.astype(np.int32)
        row.reading.lists[row.number] = extend(row.sparse, channels, positions, values, vocabulary.grid)
    return batch


@dataclass(eq=False)
class _Row:
    """A list of a batch, and its symbols of this chunk."""

    reading: Reading
    number: int
    sparse: SparseDCT
    symbols: list[int] = field(default_factory=list)
