"""Masks of pictures: which pixels are sampled anew, which codes are known then."""

import itertools

import numpy as np
import pytest

from dct_jax.codes import masks
from dct_jax.data.crops import central_crop


def test_a_box_is_a_box() -> None:
    mask = masks.box_mask((6, 8), (1, 2, 3, 4))
    assert mask.dtype == bool and mask.shape == (6, 8)
    assert set(zip(*map(list, np.nonzero(mask)))) == set(itertools.product(range(1, 4), range(2, 6)))
    middle = masks.box_mask((8, 12))
    assert set(zip(*map(list, np.nonzero(middle)))) == set(itertools.product(range(2, 6), range(3, 9)))
    assert masks.box_mask((1, 1)).all()


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0), (5, 0, 2, 2), (0, 7, 2, 2)])
def test_a_box_outside_the_picture_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"^box is .* inside the picture of 6 x 8 pixels$"):
        masks.box_mask((6, 8), box)


def test_random_squares_lie_anywhere_inside() -> None:
    size, side = (5, 7), 2
    places = set()
    for seed in range(300):
        mask = masks.random_mask(size, seed, 1, side)
        rows, columns = np.nonzero(mask)
        assert mask.sum() == side**2 and np.ptp(rows) == np.ptp(columns) == side - 1
        places.add((rows.min(), columns.min()))
    assert places == set(itertools.product(range(4), range(6)))
    np.testing.assert_array_equal(masks.random_mask(size, 4, 3), masks.random_mask(size, 4, 3))
    assert masks.random_mask((8, 12), 0, 1).sum() == 2**2  # a quarter of the shorter side
    assert masks.random_mask((64, 64), 0, 4, 3).sum() > 9
    for arguments, message in (((0, 0), "blocks is 0"), ((0, 1, 6), "block_side is 6"), ((-1, 1), "seed is -1")):
        with pytest.raises(ValueError, match=message):
            masks.random_mask(size, *arguments)


@pytest.mark.parametrize(("size", "f"), [((6, 9), 3), ((5, 8), 3), ((4, 4), 1)])
def test_a_code_is_known_if_all_its_pixels_are(size: tuple[int, int], f: int) -> None:
    rng = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.3):
        mask = rng.random(size) < share
        mask[0, 0], mask[-1, -1] = True, False
        expected = [
            [not any(mask[y, x] for y in range(i, min(i + f, size[0])) for x in range(j, min(j + f, size[1])))
             for j in range(0, size[1], f)]
            for i in range(0, size[0], f)
        ]  # fmt: skip
        if np.any(expected):
            np.testing.assert_array_equal(masks.known_codes(mask, f), expected)


def test_a_mask_without_a_known_or_an_unknown_code_is_refused() -> None:
    mask = np.zeros((4, 4), bool)
    with pytest.raises(ValueError, match="the mask covers no code; "):
        masks.known_codes(mask, 2)
    mask[::2, ::2] = True  # a pixel of each square
    with pytest.raises(ValueError, match=r"the mask covers all of the 2 x 2 codes; .* \(all of its 2 x 2 pixels\)"):
        masks.known_codes(mask, 2)


@pytest.mark.parametrize(("shape", "size"), [((8, 8), (8, 8)), ((9, 17), (4, 6)), ((23, 8), (4, 6)), ((40, 27), (4, 6))])
def test_the_picture_of_a_mask_is_cropped_as_the_picture_is(shape: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        top, left = rng.integers(shape[0]), rng.integers(shape[1])
        picture = np.zeros((*shape, 3), np.uint8)
        picture[top : top + 6, left : left + 6] = 255
        mask, crop = masks.mask_of_picture(picture, size), central_crop(picture, size)[..., 0]
        assert mask.shape == size
        assert mask[crop >= 64].all()  # a part of a pixel is enough
        if shape == size:
            np.testing.assert_array_equal(mask, crop == 255)


def test_a_pixel_of_a_reduced_mask_is_sampled_anew_if_a_part_of_it_is() -> None:
    picture = np.zeros((13, 8, 3), np.uint8)  # the crop has 12 rows, from 0 on
    for row, column in itertools.product(range(13), range(8)):
        picture[:] = 0
        picture[row, column] = 255
        expected = np.zeros((3, 2), bool)
        if row < 12:
            expected[row // 4, column // 4] = True
        np.testing.assert_array_equal(masks.mask_of_picture(picture, (3, 2)), expected)
    picture[:] = 127
    assert not masks.mask_of_picture(picture, (3, 2)).any()


def test_hidden_and_pasted_pixels() -> None:
    rng = np.random.default_rng(2)
    picture, samples = (rng.integers(0, 100, shape).astype(np.uint8) for shape in ((4, 6, 3), (5, 4, 6, 3)))
    mask = np.zeros((4, 6), bool)
    mask[1, 1] = True
    hidden = masks.hide(picture, mask, masks.known_codes(mask, 2), 2)
    pasted = masks.paste(picture, samples, mask)
    assert hidden.dtype == pasted.dtype == np.uint8
    for y, x in itertools.product(range(4), range(6)):
        half = y < 2 and x < 2
        expected = 128 if (y, x) == (1, 1) else (picture[y, x].astype(int) + 128) // 2 if half else picture[y, x]
        np.testing.assert_array_equal(hidden[y, x], np.broadcast_to(expected, 3))
        np.testing.assert_array_equal(pasted[:, y, x], samples[:, y, x] if (y, x) == (1, 1) else [picture[y, x]] * 5)
