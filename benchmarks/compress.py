"""Times lossless compression, many pictures together and one alone, and counts its bytes beside
those of the format before, whose probabilities had to be equal to the last bit.

    python benchmarks/compress.py [RUN --images 100 --alone 5 --json FILE]

The bars, on two cores with the model of `tiny_imagenet_64`: at most 0.25 s a picture for 100
pictures of 64 x 64 pixels, and at most 3 s for one alone, in either direction; at most 1 % more
bytes than before.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from exact_format import write_exactly
from machine import Figure, machine_figures, peak_memory, random_list, report, spread

from dct_jax.codec import SparseDCT
from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_dct
from dct_jax.data.pipeline import read_held_out
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dct.compression import compress, compress_many, decompress, decompress_many
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.experiment import load_experiment

EXPERIMENT = "tiny_imagenet_64"
TRIPLES = (1517, 400)
"""The mean length of the lists of Tiny ImageNet's pictures at quality 50, and about its standard
deviation."""

MANY_BAR, ALONE_BAR = 0.25, 3.0
"""Seconds a picture."""

BYTES_BAR = 1.01
"""Bytes by those of version 2 of the format."""


def main(
    run: Annotated[Path | None, tyro.conf.Positional] = None, images: int = 100, alone: int = 5, json: Path | None = None
) -> None:
    """Times both directions.

    Args:
        run: folder of a run whose data is there, of which held-out pictures without classes are
            compressed; by default the experiment's untrained model and random lists as long as
            those of its pictures.
        images: how many are compressed together.
        alone: how many are compressed one after another, in the format before and the new one by
            turns.
        json: where to write the figures.
    """
    model, lists = _load_run(run, images) if run else _load_experiment(images)
    decompress(model, [*compress(model, [lists[0][:4]]), write_exactly(model, lists[0][:4], 2)])  # compiles
    seconds: dict[str, list[float]] = {}
    for sparse in lists[:alone]:
        writers = {"before": lambda: write_exactly(model, sparse, 2), "alone": lambda: compress(model, [sparse])[0]}  # noqa: B023
        for form, write in writers.items():
            data = _time(seconds, f"compress, {form}", write)
            assert _time(seconds, f"decompress, {form}", lambda: decompress(model, [data])) == [sparse]  # noqa: B023
    files = _time(seconds, "compress, many", lambda: dict(compress_many(model, lists)))
    in_order = [files[i] for i in range(len(lists))]
    read = _time(seconds, "decompress, many", lambda: dict(decompress_many(model, in_order)))
    assert read == dict(enumerate(lists)), "a list did not come back"
    assert all(files[i] == compress(model, [sparse])[0] for i, sparse in enumerate(lists[:alone])), (
        "a file is not what it is alone"
    )
    before = sum(len(write_exactly(model, sparse, 2)) for sparse in lists)
    share = sum(map(len, in_order)) / before

    each = {way: seconds[f"{way}, many"][0] / len(lists) for way in ("compress", "decompress")}
    slowest = max(seconds["compress, alone"] + seconds["decompress, alone"])
    ratios = {
        way: [new / old for new, old in zip(seconds[f"{way}, alone"], seconds[f"{way}, before"])]
        for way in ("compress", "decompress")
    }
    report(
        [
            peak_memory(),
            *machine_figures(),
            Figure("pictures", len(lists)),
            Figure("triples of a picture", statistics.mean(map(len, lists))),
            Figure("bytes of a file", statistics.mean(map(len, in_order))),
            *(Figure(f"{way}, {len(lists)} together", value, "s a picture") for way, value in each.items()),
            Figure(f"bar of {MANY_BAR} s", "met" if max(each.values()) <= MANY_BAR else "MISSED"),
            *(spread(name, values, "s") for name, values in seconds.items() if "many" not in name),
            *(spread(f"{way}, alone by before", values, "") for way, values in ratios.items()),
            Figure("bytes by those before", share),
            Figure(f"bar of {BYTES_BAR}", "met" if share <= BYTES_BAR else "MISSED"),
            Figure(f"bar of {ALONE_BAR} s", "met" if slowest <= ALONE_BAR else "MISSED"),
        ],
        json,
    )


def _load_run(run: Path, images: int) -> tuple[TrainedModel, list[SparseDCT]]:
    """Returns a run's model, and pictures that it has not seen."""
    model = load_dct(str(run), "compress.py")
    _, held_out = open_sources(model.config.data)
    lists, _ = read_held_out(held_out, model.config, Skipped(len(held_out), 1.0))
    return model, lists[:images]


def _load_experiment(images: int) -> tuple[TrainedModel, list[SparseDCT]]:
    """Returns the experiment's model as it is before training, and random lists."""
    rng, config = np.random.default_rng(0), load_experiment(EXPERIMENT, DCTConfig)
    lengths = np.clip(rng.normal(*TRIPLES, images), 200, None).astype(int)
    return TrainedModel.init(config), [random_list(rng, n, config.codec, config.data.image_size) for n in lengths.tolist()]


def _time(seconds: dict[str, list[float]], name: str, do: Callable[[], Any]) -> Any:
    """Returns what `do` returns; notes the seconds that it took."""
    start = time.perf_counter()
    result = do()
    seconds.setdefault(name, []).append(time.perf_counter() - start)
    return result


if __name__ == "__main__":
    run_script(main)
