"""Symbols <-> the range coder's words, by integer weights."""

import constriction
import numpy as np


class Encoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def write(self, symbol: int, weights: np.ndarray) -> None:
        """One symbol, whose weight is not 0, of float64 [N] weights."""
        self._encoder.encode(symbol, _distribution(weights))

    def words(self) -> np.ndarray:
        """uint32: all that was written."""
        return self._encoder.get_compressed()


class Decoder:
    """Reads symbols again."""

    def __init__(self, words: np.ndarray) -> None:
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def read(self, weights: np.ndarray) -> int | None:
        """The next symbol; None if there is none, or its weight is 0: these words were not written with these weights."""
        try:
            symbol = int(self._decoder.decode(_distribution(weights)))
        except AssertionError:  # that is how constriction says that no symbol has these bits
            return None
        return symbol if weights[symbol] else None


def _distribution(weights: np.ndarray) -> constriction.stream.model.Categorical:
    """Integers are exact in float64, and so are their sums; what follows is the same on every machine."""
    return constriction.stream.model.Categorical(weights, perfect=False)
