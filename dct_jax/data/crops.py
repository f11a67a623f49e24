"""Crops of pictures."""

import numpy as np
from PIL import Image


def random_crop(
    image: np.ndarray, size: tuple[int, int], share: tuple[float, float], flip: bool, rng: np.random.Generator
) -> np.ndarray:
    """A crop at a random scale and place, reduced to `size`, perhaps mirrored.

    Args:
        image: uint8 [H, W, 3].
        size: (h, w) of the result.
        share: the smallest and largest crop as a share of the largest one of that shape that fits.
        flip: whether to mirror it with probability one half.
        rng: the source of randomness.

    Returns:
        uint8 [h, w, 3].

    Raises:
        ValueError: if the image is smaller than the crop.
    """
    (height, width), (rows, cols) = image.shape[:2], size
    scale = max(1.0, _largest_scale(image, size) * rng.uniform(*share))
    tall, wide = min(round(rows * scale), height), min(round(cols * scale), width)
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    mirrored = flip and rng.random() < 0.5
    crop = _reduced(image[top : top + tall, left : left + wide], size)
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)


def central_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest crop of that shape that fits, from the middle, reduced to `size`; arguments, errors as of `random_crop`."""
    (height, width), (rows, cols) = image.shape[:2], size
    scale = _largest_scale(image, size)
    tall, wide = min(round(rows * scale), height), min(round(cols * scale), width)
    top, left = (height - tall) // 2, (width - wide) // 2
    return np.ascontiguousarray(_reduced(image[top : top + tall, left : left + wide], size))


def _largest_scale(image: np.ndarray, size: tuple[int, int]) -> float:
    """The side of the largest crop of the shape of `size`, in units of `size`."""
    (height, width), (rows, cols) = image.shape[:2], size
    largest = min(height / rows, width / cols)
    if largest < 1:
        raise ValueError(f"the picture has {height} x {width} pixels; it must have at least {rows} x {cols}")
    return largest


def _reduced(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if crop.shape[:2] == tuple(size):
        return crop
    return np.asarray(Image.fromarray(crop).resize(size[::-1], Image.Resampling.LANCZOS))
