"""Runs of several processes: the same results as one, and what happens when a process stops or
dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import dct_jax
from dct_jax.distributed import parallel
from dct_jax.distributed.launching import Process, processes_of
from dct_jax.distributed.processes import VARIABLE, describe_lack_of_memory, join_processes
from dct_jax.experiment import load_experiment
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints

LAUNCH = Path(__file__).parents[2] / "experiments" / "launch.py"
EXPERIMENT = """
from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.config import ModelConfig

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=4, quality=30),
    data=DataConfig(image_size=(16, 16), held_out_crops=4, threads=1),
    model=ModelConfig(
        width=8, heads=1, encoder=(0,), channel_decoder=(0,), position_decoder=(0,), value_decoder=(1,),
        chunk_size=16, overlap=4, max_chunks=4,
    ),
    training=TrainingConfig(steps=30, batch_size=8, accumulate=2, warmup_steps=2, evaluate_every=30, checkpoint_every=5),
)
"""
LATE = """
import time
import jax
from dct_jax.distributed.parallel import all_devices, any_process
from dct_jax.distributed.processes import join_processes

with join_processes():
    time.sleep(0 if jax.process_index() else 31)
    assert not any_process(all_devices())(False)
    time.sleep(0 if jax.process_index() else 31)
"""
SOON = 60
"""Seconds in which all processes must have ended after one has died."""


@dataclass
class Run:
    """Processes that train in a folder. Their output goes to files there, as a full pipe would
    block them."""

    folder: Path
    children: list[subprocess.Popen]

    def wait(self, seconds: float = 400) -> list[int]:
        deadline = time.monotonic() + seconds
        try:
            return [child.wait(max(0.1, deadline - time.monotonic())) for child in self.children]
        finally:
            for child in self.children:
                child.kill()

    def reach(self, step: int) -> None:
        """Waits for a checkpoint of that step, or a later one."""
        deadline = time.monotonic() + 400
        while self.last() < step:
            assert time.monotonic() < deadline and all(child.poll() is None for child in self.children), self.said()
            time.sleep(0.02)

    def last(self) -> int:
        """The step of the last checkpoint, 0 if there is none."""
        return max((int(path.name) for path in (self.folder / "checkpoints").glob("*") if path.name.isdigit()), default=0)

    def said(self) -> str:
        texts = [(self.folder / f"{i}.log").read_text(errors="replace") for i in range(len(self.children))]
        return "\n".join(line[-300:] for text in texts for line in text.splitlines() if "cpu_aot_loader" not in line)


class Runs:
    """Starts runs of the toy experiment, by the launcher or, as Slurm would, without it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "toy.py").write_text(EXPERIMENT)
        self.started: list[subprocess.Popen] = []

    def launched(self, name: str, processes: int, devices: int, *overrides: str) -> Run:
        args = [str(LAUNCH), "toy.py", "--processes", str(processes), "--devices-per-process", str(devices), *overrides]
        return self._start(name, args, [Process()])

    def bare(self, name: str) -> Run:
        return self._start(name, ["-m", "dct_jax", "train", "toy.py"], processes_of(2, 2, False, {}))

    def apart(self, name: str) -> Run:
        """Each process has a folder of its own, name/0 and name/1."""
        return self._start(name, ["-m", "dct_jax", "train", "toy.py"], processes_of(2, 2, False, {}), "/{}")

    def _start(self, name: str, args: list[str], processes: list[Process], below: str = "") -> Run:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        # Compiling takes most of the time. The flags are the children's own; the launcher keeps
        # others.
        ours = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONUNBUFFERED": "1"}
        run = Run(folder, [])
        for i, process in enumerate(processes):
            with (folder / f"{i}.log").open("w") as log:
                command = [sys.executable, *args, "--run-dir", name + below.format(i)]
                environment = {**os.environ, **ours, **process.environment}
                child = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
            run.children.append(child)
            self.started.append(child)
        return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(tmp_path_factory.mktemp("processes"))
    yield runs
    for child in runs.started:
        child.kill()


@pytest.fixture(scope="module")
def uninterrupted(runs: Runs) -> Path:
    """A run of two processes with two devices each, which do their chunks one after the other."""
    run = runs.launched("two", 2, 2)
    assert run.wait() == [0], run.said()
    return run.folder


def numbers(folder: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says of the model, without what it says of the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in ("step", "nats_per_triple", "held_out") if name in line} for line in lines]


def assert_same_params(ours: Path, theirs: Path, compare: Callable[[Any, Any], None]) -> None:
    """Loads both in this one process, which has other devices than the runs had."""
    jax.tree.map(compare, dct_jax.load(ours).variables, dct_jax.load(theirs).variables)


@pytest.mark.slow
def test_two_processes_train_as_one_does(runs: Runs) -> None:
    """Ten steps: most of the time goes into starting and compiling anyway."""
    short = {"steps": 10, "evaluate_every": 10, "checkpoint_every": 10}
    flags = [text for name, number in short.items() for text in (f"--training.{name.replace('_', '-')}", str(number))]
    run = runs.launched("short", 2, 2, *flags)
    assert run.wait() == [0], run.said()
    config, one = load_experiment(str(runs.folder / "toy.py")), runs.folder / "one"
    loop.train(replace(config, training=replace(config.training, accumulate=1, **short)), one, jax.local_devices()[:1])
    assert "4 cpu devices" in (run.folder / "0.log").read_text(errors="replace")
    expected = numbers(one)
    assert [line["step"] for line in expected] == [10, 10]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), numbers(run.folder), expected)
    assert_same_params(run.folder, one, lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4))


@pytest.mark.slow
def test_runs_go_on_after_a_stop_and_after_the_death_of_a_process(runs: Runs, uninterrupted: Path) -> None:
    """One run that is interrupted again and again and in the end equals one that was not."""
    run = runs.bare("interrupted")
    run.reach(5)
    run.children[1].kill()
    code, _ = run.wait(SOON)
    # Either JAX aborts it, or it hears from the network first.
    assert (code, bool(re.search("another (task died|process has ended)", run.said()))) in (
        (-signal.SIGABRT, True),
        (2, True),
    ), run.said()
    died = run.last()
    assert Checkpoints(run.folder / "checkpoints").latest() == died < 20

    run = runs.bare("interrupted")
    run.reach(died + 1)
    run.children[1].terminate()
    assert run.wait(SOON) == [143, 143], run.said()
    stopped = run.last()
    assert died < stopped < 30
    assert f"stopped by SIGTERM after step {stopped}, saved; the same command goes on from there" in run.said()

    run = runs.launched("interrupted", 2, 2)
    assert run.wait() == [0], run.said()
    assert_same_end(run.folder, uninterrupted)


@pytest.mark.slow
def test_processes_that_see_different_folders_do_not_train(runs: Runs, uninterrupted: Path) -> None:
    """They once averaged the gradients of two sets of parameters, and spoiled the checkpoint."""
    shutil.copytree(uninterrupted, runs.folder / "apart" / "0")
    run = runs.apart("apart")
    assert run.wait(SOON) == [2, 2], run.said()
    assert "the processes see different checkpoints (steps 30 and 0; 0 is none)" in run.said()


def test_all_meet_before_jax_is_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shutdown once aborted complete runs whose process 0 still copied them."""
    order: list[str] = []
    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(parallel, "meet", lambda: order.append("meet"))
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: order.append("shutdown"))
    with join_processes():
        order.append("train")
    assert order == ["meet", "train", "meet", "shutdown"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`join_processes` joins none, and ends with SystemExit where it would end the process."""

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)


@pytest.mark.usefixtures("alone")
def test_processes_with_unequal_numbers_of_devices_do_not_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They once ended with "AssertionError", which pmap raises."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(process_index=i) for i in (0, 0, 1)])
    with pytest.raises(SystemExit), join_processes():
        pass
    said = "dct_jax: process 0 of 2: the processes have 2 and 1 devices; all must have equally many\n"
    assert capsys.readouterr().err == said


@pytest.mark.slow
def test_a_late_process_is_waited_for(tmp_path: Path) -> None:
    """JAX's shutdown waits for 20 s, and Gloo for 30 s if the same devices have not met before."""
    run = Run(tmp_path, [])
    for i, process in enumerate(processes_of(2, 2, False, {})):
        with (tmp_path / f"{i}.log").open("w") as log:
            environment = {**os.environ, **process.environment}
            run.children.append(subprocess.Popen([sys.executable, "-c", LATE], env=environment, stdout=log, stderr=log))
    assert run.wait() == [0, 0], run.said()


@pytest.mark.usefixtures("alone")
def test_too_little_memory_is_not_the_death_of_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    """It once was told as that."""
    with pytest.raises(SystemExit), join_processes():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more")
    said = capsys.readouterr().err
    assert describe_lack_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Received message larger than max")) is None
    assert "process 0 of 1: out of memory (RESOURCE_EXHAUSTED: Out of memory): training needs less with a lower" in said


def assert_same_end(ours: Path, theirs: Path) -> None:
    """Bit for bit."""
    assert [line["step"] for line in numbers(ours)] == [10, 20, 30, 30]
    assert numbers(ours) == numbers(theirs)
    assert_same_params(ours, theirs, np.testing.assert_array_equal)
