"""Crops, and whole pictures that are fitted on a canvas."""

import pickle

import numpy as np
import pytest

from dct_jax.data.crops import central_crop, fit, fitted_size, mirror, random_crop
from dct_jax.data.skipped import Skip, Unusable, skip_of


def coordinates(height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] whose pixels say where they are."""
    row, col = np.mgrid[:height, :width]
    return np.stack([row, col, row + col], axis=-1).astype(np.uint8)


def test_a_crop_at_half_the_size_takes_native_pixels() -> None:
    image, rng, seen = coordinates(40, 48), np.random.default_rng(0), set()
    for _ in range(100):
        crop = random_crop(image, (20, 24), (0.5, 0.5), 1.0, rng)
        top, left, _ = crop[0, 0].tolist()
        np.testing.assert_array_equal(crop, image[top : top + 20, left : left + 24], strict=True)
        seen.add((top, left))
    assert min(top for top, _ in seen) <= 2 and max(top for top, _ in seen) >= 18  # all over the picture
    assert min(left for _, left in seen) <= 2 and max(left for _, left in seen) >= 22


@pytest.mark.parametrize(("height", "width"), [(20, 24), (20, 60), (50, 24), (25, 30)])
def test_a_crop_is_not_enlarged(height: int, width: int) -> None:
    image = coordinates(height, width)
    crop = random_crop(image, (20, 24), (0.01, 0.01), 1.0, np.random.default_rng(0))
    top, left, _ = crop[0, 0].tolist()
    np.testing.assert_array_equal(crop, image[top : top + 20, left : left + 24], strict=True)


def test_the_largest_crop_is_the_reduced_picture() -> None:
    for crop in (
        random_crop(coordinates(80, 120), (20, 30), (1.0, 1.0), 1.0, np.random.default_rng(0)),
        central_crop(coordinates(80, 120), (20, 30)),
        fit(coordinates(80, 120), (20, 40), 1.0),
    ):
        middle = crop[5:-5, 5:-5].astype(float)  # away from the edges, where the filter's window is cut
        row, col = np.mgrid[5:15, 5:25]
        np.testing.assert_allclose(middle[..., 0], 4 * row + 1.5, atol=0.51)
        np.testing.assert_allclose(middle[..., 1], 4 * col + 1.5, atol=0.51)


def test_a_picture_that_is_too_small_is_refused_unless_it_may_be_enlarged() -> None:
    small, rng = coordinates(19, 48), np.random.default_rng(0)
    with pytest.raises(Unusable, match="the picture has 19 x 48 pixels; it must have at least 20 x 24"):
        random_crop(small, (20, 24), (0.5, 1.0), 1.0, rng)
    assert random_crop(small, (20, 24), (0.5, 1.0), 1.1, rng).shape == (20, 24, 3)
    with pytest.raises(
        Unusable, match=r"19 x 48 pixels and would become 2\.00 times larger to fit 96 x 96; data.enlarge allows 1.5"
    ):
        fit(small, (96, 96), 1.5)
    assert fit(small, (96, 96), 2.0).shape == (38, 96, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((600, 800), (288, 384)),
        ((800, 600), (384, 288)),
        ((384, 384), (384, 384)),
        ((5000, 7), (384, 1)),
        ((400, 384), (384, 369)),
    ],
)
def test_a_whole_picture_keeps_its_aspect_ratio(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(size, (384, 384), 1.0) == expected


def test_mirrored() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(mirror(image), image[:, ::-1], strict=True)


def test_the_scale_of_crops_is_random() -> None:
    """Between the smallest and the largest share, evenly."""
    columns = np.arange(240, dtype=np.uint8)
    image = np.broadcast_to(columns[None, :, None], (240, 240, 3)).copy()
    rng = np.random.default_rng(0)
    crops = [random_crop(image, (20, 20), (0.25, 1.0), 1.0, rng) for _ in range(300)]
    widths = np.array([int(crop[0, -1, 0]) - int(crop[0, 0, 0]) for crop in crops]) / 0.95 / 240  # as a share
    assert widths.min() < 0.3 and widths.max() > 0.95
    assert widths.mean() == pytest.approx(0.625, abs=0.04)
    assert widths.std() == pytest.approx(0.75 / np.sqrt(12), abs=0.03)


def test_why_a_picture_is_unusable_goes_from_one_process_to_another() -> None:
    """It once could not be pickled."""
    error = pickle.loads(pickle.dumps(Unusable("too small", "a.png has 2 pixels")))
    assert skip_of("a.png", error) == Skip("a.png", "too small", "a.png has 2 pixels") and str(error) == "a.png has 2 pixels"
