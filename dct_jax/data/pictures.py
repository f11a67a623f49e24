"""Sets of pictures for sample metrics, of which one at a time is in memory."""

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.config import Config
from dct_jax.data.pipeline import Drawn, draw, held_out_pictures
from dct_jax.data.sources import Source
from dct_jax.dct.reader import pixels


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
    """Pictures of a source as a model sees them in training, unmirrored: crops of one size, or whole pictures that fit on the
    canvas, before they are quantised."""

    def __init__(self, source: Source, config: Config, num: int, repeat: bool = False) -> None:
        """Args:
        source: the pictures.
        config: of the model.
        num: how many at most, at even distances in the source.
        repeat: whether a source with fewer gives other crops of the same pictures.
        """
        most = num if repeat and config.data.fit == "crop" else min(num, len(source))
        self._source, self._config, self._num = source, config, most
        self._pictures = held_out_pictures(len(source), most)

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3]. A picture that cannot be used is replaced by another; see `data.pipeline.draw`."""
        seen = self._drawn(index).seen
        return self._config.codec.decode(seen) if isinstance(seen, SparseDCT) else seen

    def coded(self, index: int) -> np.ndarray:
        """The same picture after the model's codec: the nearest to it that the model could draw."""
        seen, codec = self._drawn(index).seen, self._config.codec
        return codec.decode(seen if isinstance(seen, SparseDCT) else codec.encode(seen))

    def labels(self, num: int) -> list[int]:
        """The classes of so many of the pictures, at even distances, so that samples can have the same ones as often."""
        if not self._config.model.num_classes:
            return [0]
        return [self._drawn(i * self._num // num % self._num).label for i in range(num)]

    def _drawn(self, index: int) -> Drawn:
        rng = np.random.default_rng((self._config.seed, index))
        return draw(self._source, self._pictures[index], self._config, False, rng)
