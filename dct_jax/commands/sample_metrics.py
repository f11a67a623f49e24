"""The part of the command evaluate that compares samples with real pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from dct_jax.commands.arguments import save_image

if TYPE_CHECKING:
    from dct_jax.data.pictures import Pictures
    from dct_jax.data.sources import Source
    from dct_jax.evaluation.features import FeatureNetwork

FOLDERS = ("samples", "upsampled")
"""Folders of results in which evaluate keeps its samples."""


def check_folders(out: Path, num: int) -> None:
    """Raises ValueError if a folder holds other files than `num` samples; all are compared."""
    for folder in (out / name for name in FOLDERS):
        if others := {path.name for path in folder.glob("*")} - {_name(i) for i in range(num)}:
            raise ValueError(f"{folder} holds other files, such as {min(others)}; remove it, or name another --out")


def compare_samples(
    model: Any,
    sources: "tuple[Source, Source]",
    network: "FeatureNetwork",
    num: int,
    seed: int,
    references: int | None,
    batch_size: int,
    out: Path,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Samples into folders and compares sets of pictures with the model's training pictures:
    samples, samples that are given a part of a held-out picture if the model can do that, and
    held-out pictures. Prints the tables.

    Args:
        model: a `Trained` that is a `Prior`; samples have the training pictures' classes.
        sources: of training pictures and of held-out ones.
        network: its features are compared.
        num, seed: of the samples.
        references: how many training pictures; see `reference_pictures`.
        batch_size: samples at a time.
        out: gets the samples, one PNG file each, in FOLDERS; see `check_folders`.

    Returns:
        What evaluation.json says of them, and the plots by the names of their files.

    Raises:
        ValueError: if there are too few pictures.
    """
    from dct_jax.commands.picture_sets import compare_sets, nearest_pictures
    from dct_jax.data.pictures import Mapped, SeenPictures, SourcePictures, reference_pictures
    from dct_jax.data.sources import open_source
    from dct_jax.evaluation.reference import statistics
    from dct_jax.evaluation.sample_metrics import KEEP, check_counts, compare_statistics, table
    from dct_jax.storage.caches import cache_folder

    real = reference_pictures(sources[0], model.config, references)
    others = SeenPictures(sources[1], model.config, num, repeat=True)
    check_counts(len(real), num)

    def save(folder: Path, samples: Iterable[tuple[int, np.ndarray]], number: int) -> SourcePictures:
        """Writes samples as they end, under a progress bar."""
        for i, picture in tqdm(samples, total=number, desc=folder.name, unit="", disable=None):
            save_image(picture, folder / _name(i))
        return SourcePictures(open_source(f"folder:{folder}"))

    samples = model.sample_pictures(num, seed, real.labels(num), batch_size)
    sets: dict[str, Pictures] = {"samples": save(out / "samples", samples, num)}
    report: dict[str, Any] = {}
    if guided := model.guided_pictures(others, seed, batch_size):
        has_given: list[bool] = []

        def guided_samples() -> Iterator[tuple[int, np.ndarray]]:
            for i, picture, keeps in guided.samples:
                has_given.append(keeps)
                yield i, picture

        sets[guided.name] = save(out / guided.name, guided_samples(), len(others))
        name, given = guided.given
        sets[name] = given
        report[guided.kept] = sum(has_given) / len(has_given)
    coded = [model.reconstruct(others[i]) for i in range(len(others))]
    sets |= {"held-out pictures": others, "these, coded": coded}
    batch = min(batch_size, max(len(real), num))
    reals = statistics(network, real, KEEP, batch, cache_folder(), "training pictures")
    fakes = {name: statistics(network, pictures, KEEP, batch, title=name) for name, pictures in sets.items()}
    metrics = compare_statistics(network, reals, fakes["samples"])
    print(table(metrics) + "\n")
    report = metrics.to_dict() | report
    report["sets"] = compare_sets(network, reals, fakes, sets, model.block_size)
    report["nearest"], figures = nearest_pictures(sets["samples"], coded, Mapped(real, model.reconstruct))
    return report, figures


def _name(index: int) -> str:
    return f"{index:06d}.png"
