"""The bytes of a compressed list.

    0xDC and the format's version        2 bytes
    fingerprint of the model             3 bytes, the first of TrainedModel.fingerprint
    check of the list                    4 bytes, the CRC-32 of its triples and size; it is
                                         looked at last, so a wrong list is never given
    check of the file                    2 bytes of the CRC-32 of all other bytes; it finds
                                         damage before the model is run
    what follows                         1 byte: 1 for a size, 2 for a label, 3 for both
    height, width                        variable; without them the model's own canvas
    label                                variable; without it 0
    the range coder's words              big-endian, without zeros at the end

Small images need some hundred bytes, so every byte of the header counts. Numbers of variable length
have 7 bits a byte, the lowest first; the highest bit says that more follow.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from dct_jax.codec import SparseDCT

MAGIC, VERSION = 0xDC, 2
READABLE = (1, 2)
"""These versions can be read. They have one layout. In version 1 the probabilities are those of one
list alone in the model, in version 2 those of a row of a batch."""

_SIZE, _LABEL = 1, 2
_LARGEST = 2**31  # of a number of variable length


@dataclass(frozen=True)
class Stream:
    """The content of a compressed file.

    Attributes:
        fingerprint: that of the model, `short`.
        size: (H, W) in pixels; None for the model's own canvas.
        label: the image's class; 0 without classes.
        list_check: `list_check` of the list.
        words: uint32 [N], the words of the range coder.
        version: the version of the format.
    """

    fingerprint: bytes
    size: tuple[int, int] | None
    label: int
    list_check: int
    words: np.ndarray
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """Returns the bytes of the file."""
        start = bytes([MAGIC, self.version]) + self.fingerprint + self.list_check.to_bytes(4, "big")
        follows = (_SIZE if self.size else 0) | (_LABEL if self.label else 0)
        words = self.words.astype(">u4").tobytes().rstrip(b"\0")
        rest = bytes([follows]) + _numbers(self.size, self.label) + words
        return start + _damage_check(start + rest) + rest

    @classmethod
    def from_bytes(cls, data: bytes) -> "Stream":
        """Reads a file.

        Raises:
            ValueError: if it is not of this format, of another version, damaged or truncated.
        """
        if data[:1] != bytes([MAGIC]):
            raise ValueError(f"this is no compressed list (it does not begin with the byte {MAGIC:#x})")
        version = data[1] if len(data) > 1 else "missing"
        if version not in READABLE:
            raise ValueError(
                f"the format's version is {version}; this version of dct_jax reads {' and '.join(map(str, READABLE))}"
            )
        start, check, rest = data[:9], data[9:11], data[11:]
        if not rest or check != _damage_check(start + rest):
            raise ValueError("the file is damaged or truncated (its checksum is wrong)")
        follows, rest = rest[0], rest[1:]
        if follows > _SIZE | _LABEL:
            raise ValueError(f"the file is damaged (its header says that {follows} follows; it must be 0 to {_SIZE | _LABEL})")
        height = width = label = 0
        if follows & _SIZE:
            height, rest = _read_number(rest)
            width, rest = _read_number(rest)
        if follows & _LABEL:
            label, rest = _read_number(rest)
        words = np.frombuffer(rest + bytes(-len(rest) % 4), ">u4").astype(np.uint32)
        size = (height, width) if follows & _SIZE else None
        return cls(start[2:5], size, label, int.from_bytes(start[5:9], "big"), words, version)


def short(fingerprint: str) -> bytes:
    """Returns what a file keeps of a model's fingerprint, given in hexadecimal digits. One model in
    16 million has the same; then the check of the list finds out that it is another."""
    return bytes.fromhex(fingerprint)[:3]


def list_check(sparse: SparseDCT) -> int:
    """Returns the CRC-32 of a list's size and triples."""
    numbers = np.concatenate([sparse.size, sparse.channels, sparse.positions, sparse.values])
    return zlib.crc32(numbers.astype("<i4").tobytes())


def header_bytes(size: tuple[int, int] | None, label: int) -> int:
    """Returns how many bytes of a file come before the range coder's words."""
    return 12 + len(_numbers(size, label))


def _numbers(size: tuple[int, int] | None, label: int) -> bytes:
    """Returns what follows the fixed part of the header."""
    return b"".join(map(_number, (*(size or ()), *((label,) if label else ()))))


def _damage_check(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")[:2]


def _number(number: int) -> bytes:
    """Writes a number of variable length."""
    digits = bytearray()
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes(digits + bytes([number]))


def _read_number(data: bytes) -> tuple[int, bytes]:
    """Returns the number that `data` begins with, and what follows it."""
    number = 0
    for i, digit in enumerate(data[:5]):
        number += (digit % 128) << 7 * i
        if digit < 128 and number < _LARGEST:
            return number, data[i + 1 :]
    raise ValueError("the file is damaged or truncated (a number in its header has no end)")
