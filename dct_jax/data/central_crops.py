"""Pictures of a source as they are, or their central crops: for what is measured, not trained."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from dct_jax.data.crops import central_crop, held_out_pictures
from dct_jax.data.pixels import pixels
from dct_jax.data.skipped import Skipped, skip_of
from dct_jax.data.sources import NO_LABEL, Source


class Crop(NamedTuple):
    """A central crop of a picture.

    Attributes:
        key, label: of the picture.
        pixels: uint8 [H, W, 3]; None if the picture cannot be used.
    """

    key: str
    label: int
    pixels: np.ndarray | None


def central_crops(
    source: Source, numbers: Iterable[int], size: tuple[int, int] | None, skipped: Skipped, enlarge: float = 1.0
) -> Iterator[Crop]:
    """Reads pictures of a source.

    Args:
        source: the pictures.
        numbers: of the pictures to read.
        size: (H, W), to which central crops are resized; None leaves pictures as they are.
        skipped: it counts the pictures that cannot be used.
        enlarge: how many times larger a crop may become; pictures that need more cannot be used.

    Raises:
        ValueError: when too many pictures cannot be used.
    """
    for number in numbers:
        key, label = f"{source.name}, picture {number}", NO_LABEL
        try:
            record = source[number]
            key, label = record.key, record.label
            image = pixels(record)
            image = image if size is None else central_crop(image, size, enlarge)
        except ValueError as error:
            skipped.note(0, [skip_of(key, error)])
            yield Crop(key, label, None)
            continue
        skipped.note(1, [])
        yield Crop(key, label, image)


def evenly_spaced_crops(
    source: Source, number: int, size: tuple[int, int] | None, skipped: Skipped, enlarge: float = 1.0
) -> Iterator[np.ndarray]:
    """Yields central crops of pictures at even distances in a source, uint8 [H, W, 3].

    Args:
        source, size, skipped, enlarge: as of `central_crops`.
        number: how many pictures, from 1 to all.

    Raises:
        ValueError: if none of the pictures can be used, or too few.
    """
    used = 0  # `skipped` counts keys, and sources may have a picture twice
    for crop in central_crops(source, held_out_pictures(len(source), number), size, skipped, enlarge):
        if crop.pixels is not None:
            used += 1
            yield crop.pixels
    if not used:
        first = next(iter(skipped.by_key.values()))
        raise ValueError(f"{source.name}: none of the {number} pictures that were tried can be used; {first.message}")
