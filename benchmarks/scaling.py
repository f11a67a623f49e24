"""Times a training step, and measures its memory, for images of several sizes on one grid of
blocks.

    python benchmarks/scaling.py [--batch-size 1 --repeats 5 --json FILE --plot FILE.png]

The paper's claim is that chunks make a step's cost independent of the image's size: a list of 2048
x 2048 pixels is longer, not harder. What is left is the vocabulary: at B = 32 there are 3,072
channels. The bar: time and memory of a triple at 64 x 64 and at 2048 x 2048 pixels (B = 32) agree
within 15 % on a grid of 64 x 64 blocks.
"""

import dataclasses
import statistics
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from machine import REFERENCE, Figure, machine_figures, random_list, report, timings
from matplotlib.figure import Figure as Plot

from dct_jax.codec import DCTCodec
from dct_jax.commands.ending import run_script
from dct_jax.config import TrainingConfig
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.network import DCTransformer
from dct_jax.dct.stage import init_state, train_step
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.training.optimizer import make_optimizer

CASES = ((64, 1), (2048, 32))
"""Image sides in pixels and block sizes B, all of 64 x 64 blocks; the first and the last are
compared."""

BAR = 0.15


class Row(NamedTuple):
    """What was measured for one image size.

    Attributes:
        side: of the image in pixels.
        block_size: B.
        parameters: of the network.
        seconds: of a step.
        triples: that the step predicts.
        memory: of a step in bytes by XLA's own account, its batch and gradient included, parameters
            and optimiser not.
    """

    side: int
    block_size: int
    parameters: int
    seconds: float
    triples: int
    memory: int


class Case:
    """A network for one image size, compiled, and a batch for it."""

    def __init__(self, side: int, block_size: int, chunks: int) -> None:
        self.side, self.codec = side, DCTCodec(block_size=block_size, quality=50)
        self.model = DCTransformer(self.codec.vocabulary((side, side)), dataclasses.replace(REFERENCE, encoder_stride=2))
        optimizer, devices = make_optimizer(TrainingConfig()), jax.local_devices()[:1]
        batch = self._chunks(chunks)
        self._state = replicate(init_state(self.model, optimizer, batch, seed=0), devices)
        self._batch = place(batch, devices)
        program = partial(train_step, self.model, optimizer, seed=0)
        self._step = parallel(program, devices, donate_first=True).lower(self._state, self._batch).compile()

    def _chunks(self, chunks: int) -> Chunk:
        """Returns chunk 1 of lists of 2,000 triples: every target element is a triple."""
        rng, config = np.random.default_rng(0), self.model.config
        lists = [random_list(rng, 2000, self.codec, (self.side, self.side)) for _ in range(chunks)]
        batch = make_chunks(lists, [1] * chunks, [0] * chunks, self.model.vocabulary, config.chunk_size, config.overlap)
        assert batch.is_target.sum() == chunks * config.chunk_size
        return batch

    def take_step(self) -> Any:
        """Takes a training step; returns its metrics."""
        self._state, metrics = self._step(self._state, self._batch)
        return metrics

    def row(self, seconds: list[float]) -> Row:
        """Returns the table's row, given the times of some steps."""
        plan = self._step.memory_analysis()
        assert plan is not None
        memory = plan.temp_size_in_bytes + sum(x.nbytes for x in jax.tree.leaves(self._batch))
        parameters = sum(x.size for x in jax.tree.leaves(self._state.variables))
        triples = int(np.sum(self._batch.is_target))
        return Row(self.side, self.codec.block_size, parameters, statistics.median(seconds), triples, memory)


def plot_rows(rows: list[Row]) -> Plot:
    """Plots milliseconds and megabytes a triple against the image's side."""
    figure = Plot(figsize=(9, 3.2), dpi=120, layout="constrained")
    sides = [row.side for row in rows]
    for axis, title, values in zip(
        figure.subplots(1, 2),
        ("time a triple, ms", "memory a triple, MB"),
        ([1e3 * row.seconds / row.triples for row in rows], [row.memory / row.triples / 1e6 for row in rows]),
    ):
        axis.plot(sides, values, marker="o")
        for row, value in zip(rows, values):
            axis.annotate(f"B = {row.block_size}", (row.side, value), (0, 8), textcoords="offset points", ha="center")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sides, [f"{side} x {side}" for side in sides])
        axis.set_xlim(45, 2900)
        axis.set_ylim(0, 1.3 * max(values))
        axis.set_xlabel("image in pixels, all of 64 x 64 blocks")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    return figure


def main(batch_size: int = 1, repeats: int = 5, json: Path | None = None, plot: Path | None = None) -> None:
    """Times training steps of the reference network (encoder stride 2) for images of several sizes.

    Args:
        batch_size: chunks in a step.
        repeats: timed steps of each, after one that is not timed.
        json: where to write the figures.
        plot: where to plot them.
    """
    cases = [Case(side, block_size, batch_size) for side, block_size in CASES]
    for case in cases:
        timings(case.take_step, 1)
    # By turns, as the machine's speed varies from one minute to the next.
    seconds = [[timings(case.take_step, 1)[0] for case in cases] for _ in range(repeats)]
    rows = [case.row(list(times)) for case, times in zip(cases, zip(*seconds))]
    figures = [*machine_figures(), Figure("batch", batch_size, "chunks of 896 triples")]
    for row in rows:
        name = f"{row.side} x {row.side}, B = {row.block_size}"
        figures += [
            Figure(f"{name}: parameters", row.parameters),
            Figure(f"{name}: time", 1e3 * row.seconds / row.triples, "ms a triple"),
            Figure(f"{name}: memory", row.memory / row.triples / 1e6, "MB a triple"),
        ]
    first, last = rows[0], rows[-1]
    for what, ratio in (
        ("time", statistics.median(turn[-1] / turn[0] for turn in seconds)),
        ("memory", last.memory / first.memory),
    ):
        name = f"{what}, {last.side} x {last.side} by {first.side} x {first.side}"
        figures.append(Figure(name, ratio, f"times (bar {1 + BAR}: {'met' if abs(ratio - 1) <= BAR else 'MISSED'})"))
    report(figures, json)
    if plot:
        plot_rows(rows).savefig(plot)


if __name__ == "__main__":
    run_script(main)
