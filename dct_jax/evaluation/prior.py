"""What the rulers of samples ask of a model: that it samples pictures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from dct_jax.data.pictures import Pictures


class GuidedSamples(NamedTuple):
    """Samples that begin with a part of held-out pictures.

    Attributes:
        name: of the set.
        samples: as they end: number, uint8 [H, W, 3], and whether it has all that was given.
        given: the name of what they were given, and the pictures of it.
        kept: what a report calls the share of samples that have all that was given.
    """

    name: str
    samples: Iterator[tuple[int, np.ndarray, bool]]
    given: tuple[str, Sequence[np.ndarray]]
    kept: str


@runtime_checkable
class Prior(Protocol):
    """A trained model that samples pictures.

    Attributes:
        block_size: pixels of a side of the blocks whose borders may show in its samples.
        settings: of its sampler, by name: a number each, or a tuple of several.
    """

    @property
    def block_size(self) -> int: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Returns the model with other settings of its sampler; one number stands for all of a
        setting that has several. Raises ValueError if it has no such setting or value."""
        ...

    def sample_pictures(self, num: int, seed: int, labels: Sequence[int], batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields samples as they end: number i, and uint8 [H, W, 3]. The labels take turns: sample
        i has label i modulo their number."""
        ...

    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        """The nearest picture that it could sample, uint8 [H, W, 3]."""
        ...

    def guided_pictures(self, held_out: Pictures, seed: int, batch_size: int) -> GuidedSamples | None:
        """Samples that are given a part of a held-out picture, one each; None if it cannot."""
        ...
