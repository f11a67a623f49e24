"""What a run tells: numbers for later, a progress bar for now."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dct_jax.config import Config
from dct_jax.training.metrics_log import MetricsLog
from dct_jax.training.step import StepMetrics, learning_rate

LOG_EVERY = 10


class Report:
    """Follows a run. A step's metrics are fetched when the next step has been started, so that the device never waits."""

    def __init__(
        self, config: Config, folder: Path, step: int, silent: bool = False, pending: Mapping[str, Any] | None = None
    ) -> None:
        """Args: the run's configuration and folder, the step that it goes on from, whether to write and show nothing, as all
        processes of a run but one do, and what `pending` was at that step."""
        self._schedule = learning_rate(config.training)
        self._log = None if silent else MetricsLog(folder, step)
        layout = "step {n_fmt}/{total_fmt} |{bar}| {elapsed}, {remaining} left{postfix}"
        self._bar = tqdm(total=config.training.steps, initial=step, bar_format=layout, dynamic_ncols=True, disable=silent)
        self._unread: tuple[int, StepMetrics] | None = None
        self._start = time.monotonic()
        self._restart()
        if pending:
            self._nats, self._elements = np.array(pending["nats"], np.float64), float(pending["elements"])
            self._norms = [float(norm) for norm in pending["gradient_norms"]]

    @property
    def pending(self) -> dict[str, Any]:
        """What the next line of the log will say of the steps so far; a run that goes on has it from its checkpoint, so that
        its log is that of a run which was never stopped."""
        return {"nats": self._nats.tolist(), "elements": self._elements, "gradient_norms": list(self._norms)}

    def step(self, step: int, metrics: StepMetrics) -> None:
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
        for symbol, nats in metrics.nats._asdict().items():
            if not math.isfinite(nats):
                raise FloatingPointError(f"step {step}: the loss of the {symbol} is {nats}")
        if not math.isfinite(metrics.gradient_norm):
            raise FloatingPointError(f"step {step}: the loss is finite, but its gradient is {metrics.gradient_norm}")
        self._nats += np.array(metrics.nats, np.float64)
        self._elements += float(metrics.elements)
        self._norms.append(float(metrics.gradient_norm))
        self._bar.update()
        if step % LOG_EVERY == 0 and self._log:
            self._write(step)

    def evaluation(self, step: int, evaluation: dict[str, float]) -> None:
        """Logs numbers about held-out pictures; the time that they took does not count as training."""
        if self._log:
            self._log.write(step, held_out=evaluation, seconds=self._seconds())
        self.say(f"step {step}: {evaluation['bits_per_pixel']:.4f} bits per pixel on held-out pictures")
        self._restart()

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

    def _restart(self) -> None:
        self._nats, self._elements, self._norms, self._since = np.zeros(3), 0.0, [], time.monotonic()

    def _seconds(self) -> float:
        """Since this process began, with compiling and evaluations."""
        return round(time.monotonic() - self._start, 1)

    def _write(self, step: int) -> None:
        channel, position, value = (self._nats / max(self._elements, 1)).tolist()
        rate = self._elements / (time.monotonic() - self._since)
        self._log.write(
            step,
            nats_per_triple={"channel": channel, "position": position, "value": value, "total": channel + position + value},
            triples_per_second=rate,
            seconds=self._seconds(),
            gradient_norm=float(np.mean(self._norms)),
            learning_rate=float(self._schedule(step - 1)),
        )
        self._bar.set_postfix_str(
            f"nats/triple: channel {channel:.2f} position {position:.2f} value {value:.2f}, {rate:,.0f} triples/s"
        )
        self._restart()
