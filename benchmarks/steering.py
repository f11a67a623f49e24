"""What steering is worth: does the class matter, are sampled details and colours nearer to pictures
than their inputs, and what does a triple cost after a prefix.

    python benchmarks/steering.py CLASSES_RUN LUMA_FIRST_RUN [--num 500 --labels 1000 --json FILE]

The bars: held-out pictures are likelier with their own label than with another; the FD-AlexNet of
upsampled and colourised samples to held-out pictures is below that of what they were given; a
triple sampled in upsampling costs no more than in plain sampling.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from machine import Figure, machine_figures, report

from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_dct
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.pipeline import read_held_out
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dct.sampling.lists import Start
from dct_jax.dct.steering import Given, starts_of, to_colorize, to_restore
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.reference import Statistics
from dct_jax.evaluation.reference import statistics as feature_statistics
from dct_jax.evaluation.sample_metrics import KEEP, compare_statistics

LN2 = float(np.log(2))


def main(
    classes: Annotated[Path, tyro.conf.Positional],
    luma_first: Annotated[Path, tyro.conf.Positional],
    num: int = 500,
    labels: int = 1000,
    triples: int = 60_000,
    repeats: int = 5,
    json: Path | None = None,
) -> None:
    """Measures what steering is worth.

    Args:
        classes: folder of a class-conditional run that lists all DCs first, whose data is there.
        luma_first: folder of a run in the order luma_first, on the data of `classes`.
        num: held-out pictures that are upsampled and colourised, a sample each.
        labels: held-out pictures whose likelihood is taken with the true and another label.
        triples, repeats: triples that are sampled in a timed round, and rounds.
        json: where to write the figures.
    """
    by_class, by_luma = (load_dct(str(run), "steering.py") for run in (classes, luma_first))
    held_out = open_sources(by_class.config.data)[1]
    every = SeenPictures(held_out, by_class.config, len(held_out))
    network = feature_network("alexnet")
    real = feature_statistics(network, every, KEEP, title="held-out pictures")
    pictures = [every[i * len(every) // num] for i in range(num)]
    figures = [*machine_figures(), *label_figures(by_class, labels), *cost_figures(by_class, pictures, triples, repeats)]
    codec = by_class.codec
    quantised = distance(network, real, [codec.decode(codec.encode(picture)) for picture in pictures])
    figures.append(Figure("FD-AlexNet of held-out pictures, quantised", quantised[0], f"{num} against {len(every)}"))
    for name, model, to_given in (("upsampled", by_class, to_restore), ("colorized", by_luma, to_colorize)):
        given = [to_given(model, picture) for picture in pictures]
        input_distance = distance(network, real, [one.shown for one in given])
        sampled, floor = distance(network, real, samples_of(model, given))
        figures += [
            Figure(f"FD-AlexNet of what is {name}", input_distance[0], "the input alone"),
            Figure(f"FD-AlexNet of {name} samples", sampled, "must be lower"),
            Figure(f"floor of {name}", floor, "held-out against held-out pictures"),
        ]
    report(figures, json)


def label_figures(model: TrainedModel, num: int) -> list[Figure]:
    """Measures the nats by which the true label makes held-out pictures likelier than another one
    does, and than a hidden one."""
    held_out = open_sources(model.config.data)[1]
    config = replace(model.config, data=replace(model.config.data, held_out_crops=num))
    lists, labels = read_held_out(held_out, config, Skipped(len(held_out), 1.0))
    others = (labels + np.random.default_rng(0).integers(1, config.model.num_classes, num)) % config.model.num_classes
    hidden = np.full(num, config.model.num_classes)
    nats = (model.log_prob(lists, x.tolist()) for x in (labels, others, hidden))
    true, other, none = (np.sum([*by_symbol.values()], axis=0) for by_symbol in nats)  # [N] each
    pixels = sum(sparse.size[0] * sparse.size[1] for sparse in lists)
    figures = [Figure("bits per pixel with the true label", -true.sum() / LN2 / pixels, f"{num} held-out pictures")]
    for name, than in (("another label", other), ("a hidden one", none)):
        gain = true - than  # [N]
        error = gain.std(ddof=1) / np.sqrt(num)
        figures.append(Figure(f"the true label's gain on {name}", float(gain.mean()), f"+- {error:.2f} nats an image"))
        figures.append(Figure(f"pictures likelier than with {name}", float((gain > 0).mean()), "share"))
    return figures


def cost_figures(model: TrainedModel, pictures: Sequence[np.ndarray], triples: int, repeats: int) -> list[Figure]:
    """Measures the milliseconds of a sampled triple, plain and after the DCs of pictures, by
    turns."""
    plain = model.starts(len(pictures))
    prefixes = starts_of(model, [to_restore(model, picture).prefix for picture in pictures], 1, seed=0)
    both: dict[str, list[float]] = {"plain": [], "upsampling": []}
    for starts in (plain, prefixes):
        seconds_per_triple(model, starts, 5000)  # compiles
    for _ in range(repeats):
        both["plain"].append(seconds_per_triple(model, plain, triples))
        both["upsampling"].append(seconds_per_triple(model, prefixes, triples))
    plainly, after = (min(seconds) for seconds in both.values())  # neighbours on the machine only ever add
    ratios = [b / a for a, b in zip(*both.values())]
    return [
        Figure("a triple, plain sampling", 1e3 * plainly, "ms, the fastest round"),
        Figure("a triple, upsampling", 1e3 * after, "ms, the fastest round"),
        Figure("ratio", after / plainly, f"of these (at most 1); by rounds {min(ratios):.2f} to {max(ratios):.2f}"),
    ]


def seconds_per_triple(model: TrainedModel, starts: Sequence[Start], triples: int) -> float:
    """Measures the seconds of so many sampled triples, while there are more samples to begin than
    rows: a batch that runs empty costs either way."""
    start = time.perf_counter()
    lengths: dict[int, int] = {}
    for grown in model.sample_from(starts):
        lengths |= {one.start.number: len(one.sparse) - len(one.start.given) for one in grown}
        if sum(lengths.values()) >= triples:
            return (time.perf_counter() - start) / sum(lengths.values())
    raise ValueError(f"the samples have {sum(lengths.values())} triples; {triples} were to be timed: time fewer")


def samples_of(model: TrainedModel, given: Sequence[Given]) -> list[np.ndarray]:
    """Samples a picture for each picture, uint8 [H, W, 3]."""
    starts = starts_of(model, [one.prefix for one in given], 1, seed=0)
    ended = {one.start.number: one.sparse for grown in model.sample_from(starts) for one in grown if one.state != "growing"}
    return [model.codec.decode(ended[start.number]) for start in starts]


def distance(network: Any, real: Statistics, images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the Frechet distance of images to the real ones, and that of as many real ones to the
    rest."""
    fake = feature_statistics(network, images, KEEP, title="images")
    measure = compare_statistics(network, real, fake).measures[0]
    return measure.value, measure.floor


if __name__ == "__main__":
    run_script(main)
