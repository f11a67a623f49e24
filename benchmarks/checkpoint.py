"""Times writing and checking a checkpoint, and what of that goes into its checksums.

    python benchmarks/checkpoint.py [--parameters 400 --repeats 3 --json FILE]

Parameters and the optimiser's two moments are random, so they cannot be packed. Reading back is
from the system's cache.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax.numpy as jnp
import numpy as np
from machine import Figure, machine_figures, report

from dct_jax.commands.ending import run_script
from dct_jax.dct.config import DCTConfig
from dct_jax.training import checkpoints as module
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.stage import TrainState

BAR = 0.05
"""The checksums' share of the time that a checkpoint takes."""

LEAF = 4 * 2**20
"""Numbers of an array."""


def main(parameters: int = 400, repeats: int = 3, json: Path | None = None) -> None:
    """Prints a table.

    Args:
        parameters: of the model, in millions.
        repeats: checkpoints to write; the fastest counts.
        json: where to write the figures.
    """
    rng = np.random.default_rng(0)
    leaves = {f"{i:03}": rng.random(LEAF, np.float32) for i in range(-(-parameters * 10**6 // LEAF))}
    seconds: list[float] = []

    def time_calls(function: Callable[[Path], None]) -> Callable[[Path], None]:
        def run(folder: Path) -> None:
            start = time.perf_counter()
            function(folder)
            seconds.append(time.perf_counter() - start)

        return run

    rows: list[tuple[float, float, float]] = []
    timed = mock.patch.object(module, "write_manifest", time_calls(module.write_manifest))
    with timed, tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints = Checkpoints(Path(folder))
        for step in range(1, repeats + 1):
            state = TrainState(jnp.int32(step), leaves, {"mean": leaves, "square": leaves})
            start = time.perf_counter()
            checkpoints.save(state, [(64, 64, 1)], DCTConfig(), None)
            saved = time.perf_counter() - start
            start = time.perf_counter()
            checkpoints.check(step)
            rows.append((saved, seconds[-1], time.perf_counter() - start))
    saved, sums, checked = min(rows)
    share = sums / saved
    size = 3 * sum(x.nbytes for x in leaves.values())
    figures = [
        *machine_figures(),
        Figure("numbers in a checkpoint", size / 1e9, "GB"),
        Figure("writing it, flushed to the disk", saved, "s"),
        Figure("of that, flushing and checksums", sums, "s"),
        Figure("share", share, f"bar {BAR}: {'met' if share <= BAR else 'MISSED'}"),
        Figure("checking it", checked, "s"),
    ]
    report(figures, json)


if __name__ == "__main__":
    run_script(main)
