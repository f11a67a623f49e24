"""Sets of pictures of which several may be crops of one picture.

Crops of one picture are alike. A set that is divided into two parts, to see how far real pictures
are from each other, must not have crops of one picture in both.
"""

import numpy as np

from dct_jax.data.pictures import Pictures, SeenPictures


def owners_of(pictures: Pictures) -> np.ndarray:
    """Returns the number of the picture that each one of a set is a crop of, int [N]."""
    return np.asarray(pictures.owners) if isinstance(pictures, SeenPictures) else np.arange(len(pictures))


def gather(order: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Brings crops of one picture together, in an order that is otherwise kept.

    Args:
        order: int [N], places in a set, such as a permutation.
        owners: int [N], of the set's pictures.

    Returns:
        int [N]: the same places. A picture's crops stand where its first one stood.
    """
    _, first, which = np.unique(owners[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[which], kind="stable")]


def count_whole(owners: np.ndarray, most: int) -> int:
    """Counts how many owners from the start, at most so many, can be taken without leaving a crop
    of the same picture behind; `most` if the first picture alone has more crops.

    Args:
        owners: int [N], with crops of a picture beside each other.
        most: from 0 to N.
    """
    last = np.flatnonzero(np.append(owners[1:] != owners[:-1], True)) + 1  # numbers of rows that end with a picture
    fitting = last[last <= most]
    return int(fitting[-1]) if len(fitting) else most


def is_divided(owners: np.ndarray, place: int) -> bool:
    """Tells whether crops of one picture stand on both sides of a place, as they do where the
    first picture alone has too many.

    Args:
        owners: int [N], with crops of a picture beside each other.
        place: how many of them are on the first side.
    """
    return 0 < place < len(owners) and bool(owners[place - 1] == owners[place])
