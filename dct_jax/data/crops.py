"""Random crops of pictures."""

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
    largest = min(height / rows, width / cols)  # in units of the result's size
    if largest < 1:
        raise ValueError(f"the picture has {height} x {width} pixels; it must have at least {rows} x {cols}")
    scale = max(1.0, largest * rng.uniform(*share))
    tall, wide = min(round(rows * scale), height), min(round(cols * scale), width)
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    mirrored = flip and rng.random() < 0.5
    crop = image[top : top + tall, left : left + wide]
    if (tall, wide) != (rows, cols):
        crop = np.asarray(Image.fromarray(crop).resize((cols, rows), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)
