"""Established coders of the same coefficients: a model's bits are compared with theirs."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.tables import first_line


@dataclass(frozen=True)
class Coder:
    """A lossless coder of JPEG files.

    Attributes:
        name: for tables.
        code: makes the bytes of the coded file from those of a JPEG file.
        find: looks for the program or the module that the coder needs, and returns None where it is
            not installed; None if the coder needs neither.
        has_scans: whether the result is a JPEG file, whose scans can be told from its headers.
    """

    name: str
    code: Callable[[bytes], bytes]
    find: Callable[[], object] | None = None
    has_scans: bool = True

    @property
    def is_installed(self) -> bool:
        return self.find is None or self.find() is not None


def _jpegtran(*options: str) -> Callable[[bytes], bytes]:
    def code(jpeg: bytes) -> bytes:
        return _run(["jpegtran", "-copy", "none", *options], jpeg).stdout

    return code


@lru_cache
def _coefficients_alone() -> str:
    """Returns cjxl's option to keep the coefficients alone, not the file's other bytes."""
    options = ("--allow_jpeg_reconstruction=0", "--jpeg_store_metadata=0")  # since version 0.9, and before
    output = _run(["cjxl", "-v", "-v", "-v", "-v", "--help"])
    text = (output.stdout + output.stderr).decode(errors="replace")
    return next((option for option in options if option.partition("=")[0] in text), options[0])


def _cjxl(jpeg: bytes) -> bytes:
    """Runs cjxl, which wants files."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "image.jpg", Path(folder) / "image.jxl"
        before.write_bytes(jpeg)
        _run(["cjxl", str(before), str(after), "--lossless_jpeg=1", _coefficients_alone(), "-e", "9", "--quiet"])
        return after.read_bytes()


def _lepton(jpeg: bytes) -> bytes:
    """Runs Lepton, which keeps a file whole, so its headers, too."""
    from lepton_jpeg_python import compress_bytes

    try:
        return compress_bytes(jpeg)
    except RuntimeError as error:
        raise ValueError(f"Lepton failed: {first_line(error)}") from None


def _run(command: Sequence[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    process = subprocess.run(command, input=data, capture_output=True)
    if process.returncode:
        message = " ".join(process.stderr.decode(errors="replace").split())
        raise ValueError(f"{command[0]} failed: {message[:200]}")
    return process


HUFFMAN = Coder("optimised Huffman", bytes)
ARITHMETIC = Coder("arithmetic", _jpegtran("-arithmetic"), partial(shutil.which, "jpegtran"))
PROGRESSIVE = Coder("progressive arithmetic", _jpegtran("-arithmetic", "-progressive"), ARITHMETIC.find)
LEPTON = Coder("Lepton", _lepton, partial(find_spec, "lepton_jpeg_python"), has_scans=False)
JPEG_XL = Coder("JPEG XL (lossless transcoding)", _cjxl, partial(shutil.which, "cjxl"), has_scans=False)
CODERS = (HUFFMAN, ARITHMETIC, PROGRESSIVE, LEPTON, JPEG_XL)


@dataclass(frozen=True)
class CodedSizes:
    """The bytes that a coder needs for each of N lists.

    Attributes:
        name: the name of the coder.
        files: int64 [N], whole files.
        scans: int64 [N], the entropy-coded data in them; None if they cannot be told apart.
    """

    name: str
    files: np.ndarray
    scans: np.ndarray | None


def available_coders(codec: DCTCodec) -> list[Coder]:
    """Returns the coders that are installed; none if the codec's blocks are not those of JPEG."""
    return [coder for coder in CODERS if coder.is_installed] if codec.block_size == 8 else []


def coded_sizes(coder: Coder, lists: Sequence[SparseDCT]) -> CodedSizes:
    """Codes every list.

    Args:
        coder: it must be installed.
        lists: their codec has blocks of 8 x 8.

    Raises:
        ValueError: if the coder's program fails.
    """
    files = [coder.code(sparse.to_jpeg()) for sparse in lists]
    scans = np.array([scan_bytes(file) for file in files]) if coder.has_scans else None
    return CodedSizes(coder.name, np.array([len(file) for file in files]), scans)


def scan_bits_per_pixel(coder: Coder, lists: Sequence[SparseDCT]) -> float:
    """Returns the size of all lists' scans. Raises ValueError if the coder's program fails."""
    pixels = sum(sparse.size[0] * sparse.size[1] for sparse in lists)
    return 8 * sum(scan_bytes(coder.code(sparse.to_jpeg())) for sparse in lists) / pixels


def scan_bytes(jpeg: bytes) -> int:
    """Counts the entropy-coded bytes of a JPEG file. A scan's data go from the end of its header to
    the next marker, but 0xFF 0x00 is a byte of data, and 0xFFD0 to 0xFFD7 are restart markers in
    them."""
    place, total = 2, 0
    while jpeg[place + 1] != 0xD9:
        is_scan = jpeg[place + 1] == 0xDA
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if is_scan:
            first = place
            while jpeg[place] != 0xFF or jpeg[place + 1] == 0 or 0xD0 <= jpeg[place + 1] <= 0xD7:
                place += 1
            total += place - first
    return total
