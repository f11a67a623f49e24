"""How the command compare names runs, what its processes answer, and what kept parts depend on."""

import copy
import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jax.errors import JaxRuntimeError

from dct_jax.commands import compare, measuring
from dct_jax.data.sources import open_source
from dct_jax.distributed.processes import NO_BACKEND
from dct_jax.evaluation.features import lpips_package
from dct_jax.kernels.choice import SWITCH
from tests.codes.toys import prior_config, random_autoencoder, save_run, vqvae_config, write_pictures
from tests.conftest import Refused


def make_run(folder: Path) -> str:
    """A folder that counts as one of a run, with two checkpoints."""
    for step in ("1", "2"):
        (folder / "checkpoints" / step).mkdir(parents=True)
    return str(folder)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second, other = (make_run(tmp_path / name) for name in ("lr-0.1", "lr-0.2", "other/lr-0.1"))
    assert compare._names([first, second, first]) == ["lr-0.1", "lr-0.2", "lr-0.1"]
    assert compare._names([first, second, other]) == [first, "lr-0.2", other]
    files = ["a/model.safetensors", "b/model.safetensors", "b/lr-0.3.safetensors"]
    assert compare._names(files) == [*files[:2], "lr-0.3"]
    steps = [f"{first}/checkpoints/{step}" for step in (1, 2)]
    assert compare._names(steps) == steps and compare._names(steps[:1]) == ["lr-0.1"]


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more"),
            ValueError,
            "out of memory (RESOURCE_EXHAUSTED: Out of memory): tr",
        ),
        (MemoryError(), ValueError, "out of memory (MemoryError): tr"),
        (JaxRuntimeError("Unable to initialize backend 'foo'\nand more"), RuntimeError, NO_BACKEND),
        (FloatingPointError("a\nb"), FloatingPointError, "a\nb"),
    ],
    ids=["of JAX", "memory", "no device", "of a command"],
)
def test_what_a_process_answers(error: Exception, kind: type, line: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        logging.getLogger("any").warning("a\x1b[2Jb")
        raise error

    answers: list[Any] = []
    pipe: Any = SimpleNamespace(send=answers.append)
    compare._answer(fail, pipe)
    ((result, answer),) = answers
    assert (
        (result, type(answer)) == (None, kind)
        and str(answer).startswith(line)
        and len(str(answer).splitlines()) == line.count("\n") + 1
    )
    assert caplog.text == "a\\x1b[2Jb\n"  # as `main` has warnings printed


def test_a_device_that_is_not_there_is_told_in_a_line(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError(NO_BACKEND)

    monkeypatch.setattr(compare, "in_child", fail)
    assert "JAX finds no device of the kind" in refused("compare", make_run(tmp_path / "run"))


def test_what_is_for_samples_alone_is_refused_without_them(tmp_path: Path, refused: Refused) -> None:
    line = refused("compare", make_run(tmp_path / "run"), "--no-samples", "--seeds", 1, "--references", 9)
    assert "seeds, references would change nothing with --no-samples" in line


class Keys(dict[str, dict[str, Any]]):
    """In place of kept parts: the key of each, by its name."""

    def find(self, part: str, key: dict[str, Any], *_: object) -> Any:
        self[part] = key
        return SimpleNamespace(report={"held_out": defaultdict(float), "notes": []}, pictures=1)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> measuring._Run:
    folder = tmp_path_factory.mktemp("autoencoder")
    return measuring._Run(measuring.Evaluate(save_run(folder, random_autoencoder(vqvae_config()))))


def test_runs_of_other_seeds_and_crops_are_told(
    autoencoder: measuring._Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their floors and held-out crops differ, and nothing said so."""
    monkeypatch.setattr(compare, "in_child", lambda function: function())
    monkeypatch.setattr(measuring, "_Run", lambda run: run)
    runs: Any = [copy.copy(autoencoder), copy.copy(autoencoder)]
    runs[1].config = replace(autoencoder.config, seed=7)
    found = [run.describe() for run in runs]
    command = compare.Compare(("runs/a", "runs/b"))
    (note,) = compare._notes_on_crops(command, found, runs)
    assert note == "note: the seed of a run also chooses its crops (a 0, b 7): compare runs of one seed, or means over seeds"
    assert compare._notes_on_crops(command, [found[0]] * 2, runs) == []
    assert compare._notes_on_crops(replace(command, mixed=True), found, runs) == []
    source = open_source(write_pictures(tmp_path, 3))  # they are seen whole
    for run in runs:
        run.held_out_source, run.config = source, replace(run.config, data=replace(run.config.data, crop=(1.0, 1.0)))
    assert compare._notes_on_crops(command, found, runs) == []


def test_samples_that_are_shown_have_the_classes_of_the_pictures_above() -> None:
    """Columns once were of other classes where one had no held-out picture."""
    pictures, asked, made = [np.zeros((1, 1, 3), np.uint8)] * 2, [], {}

    def sample(num: int, seed: int, labels: list[int], batch_size: int) -> Any:
        asked.append(labels)
        return [(i, pictures[0]) for i in range(num)]

    kept: Any = SimpleNamespace(find_strip=lambda part, key, make: made.update({part: make()}))
    found: Any = SimpleNamespace(training_key={}, sampler_key={}, divided_key={}, has_codes_alone=False)
    found.prior, found.options = SimpleNamespace(sample_pictures=sample), measuring.Evaluate("run")
    found.shown = pictures, [0, 2]
    measuring._Run.show(found, kept, (0,))
    assert asked == [[0, 2]] and len(made["samples"]) == 10 and made["held_out"] == pictures


@pytest.mark.parametrize(
    ("part", "module", "name", "values"),
    [
        ("held_out", lpips_package, "has_lpips", (lambda: True, lambda: False)),
        ("cost", measuring, "processor", (lambda: "a", lambda: "b")),
        ("cost", measuring.os, "environ", ({}, {SWITCH: "0"})),
    ],
)
def test_a_kept_part_depends_on_what_it_is_measured_with(
    autoencoder: measuring._Run, monkeypatch: pytest.MonkeyPatch, part: str, module: Any, name: str, values: Any
) -> None:
    keys = [Keys(), Keys()]
    for one, value in zip(keys, values):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            autoencoder.measure(one, "name", ())  # type: ignore[arg-type]
    changed = [name for name in keys[0] if keys[0][name] != keys[1][name]]
    assert changed == [part] and keys[0].keys() == {"cost", "held_out"}


def test_kept_samples_depend_on_whether_their_classes_are_recognised() -> None:
    run: dict[str, Any] = {"prior": object(), "options": measuring.Evaluate("run", samples=5), "config": prior_config("window")}
    run |= {"training_key": {}, "sampler_key": {}, "networks": []}
    keys = [Keys(), Keys()]
    for one, value in zip(keys, (True, False)):
        found: Any = SimpleNamespace(**run, has_recognisable_classes=value)
        measuring._Run._measure_samples(found, one, {}, (0,))  # type: ignore[arg-type]
    assert keys[0]["samples"] != keys[1]["samples"] and keys[0].keys() - keys[1].keys() == {"recognition"}
