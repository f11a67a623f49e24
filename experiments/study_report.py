"""The table and the pictures of the study, of what `study.py compare` wrote.

    python experiments/study_report.py fashion            # 10 minutes; --minutes 60 for those

prints a table in Markdown with a column for each system, means over its runs of three seeds with
their standard errors. It writes samples of equal seeds, with the best settings of the samplers,
beside the comparison: samples.png has a row for each system, SYSTEM.png has that row alone.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import study
import tyro
from PIL import Image

from dct_jax.commands.compare import in_child
from dct_jax.commands.ending import run_script
from dct_jax.comparison.measures import Uncertain
from dct_jax.plots import image_grid, pairs

SHOWN, SAMPLE_SEED = 10, 0


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        title: in the table.
        column: of comparison.csv.
        digits: behind the point.
        scale: by which numbers are multiplied.
    """

    title: str
    column: str
    digits: int
    scale: float = 1.0


DISTANCE = Line("FD-AlexNet of samples", "samples_alexnet_FD-AlexNet", 2)
LINES = (
    Line("elements of a picture", "elements_mean", 0),
    Line("bits per pixel of these elements", "bits_per_pixel", 3),
    Line("PSNR of the representation, dB", "reconstruction_psnr", 1),
    Line("FD-AlexNet of the representation", "reconstruction_FD-AlexNet", 2),
    DISTANCE,
    Line("its floor, of real pictures", "samples_alexnet_FD-AlexNet_floor", 2),
    Line("precision", "samples_alexnet_precision_matched", 2),
    Line("that of real pictures", "samples_alexnet_precision_floor", 2),
    Line("recall", "samples_alexnet_recall_matched", 2),
    Line("that of real pictures", "samples_alexnet_recall_floor", 2),
    Line("samples recognised, %", "samples_recognised", 1, 100),
    Line("real pictures recognised, %", "held_out_recognised", 1, 100),
    Line("parameters, M", "parameters", 2, 1e-6),
    Line("parameters of the autoencoder, M", "autoencoder_parameters", 2, 1e-6),
    Line("steps of training", "training_steps", 0),
    Line("steps of the autoencoder", "autoencoder_training_steps", 0),
    Line("seconds of a sample alone", "seconds_alone", 2),
    Line("seconds of a sample among 64", "seconds_among_64", 3),
)


def read_rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Reads the runs of a comparison by their system: all of a run's name before its seed.

    Raises:
        ValueError: if there is no comparison, or if systems have not as many runs as each other.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    file = folder / "comparison.csv"
    if not file.exists():
        raise ValueError(f"{file} is not there; study.py compare writes it")
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            rows.setdefault(row["run"].rsplit("_", 1)[0], []).append(row)
    if len({len(runs) for runs in rows.values()}) != 1:
        counts = ", ".join(f"{len(runs)} of {name}" for name, runs in rows.items())
        raise ValueError(f"{file} has {counts or 'no runs'}; each system must have as many runs")
    return rows


def summarise(runs: Sequence[dict[str, str]], line: Line) -> str:
    """Writes the mean of a column over runs, with its standard error if it can be seen."""
    numbers = [float(run[line.column]) * line.scale for run in runs if run.get(line.column)]
    if not numbers:
        return "-"
    found = Uncertain.over(numbers)
    mean, error = f"{found.mean:,.{line.digits}f}", f"{found.error or 0:.{line.digits}f}"
    return f"{mean} ± {error}" if float(error) else mean


def make_table(rows: dict[str, list[dict[str, str]]], defaults: dict[str, list[dict[str, str]]]) -> str:
    """Makes a table in Markdown, with a line for each measure and a column for each system. The
    distance of samples stands there once more for the samplers' default settings, if there are
    runs with them."""
    table = [
        ["", *rows],
        ["---"] * (1 + len(rows)),
        ["an element is one of", *(runs[0]["elements_unit"] for runs in rows.values())],
    ]
    for line in LINES:
        cells = [summarise(runs, line) for runs in rows.values()]
        if any(cell != "-" for cell in cells):
            table.append([line.title, *cells])
        if line is DISTANCE and defaults:
            table.append(["the same with default settings", *(summarise(defaults[name], line) for name in rows)])
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def real_pictures(run: Path) -> tuple[list[np.ndarray], list[int]]:
    """Returns held-out pictures of a run, one of each class if it has classes, and the labels of
    samples beside them."""
    from dct_jax.commands.own_data import own_sources
    from dct_jax.data.pictures import SeenPictures
    from dct_jax.run import load

    config = load(run).config
    return SeenPictures(own_sources(config.data, True)[1], config, config.data.held_out_crops, repeat=True).look(SHOWN)


def sample(run: Path, labels: Sequence[int], settings: Mapping[str, float]) -> list[np.ndarray]:
    """Samples pictures of a run, of the same seed and classes for all runs."""
    from dct_jax.commands.runs import load_prior

    model = load_prior(str(run), "the study").with_settings(settings)
    found = dict(model.sample_pictures(SHOWN, SAMPLE_SEED, labels, SHOWN))
    return [found[i] for i in range(SHOWN)]


def report(data: Annotated[study.Data, tyro.conf.Positional], minutes: float = 10.0) -> None:
    """Prints the table of the study's runs, and writes their samples side by side.

    Args:
        data: the pictures.
        minutes: of training.
    """
    folder = study.results_of(data, minutes, defaults=False)
    all_titles: dict[str, str] = {one.name: one.stages[-1].system for one in study.contenders(data)}
    found, defaults = (
        {all_titles[name]: rows for name, rows in read_rows(table).items()} if table.exists() or table == folder else {}
        for table in (folder, study.results_of(data, minutes, defaults=True))
    )
    compared = [one for one in study.contenders(data) if all_titles[one.name] in found]
    titles = [all_titles[one.name] for one in compared]
    runs: dict[str, Path] = {one.name: study.folder_of(data, minutes, one, study.SEEDS[0]) for one in compared}
    print(make_table(found, defaults))
    real, labels = in_child(partial(real_pictures, next(iter(runs.values()))))
    best = study.chosen_settings(data, minutes, compared)
    sampled = [partial(sample, run, labels, best[name]) for name, run in runs.items()]
    pictures = [real, *map(in_child, sampled)]
    pairs(list(zip(["held-out", *titles], pictures)), columns=SHOWN).savefig(folder / "samples.png")
    for name, images in zip(runs, pictures[1:]):
        Image.fromarray(image_grid(images, columns=SHOWN, scale=2)).save(folder / f"{name}.png")


if __name__ == "__main__":
    run_script(report)
