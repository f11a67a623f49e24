"""From a picture of any size to what a stage sees: crops of one size, or whole pictures that fit on
a canvas."""

import numpy as np
from PIL import Image

from dct_jax.config import DataConfig
from dct_jax.data.pixels import image_size, pixels
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record


def seen_image(record: Record, data: DataConfig, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """Returns what a stage sees of a picture, uint8 [H, W, 3]: a random crop, or the whole picture
    fitted into image_size.

    Raises:
        ValueError: if the picture cannot be decoded, or is too small.
    """
    image = pixels(record)
    if data.fit == "crop":
        image = random_crop(image, data.image_size, data.crop, data.enlarge, rng)
    else:
        image = fit(image, data.image_size, data.enlarge)
    return mirror(image) if flip and rng.random() < 0.5 else image


def seen_size(record: Record, data: DataConfig) -> tuple[int, int]:
    """Returns (H, W) of what a stage sees of a picture, from its header alone.

    Raises:
        ValueError: if the picture is too small, or no image.
    """
    if data.fit == "crop":
        return data.image_size
    upright = data.upright or not data.own_coefficients
    size = record.image.shape[:2] if isinstance(record.image, np.ndarray) else image_size(record.image, upright)
    if not data.own_coefficients:
        return fitted_size(size, data.image_size, data.enlarge)
    check_fits(size, data.image_size)
    return size


def check_fits(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    """Raises Unusable unless an image of (H, W) pixels fits on the canvas as it is."""
    if size[0] > canvas[0] or size[1] > canvas[1]:
        message = f"the picture has {size[0]} x {size[1]} pixels; it must fit into {canvas[0]} x {canvas[1]}"
        raise Unusable("too large", message)


def random_crop(
    image: np.ndarray,
    size: tuple[int, int],
    share: tuple[float, float],
    enlarge: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Crops an image at a random scale and place, and resizes the crop to `size`.

    Args:
        image: uint8 [H, W, 3].
        size: (h, w) of the result.
        share: the smallest and largest crop as a share of the largest one of that shape that fits.
        enlarge: how many times larger than in the picture a crop may become, from 1 on; a share
            that would need more takes the smallest crop possible.
        rng: the source of randomness.

    Returns:
        uint8 [h, w, 3].

    Raises:
        Unusable: if the image is too small for that.
    """
    (height, width), (rows, cols) = image.shape[:2], size
    largest = min(height / rows, width / cols)  # the side of the largest crop, in units of `size`
    if largest * enlarge < 1:
        raise _too_small(image, -(-rows // enlarge), -(-cols // enlarge))
    scale = max(1 / enlarge, largest * rng.uniform(*share))
    tall, wide = min(round(rows * scale), height), min(round(cols * scale), width)
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    return _resize(image[top : top + tall, left : left + wide], size)


def central_crop(image: np.ndarray, size: tuple[int, int], enlarge: float = 1.0) -> np.ndarray:
    """Crops the largest part of the shape of `size` from the middle, and resizes it to `size`.
    Arguments and errors are those of `random_crop`."""
    (height, width), (rows, cols) = image.shape[:2], size
    largest = min(height / rows, width / cols)
    if largest * enlarge < 1:
        raise _too_small(image, -(-rows // enlarge), -(-cols // enlarge))
    tall, wide = min(round(rows * largest), height), min(round(cols * largest), width)
    top, left = (height - tall) // 2, (width - wide) // 2
    return _resize(image[top : top + tall, left : left + wide], size)


def held_out_pictures(pictures: int, crops: int) -> list[int]:
    """Returns the picture of each of so many crops: all by turns, or as many at even distances."""
    return [place * pictures // crops if crops < pictures else place % pictures for place in range(crops)]


def fitted_size(size: tuple[int, int], canvas: tuple[int, int], enlarge: float) -> tuple[int, int]:
    """Returns the size of a whole picture of (H, W) pixels when it just fits on the canvas: one
    side is the canvas's, the other as the aspect ratio has it.

    Raises:
        Unusable: if the picture would have to become more than `enlarge` times larger.
    """
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    if scale > enlarge:
        raise Unusable(
            "too small",
            f"the picture has {size[0]} x {size[1]} pixels and would become {scale:.2f} times larger to fit "
            f"{canvas[0]} x {canvas[1]}; data.enlarge allows {enlarge}",
        )
    height, width = (min(max(round(side * scale), 1), most) for side, most in zip(size, canvas))
    return height, width


def fit(image: np.ndarray, canvas: tuple[int, int], enlarge: float) -> np.ndarray:
    """Resizes a whole picture, uint8 [H, W, 3], to its `fitted_size`, which says what is raised."""
    return _resize(image, fitted_size(image.shape[:2], canvas, enlarge))


def mirror(image: np.ndarray) -> np.ndarray:
    """Mirrors uint8 [H, W, 3] left to right. (NumPy copies a mirrored view ten times as slowly.)"""
    return np.asarray(Image.fromarray(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _too_small(image: np.ndarray, rows: float, cols: float) -> Unusable:
    height, width = image.shape[:2]
    return Unusable("too small", f"the picture has {height} x {width} pixels; it must have at least {int(rows)} x {int(cols)}")


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
