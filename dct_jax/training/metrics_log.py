"""The numbers of a run: metrics.jsonl is the record, and TensorBoard events are made of it."""

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from dct_jax.storage.files import replacing

log = logging.getLogger(__name__)

EVENTS = "events.out.tfevents.*"


class MetricsLog:
    """Writes numbers to metrics.jsonl (a JSON object a line) and to TensorBoard events beside it.

    When a run goes on, both become those of a run that never stopped, except for the clock: what
    was logged after the last checkpoint is dropped, and the events are written anew.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Opens the log of a run that goes on from `step`; what was logged later is dropped."""
        path = folder / "metrics.jsonl"
        before = path.stat().st_mtime if path.exists() else 0.0
        records = [record for record in read_records(path) if record["step"] <= step]
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
        for events in folder.glob(EVENTS):
            events.unlink()
        # Not SummaryWriter: on a full disk its thread ends in silence, and its queue stops the run.
        self._board = EventsWriter(str(folder / "events"))
        self._file = path.open("a")
        for record in records:
            self._plot({"time": before} | record)

    def write(self, step: int, **values: Any) -> None:
        """Writes the values of a step: numbers, or dictionaries of numbers."""
        record = {"step": step, **values, "time": round(time.time(), 1)}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._plot(record)

    def flush(self) -> None:
        """Waits until all is on the disk."""
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        with suppress(OSError):  # what matters is flushed before each checkpoint; a full disk is spoken of there
            self._file.close()
            self._board.close()

    def _plot(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name in ("step", "time"):
                continue
            for part, number in value.items() if isinstance(value, dict) else [("", value)]:
                summary = scalar(f"{name}/{part}" if part else name, number)
                self._board.write_event(Event(wall_time=record["time"], step=record["step"], summary=summary))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a metrics.jsonl; [] if there is no file. Broken lines are left out with a
    warning; the last line may be half-written, so it gets none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    records = [_record(line) for line in lines]
    if broken := sum(record is None for record in records[:-1]):
        log.warning("%s: %d of %d lines cannot be read and are left out", path, broken, len(lines))
    return [record for record in records if record is not None]


def _record(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl, if it is one: names with numbers, or with names with numbers."""
    try:
        record = json.loads(line)
        parts = [part for value in record.values() for part in (value.values() if isinstance(value, dict) else [value])]
        numbers = [record["step"], record["seconds"], *parts]
        is_whole = all(isinstance(number, int | float) for number in numbers)
        return record if is_whole else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
