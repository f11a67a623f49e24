"""Colours against JFIF's definition and Pillow's; the resampling of chroma against libjpeg's
formulas, by hand."""

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec.color import planes_to_rgb, rgb_to_planes


def to_ycc(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [H, W, 3]: the planes at full size."""
    planes = np.empty((3, 1, *rgb.shape[:2]), np.uint8)
    rgb_to_planes(rgb[None], 1, 1, *planes)
    return np.moveaxis(planes[:, 0], 0, -1)


def to_rgb(ycc: np.ndarray) -> np.ndarray:
    rgb = np.empty(ycc.shape, np.uint8)
    planes_to_rgb(*np.ascontiguousarray(np.moveaxis(ycc, -1, 0)), 1, 1, rgb)
    return rgb


def shrunk(blue: list[list[int]], rows: int, cols: int, size: tuple[int, int]) -> list[list[int]]:
    """The Cb plane, of that size, of an image whose Cb is `blue` (128 or more, even)."""
    level = np.array(blue)
    rgb = np.zeros((*level.shape, 3), np.uint8)
    rgb[..., 2] = (level - 128) * 2  # Cb = 128 + B / 2 of a black picture with blue in it
    planes = [np.empty((1, *size), np.uint8) for _ in range(2)]
    rgb_to_planes(rgb[None], rows, cols, np.empty((1, *level.shape), np.uint8), *planes)
    return planes[0][0].tolist()


def enlarged(blue: list[list[int]], rows: int, cols: int, size: tuple[int, int]) -> list[list[int]]:
    """The Cb plane, at full size, of which an image's blue was made: B = Y + 1.772 (Cb - 128), at Y
    = 0."""
    plane = np.array(blue, np.uint8)
    rgb = np.empty((*size, 3), np.uint8)
    planes_to_rgb(np.zeros(size, np.uint8), plane, np.full(plane.shape, 128, np.uint8), rows, cols, rgb)
    return (128 + np.round(rgb[..., 2] / 1.772)).astype(int).tolist()


def random_pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_rgb_to_ycc_is_jfifs() -> None:
    rgb = random_pixels()
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    cb, cr = 128 - 0.168736 * r - 0.331264 * g + 0.5 * b, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b
    exact = np.stack([0.299 * r + 0.587 * g + 0.114 * b, cb, cr], axis=-1)
    assert np.abs(to_ycc(rgb) - exact).max() <= 0.51
    theirs = np.array(Image.fromarray(rgb).convert("YCbCr"))
    assert np.abs(to_ycc(rgb).astype(int) - theirs).max() <= 1


def test_ycc_to_rgb_is_pillows() -> None:
    ycc = random_pixels()
    theirs = np.array(Image.merge("YCbCr", [Image.fromarray(x) for x in np.moveaxis(ycc, -1, 0)]).convert("RGB"))
    assert np.abs(to_rgb(ycc).astype(int) - theirs).max() <= 1


def test_primary_colours_have_jfifs_values() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]]], np.uint8)
    expected = [[[76, 85, 255], [150, 44, 21], [29, 255, 107], [0, 128, 128], [255, 128, 128]]]
    assert to_ycc(rgb).tolist() == expected


def test_grey_has_no_chroma_and_comes_back_exactly() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)  # [1, 256, 3]
    ycc = to_ycc(grey)
    assert ycc[0, :, 0].tolist() == list(range(256))
    assert np.all(ycc[..., 1:] == 128)
    assert to_rgb(ycc).tolist() == grey.tolist()


def test_luma_repeats_its_edges() -> None:
    grey = np.array([[1, 2], [3, 4]], np.uint8)[..., None].repeat(3, axis=2)
    luma, nothing = np.empty((1, 3, 4), np.uint8), np.empty((1, 0, 0), np.uint8)
    rgb_to_planes(grey[None], 1, 1, luma, nothing, nothing)
    assert luma[0].tolist() == [[1, 2, 2, 2], [3, 4, 4, 4], [3, 4, 4, 4]]


@pytest.mark.parametrize("level", [128, 130, 178, 254])
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_shrinking_and_enlarging_keep_a_constant(level: int, rows: int, cols: int) -> None:
    assert shrunk([[level] * 7] * 5, rows, cols, (6, 8)) == [[level] * 8] * 6
    assert enlarged([[level] * 4] * 3, rows, cols, (3 * rows, 4 * cols)) == [[level] * 4 * cols] * 3 * rows


def test_halves_of_boxes_are_rounded_down_and_up_by_turns() -> None:
    halves = [[128, 130, 128, 130, 128, 130], [130, 130, 130, 130, 130, 130]]  # means of 129.5
    assert shrunk(halves, 2, 2, (1, 3)) == [[129, 130, 129]]
    assert shrunk([[128, 130], [128, 128], [128, 128]], 2, 2, (2, 2)) == [[128, 129], [128, 128]]  # beyond the edge: 130, 128


def test_pairs_are_rounded_by_turns_along_a_row_and_up_in_a_column() -> None:
    # Cb is even here, so the sum of two is too: only a third sample of another parity shows the
    # rounding.
    rgb = np.zeros((2, 4, 3), np.uint8)
    rgb[..., 2] = [[0, 1, 0, 1], [2, 1, 2, 1]]  # Cb: B = 1 gives 128.5, rounded to 128 or 129
    cb = to_ycc(rgb)[..., 1].astype(int)
    planes = [np.empty((1, 2, 2), np.uint8) for _ in range(2)]
    rgb_to_planes(rgb[None], 1, 2, np.empty((1, 2, 4), np.uint8), *planes)
    assert planes[0][0].tolist() == [[(r[0] + r[1]) >> 1, (r[2] + r[3] + 1) >> 1] for r in cb.tolist()]
    planes = [np.empty((1, 1, 4), np.uint8) for _ in range(2)]
    rgb_to_planes(rgb[None], 2, 1, np.empty((1, 2, 4), np.uint8), *planes)
    assert planes[0][0].tolist() == [[(a + b + 1) >> 1 for a, b in zip(*cb.tolist())]]


def test_enlarging_a_row() -> None:
    """By hand, with libjpeg's rounding for twice the width and height: with one row the column sums
    are 4p. New samples are (16 p + 8) / 16 at the left edge, (3 * 4p + 4q + 7 or 8) / 16 inside,
    rounded down. 148 and 168 give 153 and 163."""
    row = [[148, 168, 168, 148]]
    assert enlarged(row, 2, 2, (2, 8)) == [[148, 153, 163, 168, 168, 163, 153, 148]] * 2
    assert enlarged(row, 1, 2, (1, 7)) == [[148, 153, 163, 168, 168, 163, 153]]
    assert enlarged([[148], [168]], 2, 1, (4, 1)) == [[148], [153], [163], [168]]


def test_a_plane_of_two_columns_is_repeated() -> None:
    """libjpeg's filter needs three."""
    assert enlarged([[148, 168], [188, 208]], 2, 2, (4, 4)) == [[148] * 2 + [168] * 2] * 2 + [[188] * 2 + [208] * 2] * 2
