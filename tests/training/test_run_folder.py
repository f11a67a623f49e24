"""One run, one writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dct_jax.data.sources import Record
from dct_jax.training import run_folder
from dct_jax.training.run_folder import (
    LOCK,
    SOURCES,
    check_same_everywhere,
    check_same_pictures,
    describe_change,
    describe_pictures,
    lock_folder,
    note_pictures,
)

HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print(f"process {os.getpid()} on a host since 2026-01-01", file=file, flush=True)
print("held", flush=True)
time.sleep(600)
"""
"""Holds a lock as `lock_folder` does, which would import JAX for seconds."""


def test_a_folder_has_one_writer_and_a_lock_of_the_dead_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    holder = subprocess.Popen([sys.executable, "-S", "-c", HOLD, str(folder / LOCK)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=rf"run is in training \(process {holder.pid} on a host since 2026-01-01\); wait"),
            lock_folder(folder),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with lock_folder(folder):
        with pytest.raises(ValueError, match=rf"\(process {os.getpid()} on .* since 20..-.*\)"), lock_folder(folder):
            pass
    with lock_folder(folder):
        pass


class Named:
    """A source of records with these keys; one without a key cannot be read."""

    name, classes = "named", ()

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Record:
        if not self.keys[index]:
            raise ValueError("it cannot be read")
        return Record(b"", 0, self.keys[index])


def test_other_pictures_than_a_run_began_with_are_noticed(tmp_path: Path) -> None:
    """When a picture came to a source, others were held out, which the run had been trained on."""
    old, new = (Named(f"{folder}/a", f"{folder}/b", f"{folder}/c\udce4", "") for folder in ("old", "new"))
    before = describe_pictures(old, Named("old/d"))  # a name that is not UTF-8 once ended a run
    assert describe_change(tmp_path, before) is None  # nothing tells
    note_pictures(tmp_path, before)
    check_same_pictures(tmp_path, describe_pictures(new, Named("new/d")))
    began = rf"^{tmp_path} had 4 training and 1 held-out pictures, and now there are"
    with pytest.raises(ValueError, match=f"{began} 5 training and 1 held-out pictures; bring the old ones back or name"):
        check_same_pictures(tmp_path, describe_pictures(Named("a", "b", "b2", "c", ""), Named("d")))
    with pytest.raises(ValueError, match=f"{began} others; bring"):
        check_same_pictures(tmp_path, describe_pictures(old, Named("e")))
    check_same_pictures(
        tmp_path, describe_pictures(Named("a", "b", "", "c"), Named(""))
    )  # a disk that fails once is no other picture
    for text in ("", "[]", '{"training": 1}', '{"training": [1, 1e999], "held_out": [1, 2]}', "9" * 2000, "[" * 999):
        (tmp_path / SOURCES).write_text(text)
        assert describe_change(tmp_path, before) is None


def test_processes_that_see_different_runs_or_pictures_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """They once averaged the gradients of two sets of parameters."""
    pictures = describe_pictures(Named("a"), Named("a"))
    check_same_everywhere(12, pictures)
    monkeypatch.setattr(run_folder, "gather_number", lambda number: [number, 12])
    with pytest.raises(
        ValueError, match=r"different checkpoints \(steps 0 and 12; 0 is none\): the run's folder must be one that"
    ):
        check_same_everywhere(0, pictures)
    with pytest.raises(ValueError, match="see different pictures: each must have the same ones under the same names"):
        check_same_everywhere(12, pictures)
