"""The part of the command evaluate that compares samples, or any pictures, with real ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dct_jax.commands.arguments import save_image

if TYPE_CHECKING:
    from dct_jax.evaluation.features import FeatureNetwork
    from dct_jax.evaluation.sample_metrics import SampleMetrics
    from dct_jax.trained_model import TrainedModel


def check_folder(folder: Path, num: int) -> None:
    """Raises ValueError if the folder holds anything but `num` samples, which would be compared, too."""
    if others := {path.name for path in folder.glob("*")} - {_name(i) for i in range(num)}:
        raise ValueError(f"{folder} holds other files, such as {min(others)}; remove it, or name another --out")


def compare_samples(
    model: "TrainedModel", network: "FeatureNetwork", num: int, seed: int, references: int, batch_size: int, folder: Path
) -> dict[str, Any]:
    """Draws samples into a folder and compares them with the model's training pictures. Prints the table.

    Args:
        model: to draw from; with classes, those of the training pictures.
        network: whose features are compared.
        num, seed: of the samples.
        references: how many training pictures at most.
        batch_size: samples at a time.
        folder: for the samples, one PNG file each; see `check_folder`.

    Raises:
        ValueError: if there are too few pictures.
    """
    from dct_jax.caches import cache_folder
    from dct_jax.data.sources import open_source
    from dct_jax.evaluation.pictures import SeenPictures, SourcePictures
    from dct_jax.evaluation.sample_metrics import check_counts, compare
    from dct_jax.training.loop import open_sources

    real = SeenPictures(open_sources(model.config.data)[0], model.config, references)
    check_counts(len(real), num)
    with tqdm(total=num, desc="samples", unit="", disable=None) as bar:
        for grown in model.draw(model.starts(num, seed, real.labels(num)), seed, batch_size=batch_size):
            for sample in grown:
                if sample.state != "growing":
                    save_image(model.codec.decode(sample.sparse), folder / _name(sample.start.number))
                    bar.update()
    fake = SourcePictures(open_source(f"folder:{folder}"))
    return _said(compare(network, real, fake, batch_size=batch_size, cache=cache_folder()))


def compare_folders(real: Path, fake: Path, features: str, weights: Path | None, batch_size: int) -> dict[str, Any]:
    """Compares two folders of pictures of any sizes. Prints the table.

    Raises:
        ValueError: if a folder has no pictures, or too few, or one that cannot be read.
    """
    from dct_jax.caches import cache_folder
    from dct_jax.data.sources import open_source
    from dct_jax.evaluation.features import feature_network
    from dct_jax.evaluation.pictures import SourcePictures
    from dct_jax.evaluation.sample_metrics import compare

    pictures = [SourcePictures(open_source(f"folder:{folder}")) for folder in (real, fake)]
    network = feature_network(features, weights)
    return _said(compare(network, *pictures, batch_size=batch_size, cache=cache_folder()))


def _said(metrics: "SampleMetrics") -> dict[str, Any]:
    from dct_jax.evaluation.sample_metrics import table

    print(table(metrics) + "\n")
    return metrics.to_dict()


def _name(index: int) -> str:
    return f"{index:06d}.png"
