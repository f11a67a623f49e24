"""The bytes of a compressed picture.

    0xDC and the format's version        2 bytes
    fingerprint of the model             3 bytes, the first of TrainedModel.fingerprint
    check of the list                    4 bytes, the CRC-32 of its triples, size and quality;
                                         it is looked at last, so a wrong list is never given
    check of the file                    2 bytes of the CRC-32 of all other bytes; it finds
                                         damage before the model is run
    what follows                         1 byte, a sum: 1 for a size, 2 for a label, 4 for a
                                         quality, 8 for hints, 16 for several groups
    tolerance                            1 byte, n of 2^-n; since version 3
    height, width                        without them the model's own canvas
    label                                without it 0
    quality                              of the tables; without it those of the model's codec
    groups, and the bytes of words of
        each group but the last          without them there is one group
    hints: of each group their number,
        the first, and the gaps between  without them there are none
    the words of each group              big-endian, the last without zeros at the end

Versions 1 and 2 have neither tolerance nor what follows the label; their check of the list leaves
out the quality, and all zero bytes at the end of their words are left out. Small images need some
hundred bytes, so every byte of the header counts. Numbers without a given size have 7 bits a byte,
the lowest first; the highest bit says that more follow.
"""

import itertools
import zlib
from dataclasses import dataclass

import numpy as np

from dct_jax.codec import SparseDCT

MAGIC, VERSION = 0xDC, 3
_SIZE, _LABEL, _QUALITY, _HINTS, _GROUPS = 1, 2, 4, 8, 16
_OLDER = _SIZE | _LABEL
_FOLLOWS = {1: _OLDER, 2: _OLDER, 3: _OLDER | _QUALITY | _HINTS | _GROUPS}  # by version, what may follow
READABLE = tuple(_FOLLOWS)
"""These versions can be read. In version 1 the probabilities are those of one list alone in the
model, in version 2 those of a row of a batch; readers must find them to the last bit. Version 3 has
decisions, of which readers need not."""

TOLERANCES = range(8, 49)
"""The n of the tolerances 2^-n that can be read. A smaller one means nothing in float64, and a
larger one would need a hint for every decision."""

_LARGEST = 2**31  # of a number of variable length


@dataclass(frozen=True)
class Group:
    """What one range coder wrote.

    Attributes:
        words: uint32 [W].
        hints: the numbers of the decisions with a hint, in order.
    """

    words: np.ndarray
    hints: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stream:
    """The content of a compressed file.

    Attributes:
        fingerprint: that of the model, `short`.
        size: (H, W) in pixels; None for the model's own canvas.
        label: the image's class; 0 without classes.
        quality: of the list's tables; None for those of the model's codec.
        list_check: `list_check` of the list.
        tolerance: n, by at most 2^-n the logits of readers differ; 0 in versions 1 and 2.
        groups: one or more.
        version: the version of the format.
    """

    fingerprint: bytes
    size: tuple[int, int] | None
    label: int
    quality: int | None
    list_check: int
    tolerance: int
    groups: tuple[Group, ...]
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """Returns the bytes of the file."""
        start = bytes([MAGIC, self.version]) + self.fingerprint + self.list_check.to_bytes(4, "big")
        words = [_of_words(group.words, self.version) for group in self.groups]
        follows, numbers = 0, list[int]()
        for bit, present in (
            (_SIZE, self.size),
            (_LABEL, (self.label,) if self.label else ()),
            (_QUALITY, (self.quality,) if self.quality else ()),
            (_GROUPS, (len(words), *map(len, words[:-1])) if len(words) > 1 else ()),
            (_HINTS, _of_hints(self.groups)),
        ):
            if present:
                follows |= bit
                numbers += present
        tolerance = bytes([self.tolerance]) if self.version >= 3 else b""
        rest = bytes([follows]) + tolerance + b"".join(map(_number, numbers)) + b"".join(words)
        return start + _damage_check(start + rest) + rest

    @classmethod
    def from_bytes(cls, data: bytes) -> "Stream":
        """Reads a file.

        Raises:
            ValueError: if it is not of this format, of another version, damaged or truncated, or of
                a tolerance that this version does not know.
        """
        if data[:1] != bytes([MAGIC]):
            raise ValueError(f"this is no compressed list (it does not begin with the byte {MAGIC:#x})")
        version = data[1] if len(data) > 1 else 0
        if version not in READABLE:
            readable = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
            raise ValueError(f"the format's version is {version or 'missing'}; this version of dct_jax reads {readable}")
        start, check, rest = data[:9], data[9:11], data[11:]
        if not rest or check != _damage_check(start + rest):
            raise ValueError("the file is damaged or truncated (its checksum is wrong)")
        numbers = _Numbers(rest)
        follows, most = numbers.byte(), _FOLLOWS[version]
        if follows & ~most:
            raise ValueError(f"the file is damaged (its header says that {follows} follows; it must be 0 to {most})")
        tolerance = numbers.byte() if version >= 3 else 0
        if version >= 3 and tolerance not in TOLERANCES:
            known = f"2^-{TOLERANCES[-1]} to 2^-{TOLERANCES[0]}"
            raise ValueError(f"the file's tolerance is 2^-{tolerance}; this version of dct_jax knows {known}")
        size = (numbers.next(), numbers.next()) if follows & _SIZE else None
        label = numbers.next() if follows & _LABEL else 0
        quality = numbers.next() if follows & _QUALITY else None
        lengths = numbers.several(numbers.next() - 1) if follows & _GROUPS else []
        hints = [numbers.hints() if follows & _HINTS else () for _ in range(len(lengths) + 1)]
        groups = tuple(map(Group, numbers.words(lengths), hints))
        return cls(start[2:5], size, label, quality, int.from_bytes(start[5:9], "big"), tolerance, groups, version)


class _Numbers:
    """Takes a header's numbers one after another. All raise ValueError where the file ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def byte(self) -> int:
        """Takes one byte."""
        if self._place == len(self._data):
            raise ValueError("the file is damaged or truncated (its header has no end)")
        self._place += 1
        return self._data[self._place - 1]

    def next(self) -> int:
        """Takes a number of variable length."""
        number = 0
        for i in range(5):
            digit = self.byte()
            number += (digit % 128) << 7 * i
            if digit < 128 and number < _LARGEST:
                return number
        raise ValueError("the file is damaged or truncated (a number in its header has no end)")

    def several(self, count: int) -> list[int]:
        """Takes so many numbers. They need as many bytes or more, so no count takes more memory
        than the file."""
        return [self.next() for _ in range(count)]

    def hints(self) -> tuple[int, ...]:
        """Takes the hints of a group."""
        return tuple(itertools.accumulate(self.several(self.next())))

    def words(self, lengths: list[int]) -> list[np.ndarray]:
        """Takes all that is left, cut into parts: uint32 [W] each, one part more than lengths."""
        rest = self._data[self._place :]
        if sum(lengths) > len(rest):
            raise ValueError(f"the file is damaged or truncated (its groups have {sum(lengths)} bytes, it has {len(rest)})")
        ends = [0, *itertools.accumulate(lengths), len(rest)]
        parts = (rest[first:end] for first, end in itertools.pairwise(ends))
        return [np.frombuffer(part + bytes(-len(part) % 4), ">u4").astype(np.uint32) for part in parts]


def short(fingerprint: str) -> bytes:
    """Returns what a file keeps of a model's fingerprint, given in hexadecimal digits. One model in
    16 million has the same; then the check of the list finds out that it is another."""
    return bytes.fromhex(fingerprint)[:3]


def list_check(sparse: SparseDCT, version: int = VERSION) -> int:
    """Returns the CRC-32 of a list's size, quality (0 for tables of its own) and triples."""
    start = sparse.size if version < 3 else (*sparse.size, sparse.codec.quality or 0)
    numbers = np.concatenate([start, sparse.channels, sparse.positions, sparse.values])
    return zlib.crc32(numbers.astype("<i4").tobytes())


def header_bytes(label: int) -> int:
    """Returns how many bytes of a file come before the words, for a picture of the model's own
    size and quality."""
    return 13 + (len(_number(label)) if label else 0)


def _of_hints(groups: tuple[Group, ...]) -> list[int]:
    """Returns the numbers that tell of hints; none if there are no hints."""
    if not any(group.hints for group in groups):
        return []
    return [x for group in groups for x in (len(group.hints), *np.diff(group.hints, prepend=0).tolist())]


def _of_words(words: np.ndarray, version: int) -> bytes:
    """Returns the bytes of words. Since version 3 their number can be told from them, which bounds
    what they hold."""
    data = words.astype(">u4").tobytes()
    if version < 3 or not data:
        return data.rstrip(b"\0")
    return data[:-4] + (data[-4:].rstrip(b"\0") or b"\0")


def _damage_check(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")[:2]


def _number(number: int) -> bytes:
    """Writes a number of variable length."""
    digits = bytearray()
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes(digits + bytes([number]))
