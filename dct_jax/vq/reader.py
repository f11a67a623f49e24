"""From records to pixels, for autoencoders."""

from collections.abc import Sequence

import numpy as np

from dct_jax.config import RunConfig
from dct_jax.data.crops import seen_image
from dct_jax.data.sources import Record


class PixelReader:
    """Batches of crops, uint8 [B, H, W, 3]: `data.reader.Reader` for an autoencoder."""

    num_classes = 0

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def see(self, record: Record, rng: np.random.Generator, train: bool) -> np.ndarray:
        """A crop. Raises ValueError if the picture cannot be used."""
        return seen_image(record, self.config.data, train and self.config.data.flip, rng)

    def batch(self, seen: Sequence[np.ndarray], rngs: Sequence[np.random.Generator] = ()) -> np.ndarray:
        """uint8 [B, H, W, 3]."""
        return np.stack(seen)

    def held_out(self, seen: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [N, H, W, 3]."""
        return np.stack(seen)

    def picture(self, seen: np.ndarray) -> np.ndarray:
        """The crop itself."""
        return seen

    def label(self, seen: np.ndarray) -> int:
        """0: autoencoders have no classes."""
        return 0
