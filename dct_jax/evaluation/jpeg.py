"""What JPEG's own arithmetic coder makes of the same coefficients: the yardstick for bits per pixel."""

import shutil
import subprocess
from collections.abc import Sequence

from dct_jax.codec import DCTCodec, SparseDCT


def arithmetic_coding_available(codec: DCTCodec) -> bool:
    """Whether jpegtran is installed and the codec's blocks are JPEG's."""
    return codec.block_size == 8 and shutil.which("jpegtran") is not None


def arithmetic_bits_per_pixel(lists: Sequence[SparseDCT]) -> float:
    """Bits per pixel of the arithmetic-coded scans of these lists: `jpegtran -arithmetic`, without any header.

    Args:
        lists: lists of blocks of 8 x 8.

    Raises:
        RuntimeError: if jpegtran fails.
    """
    bits = pixels = 0
    for sparse in lists:
        coded = subprocess.run(["jpegtran", "-arithmetic"], input=sparse.to_jpeg(), capture_output=True)
        if coded.returncode:
            raise RuntimeError(f"jpegtran -arithmetic failed: {coded.stderr.decode(errors='replace').strip()}")
        bits += 8 * scan_bytes(coded.stdout)
        pixels += sparse.size[0] * sparse.size[1]
    return bits / pixels


def scan_bytes(jpeg: bytes) -> int:
    """The entropy-coded bytes of a JPEG file with one scan: from the end of the scan's header to the end-of-image marker."""
    header = jpeg.index(b"\xff\xda")
    length = int.from_bytes(jpeg[header + 2 : header + 4], "big")
    return len(jpeg) - (header + 2 + length) - 2
