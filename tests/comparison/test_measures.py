"""Measures survive JSON, training is added up from records, and tables say what is there."""

import csv
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest

from dct_jax.comparison import plots
from dct_jax.comparison.cost import read_training
from dct_jax.comparison.measures import (
    Bits,
    Cost,
    Distortion,
    Elements,
    HeldOut,
    Measures,
    Recognition,
    SampleSet,
    Training,
    Uncertain,
    from_plain,
    to_plain,
    with_known_training,
)
from dct_jax.comparison.table import flatten, make_tables, notes_of
from tests.test_tables import ODD


def sample_set(seed: int, distance: float, floor: float = 1.5) -> SampleSet:
    measures = {"FD-AlexNet": {"value": distance, "matched": distance + 1, "floor": floor}}
    measures |= {"precision": {"value": distance / 10, "matched": distance / 40, "floor": 0.75}}
    metrics = {"measures": measures, "fake": 20, "real": 99, "different": 99, "notes": []}
    return SampleSet(seed, {"alexnet": metrics}, distance / 20)


BITS = Bits(Uncertain(100.0, 2.0), Uncertain(0.5, None))
FULL = Measures(
    run="a",
    system="window transformer",
    fingerprint="f" * 64,
    settings={"temperature": [0.5, 1.0], "steps": 3},  # a list, as in JSON
    data="fashion, 28 x 28",
    held_out=HeldOut("fashion", 7, 7, Elements("codes", 49.0, 40.0, 60.0), BITS, {}),
    distortion=Distortion(7, 25.125, {"VGG16": 0.0625}, {"FD-AlexNet": 1.0, "FD-AlexNet_floor": 2.0}, ("few",)),
    samples=(sample_set(3, 4.0), sample_set(5, 8.0)),
    recognition=Recognition(0.875, 0.75),
    cost=Cost(1_234_567, 2_000, 0.5, 0.125, 64, 98.0, 3 * 2**20, None),
    training=Training(300, 2.5, 9600),
    inner="e" * 64,
    inner_training=None,
)
BARE = Measures(
    run="b",
    system="linear",
    fingerprint="e" * 64,
    settings={},
    data="landscapes, 8 x 8",
    held_out=HeldOut("landscapes", 7, 2, None, None, {"held_out": {"squared_error": 1.0}}),
    distortion=None,
    samples=(),
    recognition=None,
    cost=Cost(5, None, None, None, 64, None, None, 7 * 2**20),
    training=Training(10, 0.5, 40),
    inner=None,
    inner_training=None,
)


@pytest.mark.parametrize("measures", [FULL, BARE])
def test_measures_survive_json(measures: Measures) -> None:
    assert from_plain(Measures, json.loads(json.dumps(to_plain(measures)))) == measures


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("cost", "parameters"), "5", "parameters is '5'; it must be int"),
        (("cost", "parameters"), True, "parameters is 'True'; it must be int"),
        (("cost", "seconds_alone"), [], "seconds_alone is"),
        (("held_out", "bits"), {"kind": "exact"}, "bits must have per_picture, per_pixel"),
        (("distortion", "notes"), "few", "notes is 'few'"),
        (("samples",), {}, "samples is"),
        (("distortion", "lpips"), {"VGG16": None}, "VGG16 is 'None'; it must be float"),
        (("training",), {"steps": 3}, "training must have steps, minutes, pictures"),
        (("cost",), None, "cost must have parameters"),
    ],
)
def test_files_of_others_are_checked(path: tuple[str, ...], value: Any, message: str) -> None:
    values: Any = json.loads(json.dumps(to_plain(FULL)))
    room = values
    for name in path[:-1]:
        room = room[name]
    room[path[-1]] = value
    with pytest.raises(ValueError, match=f"^{message}"):
        from_plain(Measures, values)


def test_standard_errors_over_seeds() -> None:
    numbers = [1.0, 4.0, 7.0, 2.0]
    found = Uncertain.over(numbers)
    spread = sum((x - 3.5) ** 2 for x in numbers) / 3
    assert (found.mean, found.error) == (3.5, pytest.approx((spread / 4) ** 0.5))
    assert Uncertain.over([2.0]) == Uncertain(2.0, None)


def line(step: int, seconds: float, **values: Any) -> dict[str, Any]:
    return {"step": step, "seconds": seconds, "time": 1e9, **values}


EVALUATED = {"held_out": {"nats": 1.0}}


def test_minutes_are_those_of_steps_alone() -> None:
    """20 steps take 4 s and 6 s, an evaluation 50 s, the next 10 steps 8 s. The run pauses, and
    goes on: 10 steps take 6 s, an evaluation 9 s."""
    records = [line(10, 4), line(20, 10), line(20, 60, **EVALUATED), line(30, 68), line(40, 6), line(40, 15, **EVALUATED)]
    found = read_training(records, 32)
    assert found == Training(40, pytest.approx(24 / 60), 40 * 32)


def test_steps_that_an_evaluation_cuts_off_count_as_the_others() -> None:
    """The steps 11 to 15 have no line of their own: 15 of 20 steps took 15 s."""
    records = [line(10, 10), line(15, 99, **EVALUATED), line(20, 104)]
    found = read_training(records, 1)
    assert found == Training(20, pytest.approx(20 / 60), 20)
    assert read_training([], 1) is read_training([line(5, 9, **EVALUATED)], 1) is None


def test_an_autoencoder_s_training_is_taken_from_its_row() -> None:
    rows = with_known_training([FULL, BARE])
    assert rows[0].inner_training == BARE.training and rows[1] == BARE
    known = dataclasses.replace(FULL, inner_training=Training(1, 1.0, 1))
    assert with_known_training([known, BARE])[0] == known
    assert with_known_training([FULL])[0].inner_training is None


def test_tables_fit_into_a_terminal_and_say_all() -> None:
    """Precision once stood beside a floor of other counts, without what is matched to it."""
    rows = [dataclasses.replace(FULL, run="dq_transformer_fashion", inner_training=Training(7, 0.25, 8)), BARE]
    text = "\n".join(make_tables(rows, False))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    ours, theirs = ([one.split("  ") for one in lines if one.startswith(name)] for name in ("dq_t", "b "))
    cells = [[cell.strip() for cell in one if cell.strip()] for one in (*ours, *theirs)]
    assert cells[0] == [
        "dq_transformer_fashion", "window transformer", "49.0", "40", "60", "codes", "100.0 +- 2.0", "0.5000",
    ]  # fmt: skip
    assert cells[1] == ["dq_transformer_fashion", "25.12", "0.0625", "1.000", "2.000"]
    numbers = ["6.000 +- 2.000", "7.000", "1.500", "0.600 +- 0.200", "0.150", "0.750"]
    assert cells[2] == ["dq_transformer_fashion", *numbers]
    assert cells[3] == ["dq_transformer_fashion", "30.0 +- 10.0 %", "87.5%", "75.0%"]
    assert cells[4] == ["dq_transformer_fashion", "1,234,567", "2,000", "0.5", "0.125", "98", "3"]
    assert cells[5] == ["dq_transformer_fashion", "300", "2.5", "9,600", "7", "0.2", "8"]
    assert cells[6] == ["b", "linear", *"-" * 6]
    assert cells[10] == ["b", "5", "-", "-", "-", "-", "7"]
    assert "20 samples against 99 training pictures, by alexnet features, seeds 3, 5" in text
    assert "fashion, 28 x 28" not in text and "fashion, 28 x 28" in make_tables(rows, True)[0]
    assert len(make_tables([BARE], False)) == 3  # what no run has makes no table


def test_counts_that_differ_are_told() -> None:
    """The first run's once stood above all rows."""
    few = sample_set(3, 4.0)
    few.metrics["alexnet"].update(real=90, different=9)
    rows = [FULL, dataclasses.replace(FULL, run="c", samples=(few,), held_out=BARE.held_out)]
    text = "\n".join(make_tables(rows, True))
    assert "held-out: 7 pictures or 7 crops of 2 pictures; the elements" in text
    assert "a: 20 samples against 99 training pictures; c: 20 samples against 90 crops of 9 training pictures, by" in text


def test_minutes_that_differ_much_are_told() -> None:
    """A reader once took a model of two minutes for one of sixteen. An autoencoder whose minutes
    are not known once counted as none."""
    one = dataclasses.replace(FULL, inner=None, distortion=None)
    other = dataclasses.replace(one, run="c", training=Training(9, 3.0, 9))
    settings = "note: settings of samplers: a temperature 0.5 1.0, steps 3; c temperature 0.5 1.0, steps 3"
    assert notes_of([BARE, one, other]) == [settings]
    longer = dataclasses.replace(other, inner="e", inner_training=Training(1, 1.0, 1))
    assert notes_of([BARE, one, longer]) == [
        settings,
        "note: minutes of training, with the autoencoder's, differ: a 2.5, c 4.0",
    ]
    unknown = dataclasses.replace(other, inner="e", training=Training(9, 0.1, 9))
    said = "note: the minutes of the autoencoder of c are not known, and not compared: take --own-data, or name its run, too"
    assert notes_of([BARE, one, unknown]) == [settings, said]
    assert notes_of([BARE]) == [] and len(notes_of([BARE, unknown])) == 1


def test_notes_on_pictures_are_told_once() -> None:
    """Samples once seemed nearer than real pictures, as the floor was of 4 of 9 pictures. That of
    reconstructions was of 50 in place of 257, and nothing said so."""
    few = [sample_set(seed, 4.0) for seed in (1, 2)]
    for one, notes in zip(few, (["too few", "of others"], ["too few"])):
        one.metrics["alexnet"]["notes"] = notes
    distortion = Distortion(7, 25.0, {}, {}, ("of others", "50 pictures"))
    row = dataclasses.replace(FULL, samples=tuple(few), settings={}, distortion=distortion, inner=None)
    assert notes_of([BARE, row, row]) == ["note: too few", "note: of others", "note: the representation: 50 pictures"]


def test_a_csv_file_has_the_numbers() -> None:
    flat = flatten(FULL) | {"note": None}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat))
    writer.writeheader()
    writer.writerow(flat)
    (read,) = csv.DictReader(io.StringIO(text.getvalue()))
    expected = {
        "elements_mean": 49, "elements_5_percent": 40, "elements_95_percent": 60, "bits_per_picture": 100,
        "bits_per_picture_error": 2, "bits_per_pixel": 0.5, "reconstruction_psnr": 25.125, "reconstruction_LPIPS-VGG16": 0.0625,
        "reconstruction_FD-AlexNet_floor": 2, "samples_alexnet_FD-AlexNet": 6, "samples_alexnet_FD-AlexNet_error": 2,
        "samples_alexnet_FD-AlexNet_floor": 1.5, "samples_alexnet_FD-AlexNet_matched": 7,
        "samples_recognised": 0.3, "held_out_recognised": 0.875,
        "coded_recognised": 0.75, "training_minutes": 2.5, "training_pictures": 9600, "parameters": 1234567,
        "autoencoder_parameters": 2000, "seconds_alone": 0.5, "seconds_among_64": 0.125, "elements_per_second": 98,
    }  # fmt: skip
    assert {name: float(read[name]) for name in expected} == pytest.approx(expected)
    assert read["bits_per_pixel_error"] == read["device_memory"] == ""
    assert read["settings"] == "temperature 0.5 1.0, steps 3"


def test_figures_have_a_point_a_run() -> None:
    """Floors of one data set and several seeds had a label each, which lay upon each other. A run
    that loses nothing was in the legend without a point, and its figure empty."""
    other = dataclasses.replace(FULL, run="$b$", samples=(sample_set(3, 2.0, 1.75), sample_set(5, 3.0, 1.75)))
    exact = dataclasses.replace(FULL, run="exact", distortion=Distortion(7, float("inf"), {}, {}, ()), samples=())
    rows = [BARE, FULL, other, exact]
    figure = plots.rate_distortion(rows)
    assert figure is not None
    bits, elements = figure.axes
    points = [[tuple(map(float, np.ravel(one.lines[0].get_xydata()))) for one in axis.containers] for axis in (bits, elements)]
    assert points == [[(0.5, 25.125)] * 2, [(49.0, 25.125)] * 2]
    assert [one.get_text() for one in figure.legends[0].get_texts()] == ["a (window transformer)", "$b$ (window transformer)"]
    figure = plots.quality_time(rows)
    assert figure is not None
    (axis,) = figure.axes
    assert [tuple(map(float, np.ravel(one.lines[0].get_xydata()))) for one in axis.containers] == [(0.125, 7.0), (0.125, 3.5)]
    assert axis.get_ylabel().startswith("FD-AlexNet (matched)")
    assert [(one.get_text(), one.get_position()[1]) for one in axis.texts] == [("real pictures", 1.75)]
    assert {one.get_ydata()[0] for one in axis.lines if one.get_linestyle() == "--"} == {1.5, 1.75}
    colors = [(one.lines[0].get_color(), one.lines[0].get_marker()) for one in axis.containers]
    assert colors[0][0] == colors[1][0] and colors[0][1] != colors[1][1]  # two runs of one system
    styles = plots.styles_of([FULL, BARE] * 8)
    assert len({tuple(one.values()) for one in styles}) == 16 and len({one["color"] for one in styles}) == 2
    assert plots.rate_distortion([BARE, exact]) is plots.quality_time([BARE]) is None


def test_any_names_of_runs_and_data_can_be_written() -> None:
    """A path with two dollars, or with bytes that are no UTF-8, once ended a comparison after all
    measuring."""
    rows = [dataclasses.replace(FULL, run=f"{i}{2 * ODD}", data=f"folder:{i}{2 * ODD}") for i in range(2)]
    strips = [(row.run, np.zeros((4, 8, 3), np.uint8)) for row in rows]
    for figure in (plots.rate_distortion(rows), plots.quality_time(rows), plots.stack_strips(strips)):
        assert figure is not None
        figure.savefig(io.BytesIO(), dpi=20)


def test_pictures_of_all_strips_have_one_size() -> None:
    """Two held-out pictures once were as wide as ten samples."""
    strips = [("two", np.zeros((8, 17, 3), np.uint8)), ("ten, twice as large", np.zeros((16, 178, 3), np.uint8))]
    figure = plots.stack_strips(strips)
    figure.draw_without_rendering()
    two, ten = (
        axis.transData.transform([(0, 0), (strip.shape[0], strip.shape[0])]) for axis, (_, strip) in zip(figure.axes, strips)
    )
    np.testing.assert_allclose(two[1] - two[0], ten[1] - ten[0], rtol=1e-6)
    assert two[0, 0] == pytest.approx(ten[0, 0], abs=5) and figure.get_figheight() < 2
