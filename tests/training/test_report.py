"""What a run's log says of its steps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax.dct.network import SymbolNats
from dct_jax.training.metrics_log import MetricsLog
from dct_jax.training.optimizer import learning_rate
from dct_jax.training.report import LOG_EVERY, Report
from dct_jax.training.stage import Mean, Metrics
from dct_jax.training.tracking.tracker import Trackers
from tests.toys import tiny_config


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def of_step(nats: Sequence[float], elements: float, norm: float) -> Metrics:
    losses = {f"nats_per_triple/{name}": Mean(x, elements) for name, x in zip(SymbolNats._fields, nats)}
    return Metrics(losses, elements, norm)


def test_a_line_has_the_means_of_the_steps_since_the_last_one(tmp_path: Path) -> None:
    """Nats are divided by all elements together: long chunks count for more."""
    config, rng = tiny_config(), np.random.default_rng(0)
    report = Report(config.build(), tmp_path, 0)
    metrics = [of_step(rng.random(3), rng.integers(1, 100), rng.random()) for _ in range(2 * LOG_EVERY)]
    for step, one in enumerate(metrics, 1):
        report.step(step, one)
    report.catch_up()
    report.evaluation(2 * LOG_EVERY, {"bits_per_pixel": 1.5, "channel": 0.25})
    report.flush()
    report.close()
    first, second, held_out = lines(tmp_path)
    for number, line in enumerate((first, second)):
        part = metrics[number * LOG_EVERY : (number + 1) * LOG_EVERY]
        elements = sum(one.work for one in part)
        of_symbols = {
            name: sum(one.means[f"nats_per_triple/{name}"].sum for one in part) / elements for name in SymbolNats._fields
        }
        assert line["nats_per_triple"] == pytest.approx(of_symbols)
        assert line["gradient_norm"] == pytest.approx(np.mean([one.gradient_norm for one in part]))
        assert line["step"] == (number + 1) * LOG_EVERY
        assert line["learning_rate"] == pytest.approx(float(learning_rate(config.training)(line["step"] - 1)))
    assert held_out["held_out"] == {"bits_per_pixel": 1.5, "channel": 0.25}


@pytest.mark.parametrize("wrong", ["means", "gradient_norm"])
def test_a_step_that_is_not_finite_is_named(tmp_path: Path, wrong: str) -> None:
    report = Report(tiny_config().build(), tmp_path, 0)
    value = {"means": of_step([1.0, np.inf, 1.0], 3.0, 1.0).means, "gradient_norm": np.nan}[wrong]
    report.step(1, of_step([1.0, 1.0, 1.0], 3.0, 1.0)._replace(**{wrong: value}))
    with pytest.raises(FloatingPointError, match="step 1: the loss"):
        report.catch_up()
    report.close()


def test_what_was_logged_after_the_step_that_a_run_goes_on_from_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path, 0, Trackers({}))
    for step in (10, 20, 30):
        log.write(step, seconds=1.0, value=step / 2)
    log.close()
    with (tmp_path / "metrics.jsonl").open("r+") as file:
        text = file.read()
        file.write('{"step": 40, "sec')
    MetricsLog(tmp_path, 20, Trackers({})).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(text.splitlines(keepends=True)[:2])
    assert not caplog.text  # a crash leaves half a line at the end; in the middle it is damage
    (tmp_path / "metrics.jsonl").write_text(f"[1]\nnonsense\n{text}")
    MetricsLog(tmp_path, 20, Trackers({})).close()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]
    assert "2 of 5 lines cannot be read" in caplog.text
