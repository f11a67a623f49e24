"""The idx format, in which MNIST and the data sets after its pattern come: a header, then an
array's bytes, often gzipped."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dct_jax.storage.files import LARGEST_FILE

_UNSIGNED_BYTE = 0x08
_OTHER_TYPES = {0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "floats", 0x0E: "doubles"}
_GZIP = b"\x1f\x8b"
_MOST_EXPANSION = 1032  # deflate makes at most so many bytes of one
_AT_ONCE = 2**20


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads the array in an idx file of unsigned bytes, gzipped or not, whatever its name says.

    The header says how large the array is; before that many bytes are asked for, it is compared
    with the file's size.

    Args:
        path: the file.
        dimensions: how many the array must have.

    Returns:
        uint8 [...], read-only.

    Raises:
        ValueError: if the file cannot be read, or its magic number, sizes or length are wrong.
    """
    try:
        with path.open("rb") as raw:
            stored = os.fstat(raw.fileno()).st_size
            is_gzipped = raw.read(2) == _GZIP
            raw.seek(0)
            file: BinaryIO = gzip.GzipFile(fileobj=raw) if is_gzipped else raw  # type: ignore[assignment]
            return _read(file, dimensions, stored * _MOST_EXPANSION if is_gzipped else stored)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except EOFError:
        raise ValueError(f"{path}: this gzip file is cut off; get it anew") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: this gzip file is damaged ({error}); get it anew") from None
    except OSError as error:
        raise ValueError(f"{path}: this file cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(file: BinaryIO, dimensions: int, most_bytes: int) -> np.ndarray:
    """Reads as `read_idx`, from an open file that cannot give more than `most_bytes`."""
    shape = _read_header(file, dimensions)
    sizes, wanted = " x ".join(map(str, shape)), math.prod(shape)
    if min(shape) < 1 or wanted > LARGEST_FILE:
        raise ValueError(f"its sizes are {sizes}; each must be 1 or more, and all together at most {LARGEST_FILE} bytes")
    cut_off = f"its sizes are {sizes}, which are {wanted} bytes, but it ends before them; it is cut off, or its header is wrong"
    if wanted > most_bytes:
        raise ValueError(cut_off)
    data = bytearray()
    while len(data) < wanted and (piece := file.read(min(wanted - len(data), _AT_ONCE))):
        data += piece
    if len(data) < wanted:
        raise ValueError(cut_off)
    if file.read(1):  # at the end gzip also compares its check sum
        raise ValueError(f"its sizes are {sizes}, which are {wanted} bytes, but more follow; its header is wrong")
    array = np.frombuffer(data, np.uint8).reshape(shape)
    array.flags.writeable = False
    return array


def _read_header(file: BinaryIO, dimensions: int) -> tuple[int, ...]:
    """Reads the array's sizes, after a magic number of unsigned bytes in so many dimensions."""
    wanted = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    length = len(wanted) + 4 * dimensions
    header = file.read(length)
    magic = header[:4]
    if magic != wanted:
        reason = f"it begins with {magic.hex(' ') or 'nothing'}"
        if len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _OTHER_TYPES:
            reason += f", an idx file of {_OTHER_TYPES[magic[2]]}"
        elif magic[:3] == wanted[:3] and len(magic) == 4:
            reason += f", an idx file of {magic[3]} dimensions"
        raise ValueError(f"{reason}; it must begin with {wanted.hex(' ')}, unsigned bytes in {dimensions} dimensions")
    if len(header) < length:
        raise ValueError(f"it ends after {len(header)} bytes; the header alone has {length}")
    return tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
