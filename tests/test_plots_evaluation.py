"""The plots of evaluations: what is drawn is what was measured."""

from pathlib import Path

import numpy as np
import pytest

from dct_jax.dct.breakdown import Bits
from dct_jax.dct.plots.likelihood import bits_figure
from dct_jax.dct.plots.training import minutes_of, training_curve
from dct_jax.evaluation.estimate import Estimate
from dct_jax.storage.files import read_limited
from dct_jax.training import metrics_log
from dct_jax.training.metrics_log import read_records


def test_minutes_go_on_when_a_run_does() -> None:
    records = [{"seconds": seconds} for seconds in (30.0, 60.0, 90.0, 12.0, 60.0)]
    assert minutes_of(records).tolist() == [0.5, 1.0, 1.5, 1.7, 2.5]


def test_half_a_line_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "seconds": 1.5}\n{"step": 20, "se')
    assert read_records(tmp_path / "metrics.jsonl") == [{"step": 10, "seconds": 1.5}]
    assert read_records(tmp_path / "none.jsonl") == []


def test_the_curve_has_a_point_for_each_evaluation_and_a_line_for_each_coder() -> None:
    records = [
        {"seconds": 6.0, "nats_per_triple": {"channel": 5.0, "position": 3.0, "value": 4.0}},
        {"seconds": 12.0, "nats_per_triple": {"channel": 1.0, "position": 2.0, "value": 3.0}},
        {"seconds": 60.0, "held_out": {"bits_per_pixel": 1.75}},
        {"seconds": 120.0, "held_out": {"bits_per_pixel": 1.5}},
    ]
    left, right = training_curve(records, [("arithmetic", Estimate(1.8, 0.1))]).axes
    curve, coder = left.lines
    assert np.array(curve.get_data()).T.tolist() == [[1.0, 1.75], [2.0, 1.5]]
    assert set(coder.get_ydata()) == {1.8}
    values = {line.get_label(): line.get_ydata().tolist() for line in right.lines}
    assert values == {"value": [4.0, 3.0], "position": [3.0, 2.0], "channel": [5.0, 1.0]}


DAMAGE = (
    '"held_out": {"bits_per_pixel": 1' + "0" * 400 + "}",
    '"held_out": {"bits_per_pixel": [1]}',
    '"seconds": 1' + "0" * 400,
    '"seconds": Infinity',
    '"step": NaN',
)


def test_a_damaged_line_leaves_the_curve_without_a_point(tmp_path: Path) -> None:
    lines = ('"held_out": {}', '"held_out": 3', '"held_out": {"bits_per_pixel": NaN}', '"nats_per_triple": 3', *DAMAGE)
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": 1, "seconds": 60, {line}}}\n' for line in lines))
    records = read_records(tmp_path / "metrics.jsonl")
    assert len(records) == len(lines) - len(DAMAGE)
    figure = training_curve(records, [])
    figure.savefig(tmp_path / "curve.png", dpi=20)
    assert not np.isfinite(figure.axes[0].lines[0].get_ydata()).any()
    training_curve(records[:1], [])  # no point at all


def test_a_file_of_records_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_log, "read_limited", lambda path: read_limited(path, 2**10))
    (tmp_path / "metrics.jsonl").write_text(" " * 2**10 + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: this file has more than 1 KiB"):
        read_records(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("error", [0.25, float("nan")])
def test_every_part_of_the_bits_has_its_bar(error: float) -> None:
    def estimates(*means: float) -> dict[str, Estimate]:
        return {str(i): Estimate(mean, error) for i, mean in enumerate(means)}

    symbols = dict(zip(("channel", "position", "value"), estimates(1, 2, 3).values()))
    components = dict(zip(("Y", "Cb", "Cr", "stop"), estimates(4, 1, 0.5, 0.25).values()))
    bands = estimates(1, 2, 3) | {"stop": Estimate(0.25, error)}
    total = Estimate(6, error)
    bits = Bits(2, 2, 128, 10, total, total, total, symbols, components, bands, estimates(4, 2))
    figure = bits_figure(bits, [("arithmetic", Estimate(7, 0.1))])
    heights = [[round(bar.get_height(), 3) for bar in axis.patches] for axis in figure.axes[1:]]
    assert heights == [[1, 2, 3, 4, 1, 0.5, 0.25], [4, 2], [1, 2, 3]]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [6, 7]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["this model: 6.000", "arithmetic: 7.000"]
