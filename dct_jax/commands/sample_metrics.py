"""The part of the command evaluate that compares samples, or any pictures, with real ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from tqdm import tqdm

from dct_jax.commands.arguments import save_image

if TYPE_CHECKING:
    from dct_jax.data.sources import Source
    from dct_jax.dct.sampling.lists import Sample, Start
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.evaluation.features import FeatureNetwork
    from dct_jax.evaluation.sample_metrics import SampleMetrics

FOLDERS = ("samples", "upsampled")
"""What evaluate draws is kept in these folders of its results."""


def check_folders(out: Path, num: int) -> None:
    """Raises ValueError if a folder holds anything but `num` samples, which would be compared, too."""
    for folder in (out / name for name in FOLDERS):
        if others := {path.name for path in folder.glob("*")} - {_name(i) for i in range(num)}:
            raise ValueError(f"{folder} holds other files, such as {min(others)}; remove it, or name another --out")


def compare_samples(
    model: "TrainedModel",
    sources: "tuple[Source, Source]",
    network: "FeatureNetwork",
    num: int,
    seed: int,
    references: int,
    batch_size: int,
    out: Path,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Draws samples into a folder and compares them with the model's training pictures; so it does with samples whose small
    picture is that of a held-out one, if the model can draw such, and with held-out pictures themselves. Prints the tables.

    Args:
        model: to draw from; with classes, those of the training pictures.
        sources: of training pictures and of held-out ones.
        network: whose features are compared.
        num, seed: of the samples.
        references: how many training pictures at most.
        batch_size: samples at a time.
        out: gets the samples, one PNG file each, in FOLDERS; see `check_folders`.

    Returns:
        What evaluation.json says of them, and the plots by the names of their files.

    Raises:
        ValueError: if there are too few pictures.
    """
    from dct_jax.commands.picture_sets import compare_sets, nearest_pictures
    from dct_jax.data.pictures import SeenPictures, SourcePictures
    from dct_jax.data.sources import open_source
    from dct_jax.dct.sampling.conditioning import dcs_first
    from dct_jax.dct.steering import starts_of, to_restore
    from dct_jax.evaluation.reference import statistics
    from dct_jax.evaluation.sample_metrics import KEEP, check_counts, compare_statistics
    from dct_jax.storage.caches import cache_folder

    training, held_out = sources
    real = SeenPictures(training, model.config, references)
    others = SeenPictures(held_out, model.config, num, repeat=True)
    check_counts(len(real), num)
    folders = {name: out / name for name in FOLDERS}
    for sample in _drawn(model, model.starts(num, seed, real.labels(num)), seed, batch_size, "samples"):
        save_image(model.codec.decode(sample.sparse), folders["samples"] / _name(sample.start.number))
    sets: dict[str, Sequence[Any]] = {"samples": SourcePictures(open_source(f"folder:{folders['samples']}"))}
    report: dict[str, Any] = {}
    if dcs_first(model.codec):
        given = [to_restore(model, others[i]) for i in range(len(others))]
        kept = 0
        starts = starts_of(model, [one.prefix for one in given], 1, seed)
        for sample in _drawn(model, starts, seed, batch_size, "upsampled"):
            kept += sample.sparse[: len(sample.start.given)] == sample.start.given
            save_image(model.codec.decode(sample.sparse), folders["upsampled"] / _name(sample.start.number))
        sets["upsampled"] = SourcePictures(open_source(f"folder:{folders['upsampled']}"))
        sets["their input, enlarged"] = [one.shown for one in given]
        report["upsampled_with_the_given_coefficients"] = kept / len(given)
    sets["held-out pictures"] = others
    sets["these, coded"] = coded = [others.coded(i) for i in range(len(others))]
    batch = min(batch_size, max(len(real), num))
    reals = statistics(network, real, KEEP, batch, cache_folder(), "training pictures")
    found = {name: statistics(network, pictures, KEEP, batch, title=name) for name, pictures in sets.items()}
    report = _said(compare_statistics(network, reals, found["samples"])) | report
    report["sets"] = compare_sets(network, reals, found, sets, model.codec.block_size)
    report["nearest"], figures = nearest_pictures(sets["samples"], coded, real)
    return report, figures


def compare_folders(real: Path, fake: Path, features: str, weights: Path | None, batch_size: int) -> dict[str, Any]:
    """Compares two folders of pictures of any sizes. Prints the table.

    Raises:
        ValueError: if a folder has no pictures, or too few, or one that cannot be read.
    """
    from dct_jax.data.pictures import SourcePictures
    from dct_jax.data.sources import open_source
    from dct_jax.evaluation.features import feature_network
    from dct_jax.evaluation.sample_metrics import compare
    from dct_jax.storage.caches import cache_folder

    pictures = [SourcePictures(open_source(f"folder:{folder}")) for folder in (real, fake)]
    network = feature_network(features, weights)
    return _said(compare(network, *pictures, batch_size=batch_size, cache=cache_folder()))


def _drawn(model: "TrainedModel", starts: "Sequence[Start]", seed: int, batch_size: int, title: str) -> "Iterator[Sample]":
    """The samples as they end, under a progress bar."""
    with tqdm(total=len(starts), desc=title, unit="", disable=None) as bar:
        for grown in model.draw(starts, seed, batch_size=batch_size):
            for sample in grown:
                if sample.state != "growing":
                    yield sample
                    bar.update()


def _said(metrics: "SampleMetrics") -> dict[str, Any]:
    from dct_jax.evaluation.sample_metrics import table

    print(table(metrics) + "\n")
    return metrics.to_dict()


def _name(index: int) -> str:
    return f"{index:06d}.png"
