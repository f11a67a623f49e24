"""The bytes of a compressed list.

    "DCT" and the format's version       4 bytes
    fingerprint of the model             4 bytes, the first of TrainedModel.fingerprint
    CRC-32 of what follows it and of     4 bytes; it is checked last, and is why a wrong list is never given
        the list that was compressed
    check of the whole file              2 bytes of its CRC-32; it finds damage before the model is run
    height, width                        variable; one 0 stands for the model's own canvas
    label                                variable
    the range coder's words              big-endian, without zeros at the end

Small images need some hundred bytes, so every byte of the header counts. Numbers of variable length have 7 bits a byte, the
lowest first; the highest bit says that more follow.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from dct_jax.codec import SparseDCT

MAGIC, VERSION = b"DCT", 1
_FIXED = 14  # bytes before the numbers of variable length
_LARGEST = 2**31  # of a number of variable length


@dataclass(frozen=True)
class Stream:
    """What a compressed file holds.

    Attributes:
        fingerprint: the first 4 bytes of the model's.
        size: (H, W) in pixels; None for the model's own canvas.
        label: the image's class; 0 without classes.
        list_check: `list_check` of the list, under this header.
        words: uint32 [N], the range coder's.
    """

    fingerprint: bytes
    size: tuple[int, int] | None
    label: int
    list_check: int
    words: np.ndarray

    def to_bytes(self) -> bytes:
        """The file."""
        start = MAGIC + bytes([VERSION]) + self.fingerprint + self.list_check.to_bytes(4, "big")
        size = _number(0) if self.size is None else _number(self.size[0]) + _number(self.size[1])
        rest = size + _number(self.label) + self.words.astype(">u4").tobytes().rstrip(b"\0")
        return start + _damage_check(start + rest) + rest

    @classmethod
    def from_bytes(cls, data: bytes) -> "Stream":
        """Reads a file.

        Raises:
            ValueError: if it is none of ours, of another version of the format, damaged or truncated.
        """
        if data[:3] != MAGIC:
            raise ValueError("this is no compressed list (it does not begin with DCT)")
        if data[3:4] != bytes([VERSION]):
            version = data[3] if len(data) > 3 else "missing"
            raise ValueError(f"the format's version is {version}; this version of dct_jax reads {VERSION}")
        start, check, rest = data[: _FIXED - 2], data[_FIXED - 2 : _FIXED], data[_FIXED:]
        if check != _damage_check(start + rest):
            raise ValueError("the file is damaged or truncated (its checksum is wrong)")
        height, rest = _read_number(rest)
        width, rest = _read_number(rest) if height else (0, rest)
        label, rest = _read_number(rest)
        words = np.frombuffer(rest + bytes(-len(rest) % 4), ">u4").astype(np.uint32)
        return cls(start[4:8], (height, width) if height else None, label, int.from_bytes(start[8:12], "big"), words)


def list_check(sparse: SparseDCT) -> int:
    """CRC-32 of a list's triples, with its size."""
    numbers = np.concatenate([sparse.size, sparse.channels, sparse.positions, sparse.values])
    return zlib.crc32(numbers.astype("<i4").tobytes())


def _damage_check(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")[:2]


def _number(number: int) -> bytes:
    """A number of variable length."""
    digits = bytearray()
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes(digits + bytes([number]))


def _read_number(data: bytes) -> tuple[int, bytes]:
    """The number that `data` begins with, and what follows it."""
    number = 0
    for i, digit in enumerate(data[:5]):
        number += (digit % 128) << 7 * i
        if digit < 128 and number < _LARGEST:
            return number, data[i + 1 :]
    raise ValueError("the file is damaged or truncated (a number in its header has no end)")
