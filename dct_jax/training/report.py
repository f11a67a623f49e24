"""What a run tells: numbers for later, a progress bar for now."""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dct_jax.config import RunConfig
from dct_jax.training.metrics_log import MetricsLog
from dct_jax.training.optimizer import learning_rate
from dct_jax.training.stage import Metrics, Stage, words
from dct_jax.training.tracking.tracker import TrackedRun, open_trackers

LOG_EVERY = 10
SECONDS_BETWEEN_LINES = 5
"""How often the progress bar is written where no terminal shows it, as in a log or a notebook."""
_NORM = "gradient_norm"
_WORK_BEFORE = "work"
"""A sum in the checkpoints of earlier versions. Work counts in the process alone that does it."""


class Report:
    """Follows a run. It fetches a step's metrics after the next step starts, so no device waits."""

    def __init__(
        self, stage: Stage, folder: Path, step: int, silent: bool = False, pending: Mapping[str, Any] | None = None
    ) -> None:
        """Opens the log of a run.

        Args:
            stage, folder: of the run.
            step: the run goes on from this step.
            silent: whether to write and show nothing, as all processes of a run but one do.
            pending: what `pending` was at that step.
        """
        self._stage, self._schedule = stage, learning_rate(stage.config.training)
        self._log = None if silent else _open_log(stage.config, folder, step)
        layout = "step {n_fmt}/{total_fmt} |{bar}| {elapsed}, {remaining} left{postfix}"
        total = stage.config.training.steps
        interval = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
        self._bar = tqdm(total=total, initial=step, bar_format=layout, dynamic_ncols=True, mininterval=interval, disable=silent)
        self._unread: tuple[int, Metrics] | None = None
        self._start = time.monotonic()
        self._since: float | None = None  # until the first step is done, which compiles
        self._work = 0.0
        self._sums: dict[str, np.ndarray] = {}  # name -> sum, count
        for name, (sum_, count) in (pending or {}).get("sums", {}).items():
            if name != _WORK_BEFORE:
                self._sums[name] = np.array([sum_, count], np.float64)

    @property
    def pending(self) -> dict[str, Any]:
        """What the next line of the log will say of the steps so far. A checkpoint keeps it, so
        that the log of a run that goes on lacks nothing."""
        return {"sums": {name: sums.tolist() for name, sums in self._sums.items()}}

    def step(self, step: int, metrics: Metrics) -> None:
        """Takes the metrics of a step that has just been started.

        Raises:
            FloatingPointError: if the step before it had a loss or a gradient that is not finite.
        """
        self.catch_up()
        self._unread = (step, metrics)

    def catch_up(self) -> None:
        """Waits for the last step and takes in its metrics. Raises as `step` does."""
        if self._unread is None:
            return
        step, metrics = self._unread[0], jax.device_get(self._unread[1])
        self._unread = None
        for name, mean in metrics.means.items():
            if not math.isfinite(mean.sum):
                raise FloatingPointError(f"step {step}: the loss of the {name.rpartition('/')[2]} is {mean.sum}")
        if not math.isfinite(metrics.gradient_norm):
            raise FloatingPointError(f"step {step}: the loss is finite, but its gradient is {metrics.gradient_norm}")
        self._add(metrics.means | {_NORM: (metrics.gradient_norm, 1)})
        if self._since is None:
            self._restart_clock()
        else:
            self._work += float(metrics.work)
        self._bar.update()
        if (step % LOG_EVERY == 0 or step == self._stage.config.training.steps) and self._log:
            self._write(self._log, step)

    def evaluation(
        self, step: int, evaluation: dict[str, float], pictures: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> None:
        """Logs numbers about held-out pictures, and pictures, uint8 [H, W, 3] by name. The time for
        them does not count as training."""
        if self._log:
            self._log.write(step, held_out=evaluation, seconds=self._seconds())
            self._log.write_pictures(step, pictures)
        best = self._stage.best
        self.say(f"step {step}: {evaluation[best]:.4g} {words(best)} on held-out pictures")
        self._restart_clock()

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self._log:
            self._bar.write(message)

    def flush(self) -> None:
        """Waits until all numbers are on the disk."""
        if self._log:
            self._log.flush()

    def close(self) -> None:
        self._bar.close()
        if self._log:
            self._log.close()

    def _add(self, means: Mapping[str, tuple[float, float]]) -> None:
        for name, mean in means.items():
            self._sums[name] = self._sums.get(name, 0) + np.array(mean, np.float64)

    def _restart_clock(self) -> None:
        """Measures the rate from now on."""
        self._since, self._work = time.monotonic(), 0.0

    def _seconds(self) -> float:
        """Since this process began, with compiling and evaluations."""
        return round(time.monotonic() - self._start, 1)

    def _write(self, log: MetricsLog, step: int) -> None:
        norm = self._sums.pop(_NORM)
        # A line after the first step of a process has no rate: that step has started the clock.
        rate = self._work / (time.monotonic() - self._since) if self._since and self._work else None
        groups: dict[str, dict[str, float]] = {}
        for name, (total, count) in self._sums.items():
            group, _, part = name.rpartition("/")
            groups.setdefault(group, {})[part] = float(total / max(count, 1))
        alone = groups.pop("", {})
        texts = [" ".join(f"{name} {mean:.2f}" for name, mean in alone.items())] if alone else []
        texts += [
            f"{group.replace('_per_', '/')}: " + " ".join(f"{name} {mean:.2f}" for name, mean in means.items())
            for group, means in groups.items()
        ]
        log.write(
            step,
            **alone,
            **groups,
            **({f"{self._stage.unit}_per_second": rate} if rate else {}),
            seconds=self._seconds(),
            gradient_norm=float(norm[0] / norm[1]),
            learning_rate=float(self._schedule(step - 1)),
        )
        texts += [f"{rate:,.0f} {self._stage.unit}/s"] if rate else []
        self._bar.set_postfix_str(", ".join(texts), refresh=False)
        self._sums = {}
        self._restart_clock()


def _open_log(config: RunConfig, folder: Path, step: int) -> MetricsLog:
    run = TrackedRun(folder, step, config.training.steps, config.to_dict())
    return MetricsLog(folder, step, open_trackers(config.training.track, run))
