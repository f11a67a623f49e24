"""JPEG files for the tests."""

import io
from pathlib import Path

from PIL import Image

from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES

FILES = Path(__file__).parent / "files"


def photograph(height: int, width: int) -> Image.Image:
    return Image.fromarray(read_image(LANDSCAPES / "canyon4.jpg")[:height, :width])


def saved(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


KINDS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
    "quality 100": {"quality": 100},
    "progressive quality 100": {"quality": 100, "progressive": True},
    "quality 3": {"quality": 3, "progressive": True},
    "own tables": {"qtables": [list(range(3, 67)), list(range(70, 6, -1))]},
    "three tables": {"qtables": [list(range(3, 67)), [7] * 64, list(range(70, 6, -1))]},
    "comments": {"comment": b"\xff\xd9 is no end here \xff\xda", "dpi": (72, 72)},
}
