"""Reads what visitors of the demo page upload: sizes are checked before anything is decoded."""

from pathlib import Path

import numpy as np

from dct_jax.data.pixels import decode_image

LARGEST_FILE = 8 * 2**20
LARGEST_MASK = 2**20
"""Bytes of what a brush painted. With one colour it has some thousands."""

MOST_PIXELS = 2**24
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Other formats are refused: some of Pillow's decoders start other programs."""


def read_upload(path: str | None) -> np.ndarray:
    """Reads the pixels of an upload, uint8 [H, W, 3].

    Raises:
        ValueError: if there is none, or it is too large, or no image, as its header says.
    """
    if not path:
        raise ValueError("upload a picture first")
    if Path(path).stat().st_size > LARGEST_FILE:
        raise ValueError(f"this file has more than {LARGEST_FILE >> 20} MiB")
    return decode_image(Path(path).read_bytes(), FORMATS, MOST_PIXELS)
