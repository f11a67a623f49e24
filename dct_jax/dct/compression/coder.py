"""Codes symbols as words of a range coder, by integer weights, and reads them again."""

import constriction
import numpy as np


class Encoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def write(self, symbol: int, weights: np.ndarray) -> None:
        """Writes one of N symbols, whose weight is not 0. The weights are float64 [N]."""
        self._encoder.encode(symbol, _distribution(weights))

    def words(self) -> np.ndarray:
        """Returns all that was written, uint32."""
        return self._encoder.get_compressed()


class Decoder:
    """Reads symbols again."""

    def __init__(self, words: np.ndarray) -> None:
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def read(self, weights: np.ndarray) -> int | None:
        """Reads the next symbol. Returns None if there is none or its weight is 0: then the words
        were written with other weights."""
        try:
            symbol = int(self._decoder.decode(_distribution(weights)))
        except AssertionError:  # that is how constriction says that no symbol has these bits
            return None
        return symbol if weights[symbol] else None


def _distribution(weights: np.ndarray) -> constriction.stream.model.Categorical:
    """Makes a distribution of integer weights. They and their sums are exact in float64, so it is
    the same on every machine."""
    return constriction.stream.model.Categorical(weights, perfect=False)
