"""Pictures -> the size that a network takes."""

import numpy as np
from PIL import Image


def legacy_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The Inception graph's resizing, bit for bit: TensorFlow 1's ResizeBilinear with its defaults.

    Pixel i of the result lies at i * in / out of the picture, not at (i + 1/2) * in / out - 1/2 as
    elsewhere. Beyond the edge is the edge. Nothing is averaged, however small the result is.

    Args:
        image: uint8 [H, W, 3].
        size: of the result.

    Returns:
        float32 [*size, 3], in the picture's units.
    """
    (top, bottom, down), (left, right, across) = (_places(n, m) for n, m in zip(image.shape[:2], size))
    pixels = image.astype(np.float32)  # [H, W, 3]
    starts = pixels[:, left]  # [H, size[1], 3]
    lines = starts + (pixels[:, right] - starts) * across[:, None]
    starts = lines[top]  # [*size, 3]
    return starts + (lines[bottom] - starts) * down[:, None, None]


def _places(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two neighbours of each place, int64 [wanted], and how far it is from the first, float32
    [wanted]."""
    places = np.arange(wanted, dtype=np.float32) * np.float32(length / np.float32(wanted))
    before = np.minimum(places.astype(np.int64), length - 1)
    return before, np.minimum(before + 1, length - 1), places - before.astype(np.float32)


def smooth_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bilinear resizing, without rounding to 8 bits; reducing averages over all pixels.

    Args:
        image: uint8 [H, W, 3].
        size: of the result.

    Returns:
        float32 [*size, 3], in the picture's units.
    """
    planes = (Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(3))
    return np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BILINEAR)) for plane in planes], axis=-1)
