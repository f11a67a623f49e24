"""Zigzag and channel orders against literal lists."""

import itertools

import numpy as np
import pytest

from dct_jax.codec import BLOCK_SIZES
from dct_jax.codec.channel_order import CHANNEL_ORDERS, channel_order, frequencies, octaves, zigzag

# ITU-T T.81, figure A.6: the k-th coefficient's place in the block, in raster order.
JPEG_ZIGZAG = [
    *[0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5],
    *[12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28],
    *[35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51],
    *[58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63],
]


def test_zigzag_is_jpegs() -> None:
    assert zigzag(8).tolist() == JPEG_ZIGZAG


def test_zigzag_of_small_blocks() -> None:
    assert zigzag(1).tolist() == [0]
    assert zigzag(2).tolist() == [0, 1, 2, 3]
    assert zigzag(4).tolist() == [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15]


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_zigzag_visits_every_place_by_steps_to_a_neighbour(size: int) -> None:
    order = zigzag(size)
    assert sorted(order.tolist()) == list(range(size**2))
    row, col = np.divmod(order, size)
    assert np.all(np.maximum(np.abs(np.diff(row)), np.abs(np.diff(col))) == 1)


def test_frequencies_and_octaves_of_4_x_4_blocks() -> None:
    vertical, horizontal = frequencies(4)
    assert vertical.tolist() == [0, 0, 1, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 2, 3, 3]
    assert horizontal.tolist() == [0, 1, 0, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 3, 2, 3]
    assert octaves(4).tolist() == [0, 1, 1, *[2] * 7, *[3] * 6]
    assert octaves(1).tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        vertical[0] = 1


@pytest.mark.parametrize("size", BLOCK_SIZES)
@pytest.mark.parametrize("order", CHANNEL_ORDERS)
def test_an_order_is_a_permutation(size: int, order: str) -> None:
    channels = channel_order(size, order)
    assert channels.dtype == np.int32
    assert sorted(channels.tolist()) == list(range(3 * size**2))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # Y is 0..3, Cb 4..7, Cr 8..11.
        ("interleaved", [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        ("luma_first", [0, 1, 2, 3, 4, 8, 5, 9, 6, 10, 7, 11]),
        ("banded", [0, 8, 4, 1, 2, 9, 10, 5, 6, 3, 11, 7]),
    ],
)
def test_orders_of_2_x_2_blocks(order: str, expected: list[int]) -> None:
    assert channel_order(2, order).tolist() == expected


def test_the_bands_of_8_x_8_blocks() -> None:
    """Diagonals 0 | 1 | 2, 3 | 4 to 7 | 8 to 14 hold 1, 2, 7, 26 and 28 coefficients, each of Y,
    then Cr, then Cb."""
    order = channel_order(8, "banded").tolist()
    assert order[:3] == [0, 128, 64]  # the DCs of Y, Cr and Cb
    assert order[3:9] == [1, 2, 129, 130, 65, 66]
    runs = [(component, len(list(run))) for component, run in itertools.groupby(channel // 64 for channel in order)]
    assert runs == [(component, length) for length in (1, 2, 7, 26, 28) for component in (0, 2, 1)]
    for component in range(3):  # within a component, frequencies rise
        assert [c - 64 * component for c in order if c // 64 == component] == list(range(64))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channel_order is 'spiral'; it must be one of banded, interleaved, luma_first"):
        channel_order(8, "spiral")
