"""The order in which the channels of a DCT image are listed.

Channel c = component * B^2 + zigzag index, components Y, Cb, Cr, whatever the order: an order is a
permutation that only says how the list of triples is sorted.
"""

from functools import cache
from typing import Literal, get_args

import numpy as np

ChannelOrder = Literal["banded", "interleaved", "luma_first"]
CHANNEL_ORDERS: tuple[ChannelOrder, ...] = get_args(ChannelOrder)

Y, CB, CR = 0, 1, 2


@cache
def zigzag(block_size: int) -> np.ndarray:
    """Raster indices of a B x B block in JPEG's zigzag order (ITU-T T.81, figure A.6, for any B).

    Returns:
        int32 [B^2]: element z is the raster index of the z-th coefficient.
    """
    row, col = np.divmod(np.arange(block_size**2), block_size)
    diagonal = row + col
    # Even diagonals run upwards (row falls), odd ones downwards.
    along = np.where(diagonal % 2 == 0, col, row)
    order = np.lexsort((along, diagonal)).astype(np.int32)  # [B^2]
    order.flags.writeable = False  # it is made once and shared
    return order


@cache
def frequencies(block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vertical and the horizontal frequency of each zigzag index, int32 [B^2] each."""
    vertical, horizontal = np.divmod(zigzag(block_size), np.int32(block_size))
    vertical.flags.writeable = horizontal.flags.writeable = False  # they are made once and shared
    return vertical, horizontal


def octaves(block_size: int) -> np.ndarray:
    """Returns the octave of each zigzag index's diagonal d, int32 [B^2]: the bit length of d, so 0
    for d = 0, 1 for 1, 2 for 2..3, 3 for 4..7 and so on."""
    return np.frexp(np.add(*frequencies(block_size)))[1]


@cache
def channel_order(block_size: int, order: ChannelOrder) -> np.ndarray:
    """Channels in the order in which a list runs through them.

    "banded" alternates luma and chroma in octaves of the zigzag diagonal d: bands d = 0, 1, 2..3,
    4..7, ..., each of which lists its channels of Y, then of Cr, then of Cb (after the paper's
    figure of the channel trace). "interleaved" is Y_k, Cb_k, Cr_k for each zigzag index k.
    "luma_first" is all of Y, then Cb_k, Cr_k for each k.

    Returns:
        int32 [3 B^2]: a permutation of the channels.

    Raises:
        ValueError: if the order is unknown.
    """
    area = block_size**2
    k = np.arange(area)
    if order == "interleaved":
        channels = k[:, None] + area * np.array([Y, CB, CR])  # [B^2, 3]
        return channels.reshape(-1).astype(np.int32)
    if order == "luma_first":
        chroma = k[:, None] + area * np.array([CB, CR])  # [B^2, 2]
        return np.concatenate([k, chroma.reshape(-1)]).astype(np.int32)
    if order == "banded":
        band = octaves(block_size)  # [B^2]
        bands = [component * area + k[band == b] for b in range(band.max() + 1) for component in (Y, CR, CB)]
        return np.concatenate(bands).astype(np.int32)
    raise ValueError(f"channel_order is {order!r}; it must be one of {', '.join(CHANNEL_ORDERS)}")
