"""What a tracker is told of a run, and several of them as one.

The record of a run is metrics.jsonl and its pictures/. Trackers are made of it: a run that goes on
opens them anew and tells them all that its record has.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from dct_jax.tables import first_line, printable

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_NEEDS = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
"""The modules that each tracker imports."""


class TrackedRun(NamedTuple):
    """The run that a tracker shows.

    Attributes:
        folder: of the run.
        step: the run goes on from this step; a new one from 0.
        steps: how many the whole run has.
        config: plain numbers, strings, lists and dictionaries, as `RunConfig.to_dict` returns them.
    """

    folder: Path
    step: int
    steps: int
    config: dict[str, Any]


class Tracker(Protocol):
    """Shows a run to people. It is told of steps in order. What it has from before the run was
    stopped, it passes over."""

    def log_numbers(self, record: Mapping[str, Any]) -> None:
        """Takes a line of metrics.jsonl: "step", "time" (s since 1970), and numbers or dictionaries
        of numbers by name."""
        ...

    def log_pictures(self, step: int, time: float, pictures: Mapping[str, np.ndarray]) -> None:
        """Takes the pictures of a step and a time (s since 1970): uint8 [H, W, 3] by name."""
        ...

    def flush(self) -> None:
        """Hands on what it has put by."""
        ...

    def close(self) -> None:
        """Ends the tracking; the run may go on another time."""
        ...


class Trackers(Tracker):
    """Several trackers. One that fails gets a warning and is told no more, and the run goes on."""

    def __init__(self, openers: Mapping[str, Callable[[], Tracker]]) -> None:
        """Opens trackers, by name."""
        self._open: dict[str, Tracker] = {}
        for name, opener in openers.items():
            if tracker := self._try(name, opener):
                self._open[name] = tracker

    def log_numbers(self, record: Mapping[str, Any]) -> None:
        self._tell(lambda tracker: tracker.log_numbers(record))

    def log_pictures(self, step: int, time: float, pictures: Mapping[str, np.ndarray]) -> None:
        self._tell(lambda tracker: tracker.log_pictures(step, time, pictures))

    def flush(self) -> None:
        self._tell(lambda tracker: tracker.flush())

    def close(self) -> None:
        self._tell(lambda tracker: tracker.close())

    def _tell(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, partial(tell, tracker))

    def _try(self, name: str, do: Callable[[], Result]) -> Result | None:
        try:
            return do()
        # Each tracker has errors of its own, and none of them is a reason to end a training.
        except Exception as error:
            self._open.pop(name, None)
            reason = printable(first_line(error))
            log.warning("%s fails (%s) and is left out from here on; the run's folder has all", name, reason)
            return None


def check_installed(names: Sequence[str]) -> None:
    """Raises ValueError if a package is missing that one of these trackers needs. It imports
    nothing."""
    for name in names:
        for module in _NEEDS[name]:
            spec = find_spec(module)
            # A folder wandb/ where the command runs passes for a package, but it has no file.
            if spec is None or spec.origin is None:
                raise ValueError(f"training.track names {name}, and {module} is not installed: pip install 'dct_jax[track]'")


def open_trackers(names: Sequence[str], run: TrackedRun) -> Trackers:
    """Opens the trackers of these names. Their packages are imported here and not before."""

    def tensorboard() -> Tracker:
        from dct_jax.training.tracking.tensorboard import TensorBoardTracker

        return TensorBoardTracker(run)

    def mlflow() -> Tracker:
        from dct_jax.training.tracking.mlflow import MLflowTracker

        return MLflowTracker(run)

    def wandb() -> Tracker:
        from dct_jax.training.tracking.wandb import WandbTracker

        return WandbTracker(run)

    openers: dict[str, Callable[[], Tracker]] = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
    return Trackers({name: openers[name] for name in names})


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a line of metrics.jsonl by name, those of dictionaries as GROUP/NAME,
    but for "step" and "time"."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            numbers |= {f"{name}/{part}": number for part, number in value.items()}
        elif name not in ("step", "time"):
            numbers[name] = value
    return numbers
