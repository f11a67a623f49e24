"""The script of the study: its plans fit into the minutes, and a cell can be made again."""

import dataclasses
import importlib
import json
import runpy
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from dct_jax.config import DataConfig
from tests.toys import tiny_config


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which its child processes can import, too."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "experiments")
    return importlib.import_module("study")


@pytest.mark.parametrize("data", ["fashion", "landscapes"])
def test_every_system_gets_the_same_pictures_minutes_and_trials(study: ModuleType, data: str) -> None:
    contenders = study.contenders(data)
    assert len({one.name for one in contenders}) == len(contenders) == 4
    for contender in contenders:
        samplers = study.sampler_trials(contender)
        assert len(set(study.trials(contender))) == len(samplers) == len({str(one) for one in samplers}) == 5
        assert (samplers[0] == {}) == (not contender.settings)
        speeds = [0.1, 0.02][: len(contender.stages)]
        plans = study.plan(contender, study.Choice(2.0, 0.25 if len(speeds) > 1 else 1.0), 10.0, speeds, 7)
        seconds = [plan.training.steps * speed for plan, speed in zip(plans, speeds)]
        assert sum(seconds) == pytest.approx(600, rel=0.01)
        assert len(seconds) == 1 or seconds[0] == pytest.approx(150, rel=0.01)
        for plan, stage in zip(plans, contender.stages):
            assert (plan.data, plan.seed) == (contenders[0].stages[0].data, 7)
            assert plan.training.learning_rate == 2 * stage.training.learning_rate
            assert getattr(plan, "loss", None) is None or plan.loss.adversarial_start <= plan.training.steps


def test_autoencoders_of_equal_configurations_are_shared(study: ModuleType, tmp_path: Path) -> None:
    _, window, sundae, _ = study.contenders("fashion")
    rates = ((window, 0.5), (sundae, 0.5), (window, 1.0))
    cells = [
        study.Cell(tuple(study.plan(one, study.Choice(rate), 10.0, [0.1, 0.1], 0)), tmp_path / f"{one.name}_{rate}")
        for one, rate in rates
    ]
    autoencoders, priors = zip(*(cell.folders for cell in cells))
    assert autoencoders[0] == autoencoders[1] != autoencoders[2]
    assert len(set(priors)) == 3


def test_the_table_has_means_over_seeds(study: ModuleType, tmp_path: Path) -> None:
    report = importlib.import_module("study_report")
    names = "run,elements_mean,elements_unit,bits_per_pixel,parameters,samples_recognised,samples_alexnet_FD-AlexNet"
    lines = ["a_b_0,50,codes,1.0,1500000,,1.25", "a_b_1,50,codes,1.5,1500000,,1.25", "c_0,7.6,triples,,2500000,0.5,3"]
    (tmp_path / "comparison.csv").write_text("\n".join([names, *lines]) + "\n")
    with pytest.raises(ValueError, match="has 2 of a_b, 1 of c; each system must have as many runs"):
        report.read_rows(tmp_path)
    (tmp_path / "comparison.csv").write_text("\n".join([names, *lines, lines[-1].replace("c_0", "c_1")]) + "\n")
    found = report.read_rows(tmp_path)
    table = report.make_table(found, found)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows == [
        ["", "a_b", "c"],
        ["---", "---", "---"],
        ["an element is one of", "codes", "triples"],
        ["elements of a picture", "50", "8"],
        ["bits per pixel of these elements", "1.250 ± 0.250", "-"],  # the standard deviation, 0.354, by the root of 2
        ["FD-AlexNet of samples", "1.25", "3.00"],
        ["the same with default settings", "1.25", "3.00"],
        ["samples recognised, %", "-", "50.0"],
        ["parameters, M", "1.50", "2.50"],
    ]
    assert "default settings" not in report.make_table(found, {})


STOPS = (ValueError, OSError, ModuleNotFoundError, RuntimeError)
"""Errors of `in_child` that end a training."""


@pytest.mark.parametrize("kind", STOPS)
def test_after_an_error_no_other_training_begins(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The other worker once went on for hours before the error was told; at a full disk it still
    did."""
    called: list[int] = []
    failed = threading.Event()

    def fail(number: int) -> None:
        called.append(number)
        if number == 0:
            failed.set()
            raise kind(f"number {number} failed")
        assert failed.wait(10)
        time.sleep(0.02)  # the error is noted first

    monkeypatch.setattr(study, "in_child", lambda function: function.args[1]())
    monkeypatch.setattr(study.os, "sched_getaffinity", lambda process: {0, 1})
    with pytest.raises(kind, match="number 0 failed"):
        study.run_together([partial(fail, number) for number in range(9)], 2)
    assert called in ([0], [0, 1])


def test_a_loss_that_is_not_finite_ends_its_cell_alone(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once stopped the search for good."""
    run = importlib.import_module("dct_jax.run")

    def diverge(config: object, folder: Path) -> None:
        folder.mkdir()
        raise FloatingPointError("step 3: the loss is not finite")

    monkeypatch.setattr(run, "train_at", diverge)
    contender, *_ = study.contenders("fashion")
    cell = study.Cell(tuple(study.plan(contender, study.Choice(), 1.0, [0.1], 0)), tmp_path / "run")
    assert not cell.diverged
    study._train_to_end(cell.plans[0], cell.folder)
    assert cell.diverged
    monkeypatch.setattr(run, "train_at", None)  # it is not tried again
    study._train_to_end(cell.plans[0], cell.folder)


@pytest.mark.parametrize("fields", [{"minutes": 0.0}, {"minutes": -1.0}, {"seeds": ()}, {"together": 0}, {"together": 999}])
def test_bad_fields_are_a_line(study: ModuleType, fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="minutes must be above 0, there must be a seed, and together must be from 1 to"):
        study.run("train", "fashion", **fields)


@pytest.mark.parametrize(
    ("command", "fields", "said"),
    [
        ("compare", {"systems": ("window",), "together": 2}, "together; it takes minutes, seeds, systems, defaults"),
        ("train", {"defaults": True}, "defaults; it takes minutes, seeds, systems, together"),
        ("search", {"minutes": 60.0}, "minutes; it takes together"),
        ("speed", {"seeds": (3,), "together": 2}, "seeds, together; it takes no option"),
    ],
)
def test_fields_of_another_part_are_refused(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, fields: dict[str, object], said: str
) -> None:
    """`search --minutes 60` searched with 3 minutes, and said nothing."""
    monkeypatch.setattr(study.os, "sched_getaffinity", lambda process: {0, 1})
    with pytest.raises(ValueError, match=f"^{command} does not take {said}$"):
        study.run(command, "fashion", **fields)


def test_only_systems_that_are_named_are_compared(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(study, "main", lambda args: called.extend(args) or 0)
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "RUNS", tmp_path / "runs")
    study.run("compare", "fashion", minutes=60.0, seeds=(0, 4), systems=("sundae", "dctransformer"), defaults=True)
    runs = [Path(arg).name for arg in called[1 : called.index("--samples")]]
    assert runs == ["dctransformer_0", "sundae_0", "dctransformer_4", "sundae_4"]


def test_settings_of_some_systems_keep_those_of_others(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison of all systems after `settings --systems window` ended with a KeyError."""
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    monkeypatch.setattr(study, "run_together", lambda functions, together: None)
    monkeypatch.setattr(study, "_distance_of", lambda run, settings: 1.0)
    dctransformer, window, *_ = study.contenders("fashion")
    study.search_settings("fashion", 60.0, 0, [window], 1)
    with pytest.raises(ValueError, match=r"has no trials of dctransformer; study\.py settings tries them"):
        study.chosen_settings("fashion", 60.0, [dctransformer, window])
    study.search_settings("fashion", 60.0, 0, [dctransformer], 1)
    assert study.chosen_settings("fashion", 60.0, [dctransformer, window]) == {"dctransformer": {}, "window": {}}


def test_misuse_of_the_bundling_script_is_a_line(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments it was an IndexError."""
    script = Path(study.__file__).with_name("bundle_fashion.py")
    for args, said in (
        ([], "bundle_fashion: FOLDER is missing; see bundle_fashion.py --help"),
        ([str(tmp_path)], f"bundle_fashion: {tmp_path}/train-labels-idx1-ubyte.gz: there is"),
    ):
        monkeypatch.setattr(sys, "argv", [script.name, *args])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.slow
def test_a_cell_is_made_again(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All at toy size: speed, search, training and comparison; and the cell once more, anew."""
    config = tiny_config()
    data = DataConfig(source="landscapes", image_size=(16, 16), held_out_crops=8)
    contender = study.Contender("toy", (dataclasses.replace(config, data=data),))
    monkeypatch.setattr(study, "contenders", lambda data: [contender])
    monkeypatch.setattr(study, "trials", lambda contender: [study.Choice(rate, 1.0) for rate in (0.5, 1.0)])
    monkeypatch.setattr(study, "sampler_trials", lambda contender: [{}, {"temperature": 1e-3}])
    for name, value in {
        "HELD_OUT": {"landscapes": 8},
        "REFERENCES": {"landscapes": 20},
        "SAMPLES": 8,
        "TIMED": 10,
        "SEARCH_MINUTES": 0.01,
    }.items():
        monkeypatch.setattr(study, name, value)
    tables = []
    for number in range(2):
        monkeypatch.setattr(study, "RESULTS", tmp_path / f"results_{number}")
        monkeypatch.setattr(study, "RUNS", tmp_path / f"runs_{number}")
        study.RESULTS.mkdir()
        study.speed("landscapes")
        study.write_report(study.RESULTS / "speed_landscapes.json", {"toy": [0.05]})  # of a quiet machine
        study.run("search", "landscapes")
        for command in ("train", "settings", "compare"):
            study.run(command, "landscapes", minutes=0.01, seeds=(0,))
        study.run("compare", "landscapes", minutes=0.01, seeds=(0,), defaults=True)
        importlib.import_module("study_report").report("landscapes", 0.01)
        assert (study.RESULTS / "landscapes_0.01_minutes" / "samples.png").stat().st_size > 10_000
        assert "| elements of a picture | " in capsys.readouterr().out
        tables.append(json.loads((study.RESULTS / "landscapes_0.01_minutes" / "comparison.json").read_text()))
        best = study.chosen_settings("landscapes", 0.01, [contender])["toy"]
        assert tables[-1]["runs"][0]["settings"] == {name: [value] * 3 for name, value in best.items()}
        trials = json.loads((study.RESULTS / "settings_landscapes_0.01_minutes.json").read_text())["trials"]
        assert trials[0]["FD-AlexNet"] != trials[1]["FD-AlexNet"]
        assert best == min(trials, key=lambda one: one["FD-AlexNet"])["settings"]
    rows = [{name: table["runs"][0][name] for name in ("fingerprint", "held_out", "samples")} for table in tables]
    assert rows[0] == rows[1]
