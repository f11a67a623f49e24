"""Times the evaluation of whole lists beside the forward part of a training step.

    python benchmarks/evaluation.py RUN [--images 64 --repeats 5 --json FILE]

The bar: a triple costs at most 1.3 times as much in evaluation as in the forward part of a training
step of the same batch size.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import numpy as np
import tyro
from machine import Figure, machine_figures, median_seconds, report

from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_dct
from dct_jax.data.pipeline import read_held_out, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.likelihood import element_log_prob
from dct_jax.dct.network import log_likelihood
from dct_jax.dct.network.transformer import Logits
from dct_jax.distributed.parallel import parallel, place, replicate

BAR = 1.3


def main(run: Annotated[Path, tyro.conf.Positional], images: int = 64, repeats: int = 5, json: Path | None = None) -> None:
    """Times evaluation.

    Args:
        run: folder of a run whose data is there.
        images: how many held-out images are evaluated.
        repeats: timed evaluations, after one that is not timed.
        json: where to write the figures.
    """
    model, devices = load_dct(str(run), "evaluation.py"), jax.local_devices()[:1]
    config, network = model.config, model.network
    training, held_out = open_sources(config.data)
    size = config.training.batch_size
    batches = training_batches(training, config, Skipped(len(training), 1.0))
    batch = next(batches)
    batches.close()

    def forward(params: Any, batch: Chunk[jax.Array]) -> jax.Array:
        """Returns the loss, as training computes it before its gradient."""
        logits = cast(Logits, network.apply(params, batch))
        channel, position, value = (x.sum() for x in log_likelihood(logits, batch, network.vocabulary))
        return channel + position + value

    program, params, shards = parallel(forward, devices), replicate(model.variables, devices), place(batch, devices)
    lists, labels = read_held_out(held_out, config, Skipped(len(held_out), 1.0))
    lists, labels = lists[:images], labels[:images]
    evaluation = partial(element_log_prob, network, params, lists, labels, size, devices)
    triples = {"forward": int(np.sum(batch.is_target)), "evaluation": sum(len(sparse) + 1 for sparse in lists)}
    jax.block_until_ready(program(params, shards))
    evaluation()
    ratios: list[float] = []
    per_triple: dict[str, list[float]] = {"forward": [], "evaluation": []}
    for _ in range(repeats):  # by turns, as the machine's speed changes
        per_triple["forward"].append(median_seconds(lambda: program(params, shards), 5) / triples["forward"])
        per_triple["evaluation"].append(median_seconds(evaluation, 1) / triples["evaluation"])
        ratios.append(per_triple["evaluation"][-1] / per_triple["forward"][-1])

    ratio = statistics.median(ratios)
    report(
        [
            *machine_figures(),
            Figure("forward part of a step, median", 1e6 * statistics.median(per_triple["forward"]), "us a triple"),
            Figure("evaluation, median", 1e6 * statistics.median(per_triple["evaluation"]), "us a triple"),
            Figure("evaluation by forward", ratio, f"({min(ratios):.2f} to {max(ratios):.2f})"),
            Figure(f"bar of {BAR}", "met" if ratio <= BAR else "MISSED"),
        ],
        json,
    )


if __name__ == "__main__":
    run_script(main)
