"""The tables and the figure of the study, of what `study.py compare` wrote.

    python experiments/study_report.py fashion            # 10 minutes; --minutes 60 for those

prints a table in Markdown with a row for each system, means over its runs of three seeds with their
standard errors, and writes beside the comparison samples of equal seeds: samples.png has a row for
each system, SYSTEM.png has that row alone.
"""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import study
import tyro
from matplotlib.figure import Figure
from PIL import Image

from dct_jax.commands.compare import in_child
from dct_jax.comparison.measures import Uncertain
from dct_jax.plots import image_grid

SHOWN, SAMPLE_SEED = 10, 0


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        title: in the table.
        name: in comparison.csv.
        digits: behind the point.
    """

    title: str
    name: str
    digits: int


COLUMNS = (
    Column("elements", "elements_mean", 0),
    Column("bits per pixel", "bits_per_pixel", 3),
    Column("PSNR, dB", "reconstruction_psnr", 1),
    Column("FD of reconstructions", "reconstruction_FD-AlexNet", 2),
    Column("FD of samples", "samples_alexnet_FD-AlexNet", 2),
    Column("precision", "samples_alexnet_precision", 2),
    Column("recall", "samples_alexnet_recall", 2),
    Column("recognised, %", "samples_recognised", 1),
    Column("M parameters", "parameters", 2),
    Column("+ autoencoder", "autoencoder_parameters", 2),
    Column("seconds a sample", "seconds_alone", 2),
    Column("of 64", "seconds_of_64", 3),
)
SCALES = {"samples_recognised": 100.0, "parameters": 1e-6, "autoencoder_parameters": 1e-6}


def folder_of(data: study.Data, minutes: float) -> Path:
    """Returns the folder of a comparison's results."""
    return study.RESULTS / f"{data}_{minutes:g}_minutes"


def read_rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Reads the runs of a comparison by their system: all of a run's name before its seed."""
    rows: dict[str, list[dict[str, str]]] = {}
    with (folder / "comparison.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["run"].rsplit("_", 1)[0], []).append(row)
    return rows


def summarise(runs: Sequence[dict[str, str]], column: Column) -> str:
    """Writes the mean of a column over runs, with its standard error if it can be seen."""
    numbers = [float(run[column.name]) * SCALES.get(column.name, 1.0) for run in runs if run.get(column.name)]
    if not numbers:
        return "-"
    found = Uncertain.over(numbers)
    mean, error = f"{found.mean:.{column.digits}f}", f"{found.error or 0:.{column.digits}f}"
    return f"{mean} ± {error}" if float(error) else mean


def make_table(rows: dict[str, list[dict[str, str]]]) -> str:
    """Makes a table in Markdown, with a line for each measure and a column for each system."""
    lines = [["", *rows], ["---"] * (1 + len(rows))]
    for column in COLUMNS:
        cells = [summarise(runs, column) for runs in rows.values()]
        if any(cell != "-" for cell in cells):
            lines.append([column.title, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show_samples(names: Sequence[str], pictures: Sequence[Sequence[np.ndarray]]) -> Figure:
    """Plots samples of the same seeds: a row for each system, first real pictures."""
    figure = Figure((SHOWN * 0.9 + 1.4, len(names) * 0.95), dpi=150, layout="constrained")
    axes = figure.subplots(len(names), SHOWN, squeeze=False)
    for line, name, images in zip(axes, names, pictures):
        line[0].set_ylabel(name.replace("_", "\n"), rotation=0, ha="right", va="center")
        for axis, image in zip(line, images):
            axis.imshow(image, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
    return figure


def real_pictures(run: Path) -> tuple[list[np.ndarray], list[int]]:
    """Returns held-out pictures of a run, one of each class if it has classes, and all labels."""
    from dct_jax.commands.own_data import own_sources
    from dct_jax.data.pictures import SeenPictures
    from dct_jax.run import load

    config = load(run).config
    seen = SeenPictures(own_sources(config.data, True)[1], config, config.data.held_out_crops, repeat=True)
    labels, count = seen.labels(len(seen)), config.reader().num_classes
    wanted = [labels.index(one) for one in range(count)] if count else range(0, len(seen), len(seen) // SHOWN)
    return [seen[i] for i in wanted[:SHOWN]], [labels[i] for i in wanted[:SHOWN]]


def sample(run: Path, labels: Sequence[int]) -> list[np.ndarray]:
    """Samples pictures of a run, the same seed and classes for all runs."""
    from dct_jax.run import load

    found = dict(load(run).sample_pictures(SHOWN, SAMPLE_SEED, labels, SHOWN))  # type: ignore[attr-defined]
    return [found[i] for i in range(SHOWN)]


def report(data: Annotated[study.Data, tyro.conf.Positional], minutes: float = 10.0) -> None:
    """Prints the table of the study's runs, and writes their samples side by side."""
    folder, runs = folder_of(data, minutes), study.RUNS / data / f"{minutes:g}_minutes"
    print(make_table(read_rows(folder)))
    names = [one.name for one in study.contenders(data)]
    real, labels = in_child(partial(real_pictures, runs / f"{names[0]}_{study.SEEDS[0]}"))
    pictures = [real, *(in_child(partial(sample, runs / f"{name}_{study.SEEDS[0]}", labels)) for name in names)]
    show_samples(["held-out", *names], pictures).savefig(folder / "samples.png")
    for name, images in zip(names, pictures[1:]):
        Image.fromarray(image_grid(images, columns=SHOWN, scale=2)).save(folder / f"{name}.png")


if __name__ == "__main__":
    tyro.cli(report)
