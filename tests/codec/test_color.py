"""Colours against Pillow's, and the resampling of chroma against libjpeg's formulas worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec.color import double, halve, pad_edges, rgb_to_ycc, ycc_to_rgb


def random_pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_rgb_to_ycc_is_pillows() -> None:
    rgb = random_pixels()
    theirs = np.array(Image.fromarray(rgb).convert("YCbCr"))
    assert np.abs(rgb_to_ycc(rgb).astype(int) - theirs).max() <= 1


def test_ycc_to_rgb_is_pillows() -> None:
    ycc = random_pixels()
    theirs = np.array(Image.fromarray(ycc, mode="YCbCr").convert("RGB"))
    assert np.abs(ycc_to_rgb(ycc).astype(int) - theirs).max() <= 1


def test_primary_colours_have_jfifs_values() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]]], np.uint8)
    expected = [[[76, 85, 255], [150, 44, 21], [29, 255, 107], [0, 128, 128], [255, 128, 128]]]
    assert rgb_to_ycc(rgb).tolist() == expected


def test_grey_has_no_chroma_and_comes_back_exactly() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)  # [1, 256, 3]
    ycc = rgb_to_ycc(grey)
    assert ycc[0, :, 0].tolist() == list(range(256))
    assert np.all(ycc[..., 1:] == 128)
    assert ycc_to_rgb(ycc).tolist() == grey.tolist()


def test_pad_edges_repeats_the_last_row_and_column() -> None:
    assert pad_edges(np.array([[1, 2], [3, 4]]), 3, 4).tolist() == [[1, 2, 2, 2], [3, 4, 4, 4], [3, 4, 4, 4]]


@pytest.mark.parametrize("level", [0, 1, 77, 128, 254, 255])
def test_halving_and_doubling_keep_a_constant(level: int) -> None:
    plane = np.full((6, 8), level, np.uint8)
    assert halve(plane).tolist() == [[level] * 4] * 3
    assert double(plane, 12, 16).tolist() == [[level] * 16] * 12
    assert double(plane, 11, 15).tolist() == [[level] * 15] * 11


def test_halving_rounds_halves_down_and_up_by_turns() -> None:
    boxes = np.array([[0, 1, 0, 1, 0, 1, 9, 9], [1, 0, 1, 0, 1, 0, 9, 8]], np.uint8)  # means 0.5, 0.5, 0.5, 8.75
    assert halve(boxes).tolist() == [[0, 1, 0, 9]]


def test_doubling_a_row() -> None:
    """With one row, the column sums are 4p: 40 and 48. The new samples are (4 * 40 + 8) / 16, (3 * 40 + 48 + 7) / 16,
    (3 * 48 + 40 + 8) / 16 and (4 * 48 + 7) / 16, rounded down: 10.5 goes down and 11.5 up."""
    row = np.array([[10, 12]], np.uint8)
    assert double(row, 1, 4).tolist() == [[10, 10, 12, 12]]
    assert double(row, 2, 3).tolist() == [[10, 10, 12]] * 2


def test_doubling_a_square() -> None:
    """Column sums, 3 * near + far: [0, 64], [32, 112], [96, 208], [128, 256]; then across as for a row."""
    square = np.array([[0, 16], [32, 64]], np.uint8)
    expected = [[0, 4, 12, 16], [8, 13, 23, 28], [24, 31, 45, 52], [32, 40, 56, 64]]
    assert double(square, 4, 4).tolist() == expected
    assert double(square, 3, 3).tolist() == [row[:3] for row in expected[:3]]
