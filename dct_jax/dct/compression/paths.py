"""Codes the decisions of symbols as words of a range coder, and reads them again."""

from collections.abc import Sequence

import constriction
import numpy as np

from dct_jax.dct.compression.decisions import CERTAIN, LARGEST, probability, round_path

SPARE, SHARE = 64, 1.01
"""What is coded has at most so many bits more than its words, and so many times as many. The coder
gives the unlikely side 2^-24 more than its probability: at log-odds of 14 it costs 0.1 bits less
than the 20.2 that are counted here."""

_COSTS = [(-float(np.log2(1 - p)), -float(np.log2(p))) for p in probability(np.arange(-LARGEST, LARGEST + 1))]
_EVERY = [constriction.stream.model.Bernoulli(float(p), perfect=False) for p in probability(np.arange(-LARGEST, LARGEST + 1))]


def write_paths(sides: np.ndarray, log_odds: np.ndarray, tolerance: float) -> tuple[np.ndarray, list[int]]:
    """Codes M decisions, one after another.

    Args:
        sides: int32 [M], 0 for left and 1 for right.
        log_odds: float64 [M], none of certain decisions.
        tolerance: t, see `decisions`.

    Returns:
        The words, uint32 [W], and the numbers of the decisions that need a hint, in order.
    """
    steps, needs_hint = round_path(log_odds, tolerance)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(sides, constriction.stream.model.Bernoulli(perfect=False), probability(steps))
    return encoder.get_compressed(), np.flatnonzero(needs_hint).tolist()


class PathReader:
    """Reads symbols, decision by decision."""

    def __init__(self, words: np.ndarray, hints: Sequence[int] = ()) -> None:
        """Opens words, uint32 [W], and the numbers of the decisions with hints, in order."""
        self._decoder = constriction.stream.queue.RangeDecoder(words)
        self._bits = SHARE * 32 * len(words) + SPARE  # a coder gives zeros after its words, without end
        self._number, self._hints = 0, iter(hints)
        self._hint = next(self._hints, None)

    def read(self, rounded: np.ndarray) -> int | None:
        """Reads a symbol. Returns None if no symbol has these bits, or more was read than the words
        can hold: they are not such words.

        Args:
            rounded: int16 [2^D - 1, 2], from `round_all`.
        """
        node, nodes = 0, len(rounded)
        while node < nodes:
            steps = int(rounded[node, 0])
            if abs(steps) == CERTAIN:
                side = steps > 0
            else:
                if self._number == self._hint:
                    steps, self._hint = int(rounded[node, 1]), next(self._hints, None)
                self._number += 1
                try:
                    side = self._decoder.decode(_EVERY[steps + LARGEST])
                except AssertionError:  # that is how constriction says that no side has these bits
                    return None
                self._bits -= _COSTS[steps + LARGEST][side]
                if self._bits < 0:
                    return None
            node = 2 * node + 1 + int(side)
        return node - nodes
