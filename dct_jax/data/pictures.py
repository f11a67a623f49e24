"""Sets of pictures for sample metrics, of which one at a time is in memory."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dct_jax.config import RunConfig
from dct_jax.data.crops import held_out_pictures
from dct_jax.data.pipeline import find
from dct_jax.data.pixels import pixels
from dct_jax.data.sources import Source


class Pictures(Protocol):
    """A set of pictures, of which one at a time is in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns a picture, uint8 [H, W, 3], which never changes; pictures may differ in size."""
        ...


class SourcePictures:
    """The pictures of a source as they are, uint8 [H, W, 3] each."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> np.ndarray:
        """Raises ValueError, which names the picture, if it cannot be decoded."""
        record = self._source[index]
        try:
            return pixels(record)
        except ValueError as error:
            raise ValueError(f"{self._source.name}, {record.key}: {error}") from None


class SeenPictures:
    """Pictures of a source as a stage sees them in training, unmirrored: crops of one size, or
    whole pictures that fit on the canvas, before the stage loses any of them."""

    def __init__(self, source: Source, config: RunConfig, num: int, repeat: bool = False) -> None:
        """Chooses the pictures.

        Args:
            source: the pictures.
            config: of the stage's run.
            num: how many at most, at even distances in the source.
            repeat: whether a source with fewer gives several crops of a picture.
        """
        self._num = num if repeat and config.data.fit == "crop" else min(num, len(source))
        self._source, self._reader, self._seed = source, config.reader(), config.seed
        self._pictures = held_out_pictures(len(source), self._num)

    @property
    def owners(self) -> list[int]:
        """The place in the source of the picture that each one is a crop of. Where that cannot be
        used, it stays this place, though the crop is of another picture: `find` tells only when
        pictures are read, and owners are asked for before."""
        return self._pictures

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns uint8 [H, W, 3]. A picture that cannot be used is replaced by another; see
        `data.pipeline.find`."""
        return self._reader.picture(self._see(index))

    def labels(self, num: int) -> list[int]:
        """Returns the classes of so many pictures, at even distances, for as many samples."""
        if not self._reader.num_classes:
            return [0]
        return [self._reader.label(self._see(i * self._num // num % self._num)) for i in range(num)]

    def look(self, num: int) -> tuple[list[np.ndarray], list[int]]:
        """Returns at most so many pictures to look at, uint8 [H, W, 3] each, and their classes: the
        first picture of each of the first classes that there are; or pictures at even distances and
        [0] without classes."""
        if not (classes := self._reader.num_classes):
            return [self[i] for i in range(0, self._num, max(1, self._num // num))][:num], [0]
        found: dict[int, int] = {}  # the place of the first picture of a class
        for i in range(self._num):
            label = self._reader.label(self._see(i))
            found.setdefault(label, i)
            if all(one in found for one in range(min(classes, num))):
                break
        labels = sorted(found)[:num]
        return [self[found[label]] for label in labels], labels

    def _see(self, index: int) -> Any:
        rng = np.random.default_rng((self._seed, index))
        return find(self._source, self._pictures[index], self._reader, rng, train=False).seen


MOST_REFERENCES = 10_000


def reference_pictures(source: Source, config: RunConfig, num: int | None) -> SeenPictures:
    """Chooses the training pictures that samples are compared with.

    Args:
        source: the training pictures.
        config: of the stage's run.
        num: how many, at even distances; a source with fewer gives several crops of a picture. None
            for all pictures, or MOST_REFERENCES of more.
    """
    return SeenPictures(source, config, MOST_REFERENCES if num is None else num, repeat=num is not None)


class Mapped:
    """The pictures of a set, each changed by a function when it is asked for."""

    def __init__(self, pictures: Pictures, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pictures, self._change = pictures, change

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._change(self._pictures[index])
