"""MLflow: a data base in the folder of the run, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
import time as clock
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from dct_jax.training.tracking.tracker import TrackedRun, Tracker, numbers_of

_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""Unless the user says otherwise, MLflow tells its makers nothing, and a server that does not
answer delays the run by less than a minute."""
_PICTURES = "dct_jax.last_pictures"
"""A tag: the step of the last pictures."""
_SEND_EVERY = 5.0
"""Seconds; a message to a server takes about as long as some steps."""
_MOST_POINTS, _MOST_PARAMETERS, _LONGEST_PARAMETER = 1000, 100, 6000
"""What one message may have, and how many characters a parameter; MLflow's limits."""


class MLflowTracker(Tracker):
    """Adds to one run of MLflow, also when our run goes on. MLflow removes no points: what was
    logged after the last checkpoint stays, and is not logged a second time."""

    def __init__(self, run: TrackedRun) -> None:
        """Finds the run in MLflow, or makes one and tells it the configuration."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)  # it would write into the progress bar
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        self._id_file = run.folder / "mlruns" / "run_id"
        self._id_file.parent.mkdir(parents=True, exist_ok=True)
        if not uri:
            store = self._id_file.with_name("mlflow.db").resolve()
            store.touch()  # where that fails, MLflow would try for minutes
            uri, artifacts = f"sqlite:///{quote(str(store))}", store.with_name("artifacts").as_uri()
        self._metric, self._client, self._steps = Metric, MlflowClient(uri), run.steps
        self._points: list[Any] = []
        self._sent, self._step = clock.monotonic(), run.step
        experiment = self._find_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or "dct_jax", artifacts)
        found = self._find_run(experiment) if run.step else None
        if found is None:
            found = self._client.create_run(experiment, run_name=run.folder.resolve().name)
            self._id_file.write_text(found.info.run_id)
            for part in _batches(list(_parameters(run.config)), _MOST_PARAMETERS):
                self._client.log_batch(found.info.run_id, params=part)
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        self._id: str = found.info.run_id
        self._last_pictures = int(found.data.tags.get(_PICTURES, -1))
        self._last = {name: self._last_step(name) for name in found.data.metrics}

    def log_numbers(self, record: Mapping[str, Any]) -> None:
        self._step, milliseconds = record["step"], int(record["time"] * 1000)
        for name, number in numbers_of(record).items():
            if self._step > self._last.get(name, -1):
                self._last[name] = self._step
                self._points.append(self._metric(name, number, milliseconds, self._step))
        if clock.monotonic() - self._sent > _SEND_EVERY:
            self.flush()

    def log_pictures(self, step: int, time: float, pictures: Mapping[str, np.ndarray]) -> None:
        if step <= self._last_pictures:
            return
        for name, picture in pictures.items():
            self._client.log_image(self._id, picture, key=name, step=step, timestamp=int(time * 1000), synchronous=True)
        self._last_pictures = step
        self._client.set_tag(self._id, _PICTURES, step)

    def flush(self) -> None:
        for part in _batches(self._points, _MOST_POINTS):
            self._client.log_batch(self._id, metrics=part)
        self._points, self._sent = [], clock.monotonic()

    def close(self) -> None:
        self.flush()
        self._client.set_terminated(self._id, status="FINISHED" if self._step >= self._steps else "KILLED")

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        """Finds an experiment, or makes it, and returns its number. `artifacts` is where it keeps
        files; None leaves this to the server."""
        found = self._client.get_experiment_by_name(name)
        if found and artifacts not in (None, found.artifact_location):
            # The folder of the run has moved. Files would go to the place where it was.
            self._client.rename_experiment(found.experiment_id, f"{name} at {found.artifact_location}")
            found = None
        return found.experiment_id if found else self._client.create_experiment(name, artifact_location=artifacts)

    def _find_run(self, experiment: str) -> Any:
        """Returns the run that goes on, or None if this experiment does not have it."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(self._id_file.read_text().strip())
        except FileNotFoundError:
            return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.experiment_id == experiment else None

    def _last_step(self, name: str) -> int:
        return max(point.step for point in self._client.get_metric_history(self._id, name))


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _parameters(values: Mapping[str, Any], room: str = "") -> Iterator[Any]:
    """Yields the fields of a configuration as parameters: "training.steps"."""
    from mlflow.entities import Param

    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{room}{name}.")
        else:
            yield Param(f"{room}{name}", str(value)[:_LONGEST_PARAMETER])
