"""Makes, from lists of triples, the windows of a fixed shape that the model reads.

A list of L triples has L + 1 elements, the last of which is the stopping token. Chunk k holds
elements kC .. (k+1)C - 1. The model sees what comes before the chunk twice: all of it as a dense,
partial DCT image, and the O elements of the overlap as triples. So that every window has the same
shape, start tokens stand before the list's first element and the stopping token repeats after its
end, both with position and value 0. Only `is_target` says what counts.

Images of one batch may differ in size. Each lies in the upper left corner of one canvas, the
vocabulary's grid, and `grid` says how much of it is the image. Positions count on the canvas.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.codec.compile import compiled

Array = TypeVar("Array")
"""NumPy's arrays on the host, JAX's in programs and on devices."""


class Chunk(NamedTuple, Generic[Array]):
    """A batch of chunks; on the device perhaps without the leading axis B. W = O + C is the window.

    Attributes:
        dct_image: int16 [B, 3 B^2, h, w], every triple before the target chunk, on the canvas. A
            channel is a plane, which is written soonest: a list goes channel by channel.
        channels, positions, values: int32 [B, W + 1], the element before the window, and the
            window's.
        is_target: bool [B, W], which of the last W elements the likelihood counts.
        chunk_index: int32 [B], k.
        grid: int32 [B, 2], the rows and columns of blocks of the image.
        label: int32 [B], the class, or the number of classes if it is hidden; 0 without classes.
        quality: int32 [B], the quality of the list's codec; 0 if that has tables of its own.
    """

    dct_image: Array
    channels: Array
    positions: Array
    values: Array
    is_target: Array
    chunk_index: Array
    grid: Array
    label: Array
    quality: Array


def num_chunks(length: int, chunk_size: int) -> int:
    """Returns how many chunks a list of `length` triples and its stopping token fill."""
    return length // chunk_size + 1


def chunk_weights(chunks: int, max_chunks: int) -> np.ndarray:
    """Returns the probability of training on each of an image's chunks, float64 [chunks].

    Early, coarse chunks come more often: w_k = max(0.1, (1 - k / K)^3), normalised over the chunks
    that the image has (the paper's supplement gives the cubic fall and the floor).
    """
    fall = np.maximum(1 - np.arange(chunks) / max_chunks, 0) ** 3  # [chunks]
    weights = np.maximum(0.1, fall)
    return weights / weights.sum()


@lru_cache
def _thresholds(chunks: int, max_chunks: int) -> np.ndarray:
    return np.cumsum(chunk_weights(chunks, max_chunks))[:-1]


def choose_chunk(length: int, chunk_size: int, max_chunks: int, rng: np.random.Generator) -> int:
    """Chooses a chunk of a list of `length` triples at random, with its `chunk_weights`."""
    thresholds = _thresholds(num_chunks(length, chunk_size), max_chunks)
    return int(np.searchsorted(thresholds, rng.random(), side="right"))


def make_chunks(
    lists: Sequence[SparseDCT],
    indices: Sequence[int] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    vocabulary: Vocabulary,
    chunk_size: int,
    overlap: int,
) -> Chunk[np.ndarray]:
    """Makes a batch of chunks.

    Args:
        lists: B valid lists of the vocabulary.
        indices: which chunk of each. Chunks after a list's last one have no targets.
        labels: the class of each.
        vocabulary: its grid is the canvas.
        chunk_size, overlap: C and O.
    """
    batch, window, (height, width) = len(lists), overlap + chunk_size, vocabulary.grid
    dct_image = np.zeros((batch, vocabulary.num_channels * height * width), np.int16)
    channels, positions, values = np.empty((3, batch, window + 1), np.int32)  # [B, W + 1] each
    is_target = np.empty((batch, window), bool)
    grids = np.empty((batch, 2), np.int32)
    for i, (sparse, index) in enumerate(zip(lists, indices)):
        grids[i] = sparse.grid
        _write(
            _Triples(*(np.ascontiguousarray(x, np.int32) for x in (sparse.channels, sparse.positions, sparse.values))),
            _Place(index * chunk_size, overlap, sparse.grid[1], width, height * width, vocabulary.start, vocabulary.stop),
            _Row(dct_image[i], _Triples(channels[i], positions[i], values[i]), is_target[i]),
        )
    return Chunk(
        dct_image.reshape(batch, vocabulary.num_channels, height, width),
        *(channels, positions, values, is_target),
        *(np.asarray(indices, np.int32), grids, np.asarray(labels, np.int32)),
        np.array([sparse.codec.quality or 0 for sparse in lists], np.int32),
    )


class _Triples(NamedTuple):
    """A list, int32 [L] each, or a window's elements, [W + 1] each."""

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray


class _Place(NamedTuple):
    """The place of a chunk: its first target in the list, the overlap before it, the widths of the
    image's grid and of the canvas, the number of the canvas's positions; and the two tokens."""

    first: int
    overlap: int
    width: int
    canvas_width: int
    canvas: int
    start: int
    stop: int


class _Row(NamedTuple):
    """A row of a batch: the DCT image, [3 B^2 h w], and the window, whose `is_target` is [W]."""

    dct_image: np.ndarray
    window: _Triples
    is_target: np.ndarray


@compiled
def _write(triples: _Triples, place: _Place, row: _Row) -> None:
    """Writes one chunk into a row of a batch, whose DCT image must be zeros."""
    channels, positions, values = triples
    window_channels, window_positions, window_values = row.window
    length, width, canvas_width = len(channels), place.width, place.canvas_width
    for i in range(min(place.first, length)):
        on_canvas = positions[i] // width * canvas_width + positions[i] % width
        row.dct_image[np.int64(channels[i]) * place.canvas + on_canvas] = values[i]
    for j in range(len(window_channels)):
        i = place.first - place.overlap - 1 + j
        if 0 <= i < length:
            window_channels[j], window_values[j] = channels[i], values[i]
            window_positions[j] = positions[i] // width * canvas_width + positions[i] % width
        else:
            window_channels[j], window_values[j], window_positions[j] = place.start if i < 0 else place.stop, 0, 0
        if j > 0:
            row.is_target[j - 1] = place.first <= i <= length


def move(positions: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Moves raster indices, int32 [L], from a grid of blocks to the same blocks of another grid."""
    if old == new:
        return positions
    rows, cols = np.divmod(positions, old[1])
    return (rows * new[1] + cols).astype(np.int32)


def extend(
    sparse: SparseDCT, channels: np.ndarray, positions: np.ndarray, values: np.ndarray, canvas: tuple[int, int]
) -> SparseDCT:
    """Adds triples, int32 [L] each, after those of a list. Their positions count on the canvas."""
    old, new = (sparse.channels, sparse.positions, sparse.values), (channels, move(positions, canvas, sparse.grid), values)
    channels, positions, values = map(np.concatenate, zip(old, new))
    return SparseDCT(channels, positions, values, sparse.size, sparse.codec)
