"""Pictures that cannot be used: why, which, and how many are too many."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

ENOUGH = 100
"""So many pictures are read before the share of the skipped ones is judged."""

LISTED = 20
"""So many skipped pictures are named when a run ends because of them."""


class Unusable(ValueError):
    """Why a picture cannot be used.

    Attributes:
        reason: the kind of fault, which the summary counts: "not readable", "too small", ...
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, as errors go from one process to another
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


class Skip(NamedTuple):
    """A picture that was skipped: its key, the kind of fault, and the whole message."""

    key: str
    reason: str
    message: str


def skip_of(key: str, error: ValueError) -> Skip:
    """Returns what to note of a picture that could not be used."""
    message = str(error)
    return Skip(key, getattr(error, "reason", "not readable"), message if key in message else f"{key}: {message}")


class Skipped:
    """The pictures that a run has skipped. Each is named in the log once.

    Attributes:
        by_key: all of them.
    """

    def __init__(self, pictures: int, most: float) -> None:
        """Begins without any.

        Args:
            pictures: how many there are.
            most: the share that may be skipped of those that were read.
        """
        self.by_key: dict[str, Skip] = {}
        self._pictures, self._most, self._read = pictures, most, 0

    def __len__(self) -> int:
        return len(self.by_key)

    def note(self, used: int, skips: Sequence[Skip]) -> None:
        """Takes in how many pictures were used, and which were skipped.

        Raises:
            ValueError: if too large a share has been skipped; the message lists them.
        """
        self._read += used + len(skips)
        for skip in skips:
            if skip.key not in self.by_key:
                self.by_key[skip.key] = skip
                log.warning("skipping picture %d: %s", len(self), skip.message)
        seen = min(self._read, self._pictures)  # pictures come again every epoch
        # In a part of the pictures, more may be bad by chance: up to three standard deviations.
        chance = 3 * math.sqrt(self._most * seen) if seen < self._pictures else 0
        if seen >= min(ENOUGH, self._pictures) and len(self) > self._most * seen + chance:
            names = "; ".join(skip.message for skip in list(self.by_key.values())[:LISTED])
            more = f"; and {len(self) - LISTED} more" if len(self) > LISTED else ""
            raise ValueError(
                f"{self.summary()} of {seen} that were read; data.max_skipped allows a share of {self._most}: {names}{more}"
            )

    def summary(self) -> str:
        """Returns a line as "3 pictures cannot be used (2 not readable, 1 too small)"."""
        kinds = Counter(skip.reason for skip in self.by_key.values()).most_common()
        listed = ", ".join(f"{number} {reason}" for reason, number in kinds)
        return f"{len(self)} picture{'s' * (len(self) != 1)} cannot be used" + (f" ({listed})" if kinds else "")
