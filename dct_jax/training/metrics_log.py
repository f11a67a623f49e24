"""The record of a run: the numbers in metrics.jsonl, and pictures. Trackers are made of it."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from dct_jax.storage.files import read_limited, replacing
from dct_jax.training.tracking.pictures import drop_pictures, picture_steps, read_pictures, write_pictures
from dct_jax.training.tracking.tracker import Tracker

log = logging.getLogger(__name__)


class MetricsLog:
    """Writes numbers to metrics.jsonl (a JSON object a line) and pictures to pictures/, and tells
    trackers of them.

    When a run goes on, its record becomes that of a run that never stopped, except for the clock:
    what was logged after the last checkpoint is dropped. The trackers are told the rest anew.
    """

    def __init__(self, folder: Path, step: int, tracker: Tracker) -> None:
        """Opens the log of a run that goes on from `step`; what was logged later is dropped."""
        path = folder / "metrics.jsonl"
        before = path.stat().st_mtime if path.exists() else 0.0
        records = [record for record in read_records(path) if record["step"] <= step]
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
        drop_pictures(folder, step)
        self._folder, self._tracker = folder, tracker
        self._file = path.open("a")
        tell: list[tuple[int, Callable[[], None]]] = [
            (record["step"], partial(tracker.log_numbers, {"time": before} | record)) for record in records
        ]
        tell += [(step, partial(self._tell_pictures, step)) for step in picture_steps(folder)]
        for _, do in sorted(tell, key=itemgetter(0)):
            do()

    def write(self, step: int, **values: Any) -> None:
        """Writes the values of a step: numbers, or dictionaries of numbers."""
        record = {"step": step, **values, "time": round(time.time(), 3)}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._tracker.log_numbers(record)

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes the pictures of a step, uint8 [H, W, 3] by name."""
        write_pictures(self._folder, step, pictures)
        if pictures:
            self._tracker.log_pictures(step, time.time(), pictures)

    def flush(self) -> None:
        """Waits until all is on the disk."""
        os.fsync(self._file.fileno())
        self._tracker.flush()

    def close(self) -> None:
        with suppress(OSError):  # what matters is flushed before each checkpoint; a full disk is spoken of there
            self._file.close()
        self._tracker.close()

    def _tell_pictures(self, step: int) -> None:
        written, pictures = read_pictures(self._folder, step)
        if pictures:
            self._tracker.log_pictures(step, written, pictures)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a metrics.jsonl; [] if there is no file. Broken lines are left out with a
    warning; the last line may be half-written, so it gets none.

    Raises:
        ValueError: if the file cannot be read, or is too large to be one.
    """
    if not path.exists():
        return []
    lines = read_limited(path).decode(errors="replace").splitlines()
    records = [_record(line) for line in lines]
    if broken := sum(record is None for record in records[:-1]):
        log.warning("%s: %d of %d lines cannot be read and are left out", path, broken, len(lines))
    return [record for record in records if record is not None]


def _record(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl, if it is one: names with numbers, or with names with numbers. Step
    and seconds must be finite."""
    try:
        record = json.loads(line)
        parts = [part for value in record.values() for part in (value.values() if isinstance(value, dict) else [value])]
        numbers = [record["step"], record["seconds"], *parts]
        if not all(isinstance(number, int | float) for number in numbers):
            return None
        step, seconds, *_ = map(float, numbers)  # an integer of JSON may be too large for that
        return record if math.isfinite(step) and math.isfinite(seconds) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
