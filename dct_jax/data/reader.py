"""What a system makes of records: the protocol that the pipeline works with."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record


class Reader(Protocol):
    """Turns records into what a stage trains on. It is NumPy alone, and worker processes get it.

    Attributes:
        num_classes: the stage's number of classes; 0 if it has none.
    """

    num_classes: int

    def see(self, record: Record, rng: np.random.Generator, train: bool) -> Any:
        """Returns one picture as the stage sees it, cropped (and in training perhaps mirrored) at
        random.

        Raises:
            ValueError: if the picture cannot be used; another takes its place.
        """
        ...

    def batch(self, seen: Sequence[Any], rngs: Sequence[np.random.Generator]) -> Any:
        """Returns a training batch of pictures, a tree of arrays [B, ...]; each generator is the
        one that its picture was seen with."""
        ...

    def held_out(self, seen: Sequence[Any]) -> Any:
        """Returns what an evaluation reads of pictures that were seen."""
        ...

    def picture(self, seen: Any) -> np.ndarray:
        """Returns what was seen, before the stage loses any of it: uint8 [H, W, 3]."""
        ...

    def label(self, seen: Any) -> int:
        """Returns the class of what was seen; 0 without classes."""
        ...


def label_of(record: Record, num_classes: int, field: str) -> int:
    """Returns the record's class as a stage has it: 0 for one without classes.

    Args:
        record: of the picture.
        num_classes: of the stage.
        field: the path of the field that says it, `RunConfig.classes_field`.

    Raises:
        Unusable: if the stage has classes, but not this one.
    """
    if not num_classes:
        return 0
    if not 0 <= record.label < num_classes:
        raise Unusable("label out of range", f"its label is {record.label}; {field} needs 0 to {num_classes - 1}")
    return record.label
