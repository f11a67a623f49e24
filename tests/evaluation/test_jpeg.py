"""The yardstick: the size of the scans of files with exactly the list's coefficients."""

import io

import pytest
from PIL import Image

from dct_jax.codec import DCTCodec
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES
from dct_jax.evaluation.jpeg import arithmetic_bits_per_pixel, arithmetic_coding_available, scan_bytes


def test_scan_bytes_leave_out_every_header() -> None:
    """Files of one picture with and without comments and thumbnails of metadata have the same scan."""
    image = Image.fromarray(read_image(LANDSCAPES / "canyon4.jpg"))
    plain, commented = io.BytesIO(), io.BytesIO()
    image.save(plain, "JPEG")
    image.save(commented, "JPEG", comment=b"x" * 500)
    assert len(commented.getvalue()) == len(plain.getvalue()) + 504
    assert scan_bytes(commented.getvalue()) == scan_bytes(plain.getvalue())
    segments = b"\xff\xd8" + b"\xff\xda\x00\x04ab" + b"12345" + b"\xff\xd9"
    assert scan_bytes(segments) == 5


def test_arithmetic_coding_beats_huffman() -> None:
    codec = DCTCodec()
    if not arithmetic_coding_available(codec):
        pytest.skip("jpegtran is not installed")
    image = read_image(LANDSCAPES / "canyon4.jpg")
    huffman = io.BytesIO()
    Image.fromarray(image).save(huffman, "JPEG", quality=50, optimize=True)
    size = image.shape[0] * image.shape[1]
    bits = arithmetic_bits_per_pixel([codec.encode(image)])
    assert 0.85 < bits / (8 * scan_bytes(huffman.getvalue()) / size) < 1
    assert not arithmetic_coding_available(DCTCodec(block_size=16))
