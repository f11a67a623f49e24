"""What JPEG's own arithmetic coder makes of the same coefficients: the yardstick for bits per pixel."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jpeglib
import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT


def arithmetic_coding_available(codec: DCTCodec) -> bool:
    """Whether jpegtran is installed and the codec's blocks are JPEG's."""
    return codec.block_size == 8 and shutil.which("jpegtran") is not None


def arithmetic_bits_per_pixel(lists: Sequence[SparseDCT], codec: DCTCodec) -> float:
    """Bits per pixel of the arithmetic-coded scans of these lists: `jpegtran -arithmetic`, without any header.

    Args:
        lists: lists of the codec, whose block size must be 8.
        codec: their codec.

    Raises:
        RuntimeError: if jpegtran fails.
    """
    bits = pixels = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        for sparse in lists:
            write_jpeg(sparse, codec, path)
            coded = subprocess.run(["jpegtran", "-arithmetic", str(path)], capture_output=True)
            if coded.returncode:
                raise RuntimeError(f"jpegtran -arithmetic failed: {coded.stderr.decode(errors='replace').strip()}")
            bits += 8 * scan_bytes(coded.stdout)
            pixels += sparse.size[0] * sparse.size[1]
    return bits / pixels


def write_jpeg(sparse: SparseDCT, codec: DCTCodec, path: Path) -> None:
    """Writes a baseline JPEG file with exactly the list's coefficients."""
    blocks = [np.ascontiguousarray(x, np.int16) for x in codec.to_blocks(codec.to_dct_image(sparse))]
    jpeg = jpeglib.from_dct(*blocks, qt=codec.quantization_tables[:2].astype(np.uint16), quant_tbl_no=[0, 1, 1])
    jpeg.height, jpeg.width = sparse.size
    jpeg.write_dct(str(path))


def scan_bytes(jpeg: bytes) -> int:
    """The entropy-coded bytes of a JPEG file with one scan: from the end of the scan's header to the end-of-image marker."""
    header = jpeg.index(b"\xff\xda")
    length = int.from_bytes(jpeg[header + 2 : header + 4], "big")
    return len(jpeg) - (header + 2 + length) - 2
