"""From a list of triples to the fixed-shape windows that the model reads.

A list of L triples has L + 1 elements, the last of which is the stopping token. Chunk k holds elements kC .. (k+1)C - 1.
The model sees what comes before it twice: all of it as a dense, partial DCT image, and the O elements of the overlap as
triples. Elements before the list's first one are start tokens and those after the stopping token repeat it, both with
position and value 0, so that every window has the same shape; only `is_target` says what counts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.codec import SparseDCT, Vocabulary, scatter


class Chunk(NamedTuple):
    """One chunk, or with a leading axis B a batch of them. W = O + C is the window.

    Attributes:
        dct_image: int16 [h, w, 3 B^2], every triple before the target chunk.
        channels, positions, values: int32 [W + 1], the window's elements after the one element before it.
        is_target: bool [W], which of the last W elements the likelihood counts.
        chunk_index: int32 [], k.
        label: int32 [], the class, or 0.
    """

    dct_image: np.ndarray
    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    is_target: np.ndarray
    chunk_index: np.ndarray
    label: np.ndarray


def num_chunks(length: int, chunk_size: int) -> int:
    """How many chunks a list of `length` triples and its stopping token fill."""
    return length // chunk_size + 1


def chunk_weights(chunks: int, max_chunks: int) -> np.ndarray:
    """The probability of training on each of an image's chunks, float64 [chunks].

    Early, coarse chunks come more often: w_k = max(0.1, (1 - k / K)^3), normalised over the chunks that the image has
    (the paper's supplement gives the cubic fall and the floor).
    """
    fall = np.maximum(1 - np.arange(chunks) / max_chunks, 0) ** 3  # [chunks]
    weights = np.maximum(0.1, fall)
    return weights / weights.sum()


def make_chunk(sparse: SparseDCT, index: int, vocabulary: Vocabulary, chunk_size: int, overlap: int, label: int = 0) -> Chunk:
    """Chunk `index` of a valid list. Indices beyond the list's last chunk give a chunk without targets."""
    first = index * chunk_size  # the first target element
    elements = np.arange(first - overlap - 1, first + chunk_size)  # [W + 1]
    before, after = elements < 0, elements >= len(sparse)

    def window(array: np.ndarray, start: int, stop: int) -> np.ndarray:
        padded = array if len(array) else np.zeros(1, np.int32)
        inside = padded[np.clip(elements, 0, len(padded) - 1)]
        return np.where(before, start, np.where(after, stop, inside)).astype(np.int32)  # [W + 1]

    return Chunk(
        dct_image=scatter(sparse[:first], vocabulary.num_channels).astype(np.int16),
        channels=window(sparse.channels, vocabulary.start, vocabulary.stop),
        positions=window(sparse.positions, 0, 0),
        values=window(sparse.values, 0, 0),
        is_target=((elements >= first) & (elements <= len(sparse)))[1:],
        chunk_index=np.int32(index),
        label=np.int32(label),
    )


def stack_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """B chunks -> a batch of them, every field with a leading axis B."""
    return Chunk(*map(np.stack, zip(*chunks)))
