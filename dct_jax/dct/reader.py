"""From a record of a source to the list of triples that a model trains on."""

from collections.abc import Sequence

import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.cropping import crop, mirror, smallest_steps
from dct_jax.config import Config, DataConfig
from dct_jax.data.crops import fitted, fitted_size, mirrored, random_crop
from dct_jax.data.pixels import decode_image, image_size
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record

TOGETHER = 2**18
"""Images of one size are encoded together up to so many pixels; larger ones gain nothing."""


def label_of(record: Record, num_classes: int) -> int:
    """The record's class as the model has it: 0 for a model without classes.

    Raises:
        Unusable: if the model has classes, but not this one.
    """
    if not num_classes:
        return 0
    if not 0 <= record.label < num_classes:
        raise Unusable("label out of range", f"its label is {record.label}; model.num_classes needs 0 to {num_classes - 1}")
    return record.label


def pixels(record: Record) -> np.ndarray:
    """The record's image, uint8 [H, W, 3].

    Raises:
        ValueError: if it cannot be decoded.
    """
    return record.image if isinstance(record.image, np.ndarray) else decode_image(record.image)


def drawn_image(record: Record, data: DataConfig, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """What the model sees of a picture, uint8 [H, W, 3]: a random crop, or the whole picture fitted into image_size.

    Raises:
        ValueError: if the picture cannot be decoded, or is too small.
    """
    image = pixels(record)
    if data.fit == "crop":
        image = random_crop(image, data.image_size, data.crop, data.enlarge, rng)
    else:
        image = fitted(image, data.image_size, data.enlarge)
    return mirrored(image) if flip and rng.random() < 0.5 else image


def drawn_own_list(record: Record, config: Config, flip: bool, rng: np.random.Generator) -> SparseDCT:
    """The same with a JPEG file's own coefficients in the codec's tables: a crop of whole blocks, or all of them.

    Raises:
        ValueError: if the file cannot be read, is no JPEG file, is subsampled otherwise than the codec, or does not fit.
    """
    if isinstance(record.image, np.ndarray):
        raise Unusable("no JPEG file", "the source gives pixels; data.own_coefficients needs JPEG files")
    sparse = SparseDCT.from_jpeg(record.image, config.codec.channel_order, config.data.upright)
    wanted, (height, width) = config.data.image_size, sparse.size
    if config.data.fit == "whole":
        _check_fits(sparse.size, wanted)
    else:
        if height < wanted[0] or width < wanted[1]:
            raise Unusable("too small", f"the picture has {height} x {width} pixels; it must have {wanted[0]} x {wanted[1]}")
        rows, cols = smallest_steps(sparse)
        top, left = rng.integers((height - wanted[0]) // rows + 1) * rows, rng.integers((width - wanted[1]) // cols + 1) * cols
        sparse = sparse if sparse.size == tuple(wanted) else crop(sparse, int(top), int(left), wanted)
    largest = config.codec.vocabulary(sparse.size).largest_value
    if sparse.codec != config.codec or (np.abs(sparse.values) > largest).any():  # which some encoders write
        sparse = config.codec.requantize(sparse)
    return mirror(sparse) if flip and rng.random() < 0.5 else sparse


def drawn_size(record: Record, data: DataConfig) -> tuple[int, int]:
    """(H, W) of what the model sees of a picture, from its header alone.

    Raises:
        ValueError: if the picture is too small, or no image.
    """
    if data.fit == "crop":
        return data.image_size
    upright = data.upright or not data.own_coefficients
    size = record.image.shape[:2] if isinstance(record.image, np.ndarray) else image_size(record.image, upright)
    if not data.own_coefficients:
        return fitted_size(size, data.image_size, data.enlarge)
    _check_fits(size, data.image_size)
    return size


def _check_fits(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    """Raises Unusable unless an image of (H, W) pixels fits on the canvas as it is."""
    if size[0] > canvas[0] or size[1] > canvas[1]:
        message = f"the picture has {size[0]} x {size[1]} pixels; it must fit into {canvas[0]} x {canvas[1]}"
        raise Unusable("too large", message)


def encode_all(codec: DCTCodec, images: Sequence[np.ndarray]) -> list[SparseDCT]:
    """uint8 [H, W, 3] each -> their lists, small images of one size together."""
    if len(images) > 1 and images[0].size * len(images) <= 3 * TOGETHER and len({image.shape for image in images}) == 1:
        return codec.encode_batch(np.stack(images))
    return [codec.encode(image) for image in images]
