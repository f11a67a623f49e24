"""Blockiness: how much larger steps between pixels are across the borders of blocks than inside."""

from collections.abc import Iterable

import numpy as np


def blockiness(pictures: Iterable[np.ndarray], block_size: int) -> float:
    """The mean absolute step between neighbouring pixels across block borders, by that inside.

    Pictures without blocks have about 1; a coarse codec, or a model whose blocks disagree, more.

    Args:
        pictures: uint8 [H, W, 3] each; blocks begin in the upper left corner.
        block_size: B.

    Returns:
        The ratio of the two means of the set; NaN if it has no step across, or none above 0 inside.
    """
    sums, counts = np.zeros(2), np.zeros(2)  # inside, across
    for picture in pictures:
        for axis in range(2):
            steps = np.abs(np.diff(picture.astype(np.int16), axis=axis)).sum(axis=(1 - axis, 2))  # [H - 1] or [W - 1]
            across = (np.arange(1, len(steps) + 1) % block_size == 0).astype(int)  # [H - 1]: 1 at a border
            np.add.at(sums, across, steps)
            np.add.at(counts, across, picture.shape[1 - axis] * picture.shape[2])
    if not (counts.all() and sums[0]):
        return float("nan")
    inside, borders = sums / counts
    return float(borders / inside)
