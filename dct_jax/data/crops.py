"""From a picture of any size to what a stage sees: crops of one size, or whole pictures that fit on a canvas."""

import numpy as np
from PIL import Image

from dct_jax.config import DataConfig
from dct_jax.data.pixels import image_size, pixels
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record


def seen_image(record: Record, data: DataConfig, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """What a stage sees of a picture, uint8 [H, W, 3]: a random crop, or the whole picture fitted into image_size.

    Raises:
        ValueError: if the picture cannot be decoded, or is too small.
    """
    image = pixels(record)
    if data.fit == "crop":
        image = random_crop(image, data.image_size, data.crop, data.enlarge, rng)
    else:
        image = fitted(image, data.image_size, data.enlarge)
    return mirrored(image) if flip and rng.random() < 0.5 else image


def seen_size(record: Record, data: DataConfig) -> tuple[int, int]:
    """(H, W) of what a stage sees of a picture, from its header alone.

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
    """A crop at a random scale and place, resized to `size`.

    Args:
        image: uint8 [H, W, 3].
        size: (h, w) of the result.
        share: the smallest and largest crop as a share of the largest one of that shape that fits.
        enlarge: how many times larger than in the picture a crop may become, from 1 on; a share that would need more takes the
            smallest crop possible.
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
    return _resized(image[top : top + tall, left : left + wide], size)


def central_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest crop of that shape that fits, from the middle, reduced to `size`; arguments, errors as of `random_crop`."""
    (height, width), (rows, cols) = image.shape[:2], size
    largest = min(height / rows, width / cols)
    if largest < 1:
        raise _too_small(image, rows, cols)
    tall, wide = min(round(rows * largest), height), min(round(cols * largest), width)
    top, left = (height - tall) // 2, (width - wide) // 2
    return _resized(image[top : top + tall, left : left + wide], size)


def fitted_size(size: tuple[int, int], canvas: tuple[int, int], enlarge: float) -> tuple[int, int]:
    """The size of a whole picture of (H, W) pixels when it just fits on the canvas: one side is the canvas's, the other as
    the aspect ratio has it.

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


def fitted(image: np.ndarray, canvas: tuple[int, int], enlarge: float) -> np.ndarray:
    """The whole picture, uint8 [H, W, 3], resized to its `fitted_size`, which also says what is raised."""
    return _resized(image, fitted_size(image.shape[:2], canvas, enlarge))


def mirrored(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], mirrored left to right. (NumPy copies such a view ten times as slowly.)"""
    return np.asarray(Image.fromarray(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _too_small(image: np.ndarray, rows: float, cols: float) -> Unusable:
    height, width = image.shape[:2]
    return Unusable("too small", f"the picture has {height} x {width} pixels; it must have at least {int(rows)} x {int(cols)}")


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
