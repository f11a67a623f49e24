"""Trains one of the small experiments for as long as there is time, and leaves its checkpoint and
samples in a folder.

    python benchmarks/accelerator_run.py OUT [--seconds 120 --json FILE]

OUT gets samples.png and run.tar.gz, the run's folder with its last checkpoint, of at most 16 MB:
unpack it for `sample` and `evaluate`. It lacks the optimiser's state, so training cannot go on from
it.
"""

import json as json_format
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import jax
import tyro
from machine import Figure, Record

from dct_jax.commands import main as command
from dct_jax.experiment import load_experiment
from dct_jax.storage.files import replacing
from dct_jax.storage.manifest import MANIFEST, write_manifest

LARGEST_FILE = 16 * 10**6
"""Bytes that run.tar.gz may have."""

STEP_SECONDS = 0.02
"""Seconds of the small experiment's step on an accelerator: its thousands of small programs take so
long to start."""

START_SECONDS, END_SECONDS = 55, 40
"""Seconds to start and to compile the training step, 48 on an H200; and to evaluate, write the
checkpoint and sample, compiling included."""

STEPS = (200, 2000)
"""The fewest steps and the most: later ones teach little."""

SHARE = 0.6
"""The share that is planned of the steps for which there is time: an evaluation and a checkpoint
come after the last one alone."""


def run(name: str, *args: str) -> None:
    """Runs one of the package's commands. Raises RuntimeError if it fails; it has printed why."""
    if (code := command([name, *args])) not in (0, 128 + signal.SIGTERM):
        raise RuntimeError(f"the command {name} ended with exit code {code}")


def plan(seconds: float) -> tuple[int, float]:
    """Returns how many steps a run of so many seconds trains, and after how many seconds training
    is stopped if it takes longer than planned."""
    affordable = round(SHARE * (seconds - START_SECONDS - END_SECONDS) / STEP_SECONDS)
    return min(max(affordable, STEPS[0]), STEPS[1]), max(seconds - END_SECONDS, 1)


def batch_for(devices: int, batch_size: int) -> int:
    """Returns the smallest number of pictures, at least `batch_size`, that so many devices can
    share."""
    return -(-batch_size // devices) * devices


def pack(run_dir: Path, file: Path) -> int:
    """Writes the run's folder without the optimiser's state into a tar file; returns its size in
    bytes.

    Raises:
        ValueError: if it is larger than LARGEST_FILE; it is not left behind.
    """
    with tempfile.TemporaryDirectory() as folder, replacing(file) as path:
        copy = Path(folder) / run_dir.name
        shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("optimizer", MANIFEST))
        for checkpoint in (copy / "checkpoints").iterdir():
            write_manifest(checkpoint)  # of the files that are left: else it is a damaged checkpoint
        with tarfile.open(path, "w:gz") as archive:
            archive.add(copy, copy.name)
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ValueError(f"{file.name} has {size / 1e6:.1f} MB; it may have {LARGEST_FILE / 1e6:.0f} and is left out")
    return size


def train(experiment: str, run_dir: Path, steps: int, seconds: float) -> None:
    """Trains so many steps, or those that these seconds allow: then the run stops as if it were
    told to, and saves."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # it may come when the run has just ended
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    every = ("--training.evaluate-every", str(steps), "--training.checkpoint-every", str(steps), "--training.keep", "1")
    batch = batch_for(jax.device_count(), load_experiment(experiment).training.batch_size)
    sizes = ("--training.steps", str(steps), "--training.batch-size", str(batch))
    try:
        run("train", experiment, "--run-dir", str(run_dir), *sizes, *every)
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def held_out_bits(run_dir: Path) -> float | None:
    """Returns the bits per pixel of the last evaluation; None if there was none."""
    lines = [json_format.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return next((line["held_out"]["bits_per_pixel"] for line in reversed(lines) if "held_out" in line), None)


def main(out: Annotated[Path, tyro.conf.Positional], seconds: float = 120, tiny: bool = False, json: Path | None = None) -> int:
    """Trains a small experiment.

    Args:
        out: folder of what is left.
        seconds: that all may take.
        tiny: the debug experiment, whose 20 steps are soon over.
        json: where to write the figures.
    """
    begun, record = time.perf_counter(), Record(json)
    experiment = "debug" if tiny else "landscapes"
    planned, stop = plan(seconds)
    steps = 20 if tiny else planned
    with tempfile.TemporaryDirectory() as folder, record.attempt("run"):
        run_dir = Path(folder) / experiment
        train(experiment, run_dir, steps, stop)
        trained = time.perf_counter()
        record.add(Figure(f"{experiment}: training", trained - begun, f"s, compiling included; {steps} steps were planned"))
        if (bits := held_out_bits(run_dir)) is not None:
            record.add(Figure(f"{experiment}: held-out pictures", bits, "bits per pixel"))
        with record.attempt("run.tar.gz"):
            record.add(Figure("run.tar.gz", pack(run_dir, out / "run.tar.gz") / 1e6, "MB"))
        run("sample", str(run_dir), "--num", "2" if tiny else "16")
        with replacing(out / "samples.png") as path:
            shutil.copyfile(run_dir / "samples.png", path)
        record.add(Figure(f"{experiment}: samples", time.perf_counter() - trained, "s, compiling included"))
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
