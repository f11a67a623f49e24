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


def test_evaluations_and_stops_lose_no_step_and_the_clock_has_steps_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation once dropped the losses before it, and the end those since the last line; the
    first rate after a stop had work from before it, and the time of compiling."""
    config, now = tiny_config(steps=22), 0.0
    monkeypatch.setattr("dct_jax.training.report.time.monotonic", lambda: now)
    report = Report(config.build(), tmp_path, 0)
    for step in range(1, 23):
        if step == 15:  # a stop, and four minutes of compiling
            pending = json.loads(json.dumps(report.pending))
            report.close()
            report, now = Report(config.build(), tmp_path, 14, pending=pending), now + 240
        now += 0.5
        report.step(step, of_step([step, 0, 0], 1, step))
        report.catch_up()
        if step == 7:
            now += 60
            report.evaluation(step, {"bits_per_pixel": 1.0})
    report.close()
    first, second, last = (line for line in lines(tmp_path) if "held_out" not in line)
    assert [line["step"] for line in (first, second, last)] == [10, 20, 22]
    assert [line["nats_per_triple"]["channel"] for line in (first, second, last)] == [5.5, 15.5, 21.5]
    assert [line["gradient_norm"] for line in (first, second, last)] == [5.5, 15.5, 21.5]
    assert [line["triples_per_second"] for line in (first, second, last)] == [2.0, 2.0, 2.0]


def test_a_first_step_alone_tells_no_rate_and_work_of_earlier_versions_counts_nowhere(tmp_path: Path) -> None:
    """Their checkpoints have it among the sums."""
    report = Report(tiny_config().build(), tmp_path, 9, pending={"sums": {"work": [9.0, 9], "gradient_norm": [9.0, 9]}})
    report.step(10, of_step([1.0, 1.0, 1.0], 1.0, 1.0))
    report.catch_up()
    report.close()
    (line,) = lines(tmp_path)
    assert line["gradient_norm"] == 1.0 and not {"triples_per_second", "work"} & line.keys()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("means", "loss of the position is inf"), ("gradient_norm", "loss is finite, but its gradient is nan")],
)
def test_a_step_that_is_not_finite_is_named(tmp_path: Path, wrong: str, message: str) -> None:
    report = Report(tiny_config().build(), tmp_path, 0)
    value = {"means": of_step([1.0, np.inf, 1.0], 3.0, 1.0).means, "gradient_norm": np.nan}[wrong]
    report.step(1, of_step([1.0, 1.0, 1.0], 3.0, 1.0)._replace(**{wrong: value}))
    with pytest.raises(FloatingPointError, match=f"step 1: the {message}"):
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
