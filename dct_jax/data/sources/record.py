"""What a source of pictures is: records by index."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dct_jax.storage.files import read_limited

NO_LABEL = -1
"""The label of a record without a class."""


class Record(NamedTuple):
    """One record of a source.

    Attributes:
        image: an encoded image file, or its pixels, uint8 [H, W, 3].
        label: its class, or NO_LABEL.
        key: its name, for messages.
        codes: of a source of codes, which has no images: int [V, h, w], or [V, h w] if the source
            does not know the sides; V is 1, or 2 with those of the mirrored picture.
    """

    image: bytes | np.ndarray
    label: int
    key: str
    codes: np.ndarray | None = None


def read_record(path: Path, label: int) -> Record:
    """Reads the record of an image file. Raises ValueError if it cannot be read or is too large."""
    return Record(read_limited(path), label, str(path))


class Source(Protocol):
    """A random-access collection of pictures. It is pickled to worker processes and read by several
    threads at once.

    Attributes:
        name: for messages.
        classes: the names of the classes, by label; empty if there are none.
    """

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the record cannot be read."""
        ...


class Part:
    """Some of the records of a source, which are not touched until they are asked for."""

    def __init__(self, source: Source, every: int, held_out: bool) -> None:
        """Takes every n-th record of a source if these are `held_out`, or else all others."""
        self.source, self.every, self.held_out = source, every, held_out
        self.name, self.classes = source.name, source.classes

    def __len__(self) -> int:
        held_out = len(self.source) // self.every
        return held_out if self.held_out else len(self.source) - held_out

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: there is no record {index} of {len(self)}")
        if self.held_out:
            return self.source[(index + 1) * self.every - 1]
        return self.source[index + index // (self.every - 1)]


def hold_out(source: Source, every: int) -> tuple[Part, Part]:
    """Splits a source into the records to train on, and every n-th one, held out.

    Raises:
        ValueError: if that leaves one part empty.
    """
    if len(source) < every:
        raise ValueError(
            f"{source.name} has {len(source)} pictures and one in {every} is held out "
            "(data.held_out_every): add pictures or lower that number"
        )
    return Part(source, every, held_out=False), Part(source, every, held_out=True)
