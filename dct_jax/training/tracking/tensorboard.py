"""TensorBoard: a file of events in the folder of the run."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar

from dct_jax.training.tracking.tracker import TrackedRun, Tracker, numbers_of

EVENTS = "events.out.tfevents.*"


class TensorBoardTracker(Tracker):
    """Writes the events of a run anew: when a run goes on, they become those of one that never
    stopped."""

    def __init__(self, run: TrackedRun) -> None:
        """Removes the events of before."""
        for events in run.folder.glob(EVENTS):
            events.unlink()
        # Not SummaryWriter: on a full disk its thread ends in silence, and its queue stops the run.
        self._board = EventsWriter(str(run.folder / "events"))

    def log_numbers(self, record: Mapping[str, Any]) -> None:
        for name, number in numbers_of(record).items():
            self._write(record["step"], record["time"], scalar(name, number))

    def log_pictures(self, step: int, time: float, pictures: Mapping[str, np.ndarray]) -> None:
        for name, picture in pictures.items():
            height, width, channels = picture.shape
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=buffer.getvalue())
            self._write(step, time, Summary(value=[Summary.Value(tag=f"pictures/{name}", image=image)]))

    def flush(self) -> None:
        self._board.flush()

    def close(self) -> None:
        self._board.close()

    def _write(self, step: int, time: float, summary: Summary) -> None:
        self._board.write_event(Event(wall_time=time, step=step, summary=summary))
