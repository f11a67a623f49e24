"""Nearest pictures: whether a model samples new pictures, or remembers its training pictures."""

from typing import NamedTuple

import numpy as np

DECILES = np.arange(1, 10) / 10

_BLOCK = 1 << 26
"""So many numbers, of distances or of pictures as float32, are in memory at a time."""


class Nearest(NamedTuple):
    """The nearest reference of each of N pictures.

    Attributes:
        distances: float64 [N], the root mean squared difference of all pixels and colours, in grey
            levels (0 to 255).
        indices: int64 [N], which reference it is.
    """

    distances: np.ndarray
    indices: np.ndarray


def nearest(pictures: np.ndarray, references: np.ndarray) -> Nearest:
    """The reference that is nearest to each picture, pixel by pixel.

    A matrix product in float32 finds candidates, so its rounding decides between references that
    are about equally near. The distance to the chosen one is exact.

    Args:
        pictures: uint8 [N, H, W, 3].
        references: uint8 [M, H, W, 3].

    Raises:
        ValueError: if there are none, or they differ in shape.
    """
    if pictures.shape[1:] != references.shape[1:] or not len(references):
        raise ValueError(
            f"the pictures are {list(pictures.shape)} and the references {list(references.shape)}; they must have one size, "
            "and there must be a reference"
        )
    number, dimensions = len(pictures), int(np.prod(pictures.shape[1:]))
    rows = (pictures.reshape(number, -1) - np.float32(128)).astype(np.float32)  # [N, D]; small numbers round less
    best, indices = np.full(number, np.inf, np.float32), np.zeros(number, np.int64)
    step = max(1, _BLOCK // max(number, dimensions))
    for first in range(0, len(references), step):
        columns = references[first : first + step].reshape(-1, dimensions) - np.float32(128)  # [m, D]
        distances = np.einsum("md,md->m", columns, columns) - 2 * rows @ columns.T  # [N, m], without the pictures' own squares
        nearer = distances.argmin(axis=1)  # [N]
        smallest = distances[np.arange(number), nearer]
        indices = np.where(smallest < best, first + nearer, indices)
        best = np.minimum(best, smallest)
    squares = [np.square(one.astype(float) - references[i]).mean() for one, i in zip(pictures, indices)]
    return Nearest(np.sqrt(squares), indices)
