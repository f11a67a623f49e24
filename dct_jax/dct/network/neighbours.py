"""Finds the coefficients that stand around one: places, from the vocabulary alone.

A coefficient (u, v) of a block has the vertical frequency u and the horizontal frequency v. It
continues what the blocks to its left and right have of the frequency u, and those above and below
of the frequency v. Recompressors of JPEG files use this, too (Lepton: Horn et al., 2017).

Axes: C channels, K neighbours.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dct_jax.codec import Vocabulary
from dct_jax.codec.channel_order import frequencies, zigzag
from dct_jax.codec.color import component_steps

REACH = 8
"""Only frequencies below this are looked at, in each direction."""


class Neighbours(NamedTuple):
    """The neighbours that come before a channel's elements in the list. Tokens have none.

    Attributes:
        channel: int32 [C + 2, K].
        row, column: int32 [C + 2, K], how many blocks below and to the right of the element.
        is_known: bool [C + 2, K]; False where a channel has fewer than K.
    """

    channel: np.ndarray
    row: np.ndarray
    column: np.ndarray
    is_known: np.ndarray


@lru_cache
def neighbours(vocabulary: Vocabulary) -> Neighbours:
    """Returns the neighbours that an element knows: all places of the channels before its own in
    the order, and of its own channel the places before it."""
    rank = vocabulary.rank
    lists = [
        [
            (channel, *place)
            for channel, *place in dict.fromkeys(_around(vocabulary, own))
            if rank[channel] < rank[own] or (channel == own and tuple(place) < (0, 0))
        ]
        for own in range(vocabulary.num_channels)
    ]
    table = np.zeros((4, vocabulary.num_channels + 2, max(map(len, lists))), np.int32)
    for own, ones in enumerate(lists):
        table[:3, own, : len(ones)] = np.reshape(ones, (-1, 3)).T
        table[3, own, : len(ones)] = 1
    return Neighbours(table[0], table[1], table[2], table[3] > 0)


def _around(vocabulary: Vocabulary, own: int) -> Iterator[tuple[int, int, int]]:
    """Yields a channel's neighbours, whether they are known or not: channel, row, column."""
    size, steps = vocabulary.block_size, component_steps(vocabulary.chroma_subsampling)
    component, index = divmod(own, size**2)
    u, v = (int(x[index]) for x in frequencies(size))
    down, right = steps[component]
    for frequency in (*range(min(size, REACH)), u, v):
        along_row, along_column = _channel(size, component, u, frequency), _channel(size, component, frequency, v)
        yield from ((along_row, 0, -right), (along_row, 0, right), (along_row, 0, 0))
        yield from ((along_column, -down, 0), (along_column, down, 0), (along_column, 0, 0))
    yield from ((own, i, j) for i in (-down, down) for j in (-right, right))
    for other in set(range(len(steps))) - {component}:  # the same frequency, of all blocks that are at its place
        rows, columns = steps[other]
        channel = _channel(size, other, u, v)
        yield from ((channel, i, j) for i in range(0, down, rows) for j in range(0, right, columns))


def _channel(size: int, component: int, u: int, v: int) -> int:
    return component * size**2 + int(np.flatnonzero(zigzag(size) == u * size + v)[0])


def low_channels(vocabulary: Vocabulary) -> np.ndarray:
    """Returns the channels whose frequencies are below REACH, int32 [E], by component."""
    row, column = frequencies(vocabulary.block_size)  # [B^2] each
    is_low = np.resize((row < REACH) & (column < REACH), vocabulary.num_channels)  # [C]
    return np.flatnonzero(is_low).astype(np.int32)


def diagonals(vocabulary: Vocabulary) -> np.ndarray:
    """Returns the sum of each channel's two frequencies, int32 [C]."""
    return np.resize(np.add(*frequencies(vocabulary.block_size)), vocabulary.num_channels)
