"""From records to grids of codes, or to the pictures that become codes on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.codes.config import CodePriorConfig
from dct_jax.data.crops import seen_image
from dct_jax.data.reader import label_of
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record


class SeenCodes(NamedTuple):
    """A crop, uint8 [H, W, 3], or codes, int32 [h, w]; and its class."""

    content: np.ndarray
    label: int


class CodesBatch(NamedTuple):
    """Grids of codes, or pictures of them.

    Attributes:
        content: codes, int32 [B, h, w], or pixels, uint8 [B, H, W, 3].
        labels: int32 [B], the classes; 0 without classes.
        seeds: uint32 [B], of what is random in training, picture by picture.
    """

    content: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray


class CodesReader:
    """Makes batches of codes or of their pictures: `data.reader.Reader` for a prior over codes."""

    def __init__(self, config: CodePriorConfig) -> None:
        self.config, self.num_classes = config, config.codes.num_classes

    def see(self, record: Record, rng: np.random.Generator, train: bool) -> SeenCodes:
        """Takes a crop, or the record's own codes: in training perhaps those of the mirrored
        picture. Raises ValueError if it cannot be used."""
        label, flip = label_of(record, self.num_classes, self.config.classes_field), train and self.config.data.flip
        if record.codes is None:
            return SeenCodes(seen_image(record, self.config.data, flip, rng), label)
        codes = record.codes[rng.integers(len(record.codes)) if flip else 0]
        height, width = self.config.grid
        if codes.size != height * width or (codes.ndim == 2 and codes.shape != (height, width)):
            raise Unusable(
                "another grid", f"it has {' x '.join(map(str, codes.shape))} codes; the run's grid is {height} x {width}"
            )
        codes = codes.reshape(height, width).astype(np.int64)  # in int32, codes that are too large would become others
        try:
            self.config.check_codes(codes[None])
        except ValueError as error:
            raise Unusable("codes of no picture", str(error)) from error
        return SeenCodes(codes.astype(np.int32), label)

    def batch(self, seen: Sequence[SeenCodes], rngs: Sequence[np.random.Generator]) -> CodesBatch:
        """Stacks what was seen."""
        seeds = np.array([rng.integers(2**32) for rng in rngs], np.uint32)
        return CodesBatch(np.stack([one.content for one in seen]), _labels(seen), seeds)

    def held_out(self, seen: Sequence[SeenCodes]) -> CodesBatch:
        """Stacks what was seen; the seed of a picture is its number."""
        return CodesBatch(np.stack([one.content for one in seen]), _labels(seen), np.arange(len(seen), dtype=np.uint32))

    def picture(self, seen: SeenCodes) -> np.ndarray:
        """Returns the crop. Raises ValueError if there are codes alone."""
        if seen.content.ndim != 3:
            raise ValueError(
                f"{self.config.data.source} has codes alone; to compare samples with pictures, name a source of these"
            )
        return seen.content

    def label(self, seen: SeenCodes) -> int:
        """Returns the class; 0 without classes."""
        return seen.label


def _labels(seen: Sequence[SeenCodes]) -> np.ndarray:
    return np.array([one.label for one in seen], np.int32)
