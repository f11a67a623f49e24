"""What FD-AlexNet charges for colours, and for enlarging small pictures.

    python experiments/study_distances.py landscapes      # after study.py settings

FD-AlexNet enlarges pictures to 224 x 224 pixels. This script measures the study's runs of the first
seed three times: as FD-AlexNet does, in grey, and without enlarging. It measures held-out pictures
after each codec or autoencoder, and samples with the best settings. The codec is also measured with
all of its colours (4:4:4). The table is printed, and a report goes beside the comparison.

Axes: N pictures, H x W pixels, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
import study
import tyro
from PIL import Image

from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.commands.arguments import write_report
from dct_jax.commands.ending import run_script
from dct_jax.commands.own_data import own_sources
from dct_jax.commands.runs import load_prior
from dct_jax.data.pictures import Pictures, SeenPictures, reference_pictures
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.distances import Moments, frechet_distance
from dct_jax.evaluation.features import FeatureNetwork, feature_network
from dct_jax.evaluation.lpips import load_lpips
from dct_jax.evaluation.prior import Prior
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.evaluation.sample_metrics import KEEP, compare_statistics
from dct_jax.tables import align
from dct_jax.vq.findings import measure_lpips

SEED_OF_SAMPLES, BATCH = 0, 50
Model = TrainedModel | TrainedCodePrior
RULERS = ("FD-AlexNet", "in grey", "not enlarged")


@dataclass(frozen=True)
class Row:
    """How far pictures of a run are from real ones.

    Attributes:
        run: its name.
        pictures: which ones.
        lpips: the mean of LPIPS-AlexNet of reconstructions and their originals.
        distances: for each of RULERS, of all reconstructions and all originals, or of samples and
            training pictures.
        floors: of samples: training pictures in their place, against other ones.
        of_three: the share of the first distance that three features have, by their means alone.
    """

    run: str
    pictures: str
    lpips: float | None
    distances: dict[str, float]
    floors: dict[str, float]
    of_three: float


def rulers() -> dict[str, FeatureNetwork]:
    """Returns the networks of RULERS: they have the same weights, and see other pictures."""
    network = feature_network("alexnet")

    def in_grey(picture: np.ndarray) -> np.ndarray:
        return network.prepare(np.asarray(Image.fromarray(picture).convert("L").convert("RGB")))

    def as_it_is(picture: np.ndarray) -> np.ndarray:
        return picture.astype(np.float32)

    return {name: replace(network, prepare=prepare) for name, prepare in zip(RULERS, (network.prepare, in_grey, as_it_is))}


def copies_of(model: Prior, originals: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Makes reconstructions of pictures, uint8 [N, H, W, 3], by a model's own codec or autoencoder,
    and by the codec with all colours."""
    yield "reconstructions", np.stack([model.reconstruct(one) for one in originals])
    if isinstance(model, TrainedModel) and model.codec.chroma_subsampling != "4:4:4":
        codec = replace(model.codec, chroma_subsampling="4:4:4")
        yield "reconstructions, 4:4:4", np.stack([codec.decode(codec.encode(one)) for one in originals])


def share_of_three(one: Moments, other: Moments) -> float:
    """Returns the share of a Frechet distance that the three features have whose means [D] are
    farthest apart."""
    steps = np.sort(np.square(one.mean - other.mean))  # [D]
    return float(steps[-3:].sum() / frechet_distance(one, other))


def _see(networks: Mapping[str, FeatureNetwork], pictures: Pictures) -> dict[str, Statistics]:
    return {name: statistics(network, pictures, KEEP, BATCH) for name, network in networks.items()}


def measure_reconstructions(models: Mapping[str, Model], num: int) -> list[Row]:
    """Measures `num` held-out pictures after each model's codec or autoencoder, by its name."""
    config, networks, lpips = next(iter(models.values())).config, rulers(), load_lpips("alexnet")
    pictures = SeenPictures(own_sources(config.data, True)[1], config, num, repeat=True)  # the same for all
    originals = np.stack([pictures[i] for i in range(len(pictures))])  # [N, H, W, 3]
    real, rows = _see(networks, originals), []
    for name, model in models.items():
        for what, copies in copies_of(model, originals):
            found = {ruler: one.moments["pool"] for ruler, one in _see(networks, copies).items()}
            distances = {ruler: frechet_distance(one, real[ruler].moments["pool"]) for ruler, one in found.items()}
            share = share_of_three(found[RULERS[0]], real[RULERS[0]].moments["pool"])
            rows.append(Row(name, what, float(measure_lpips(lpips, originals, copies, BATCH).mean()), distances, {}, share))
    return rows


def measure_samples(models: Mapping[str, Model], num: int, references: int) -> list[Row]:
    """Measures `num` samples of each model, by its name, against training pictures."""
    config, networks, rows = next(iter(models.values())).config, rulers(), []
    pictures = reference_pictures(own_sources(config.data, True)[0], config, references)  # the same for all
    real, labels = _see(networks, pictures), pictures.labels(num)
    for name, model in models.items():
        sampled = dict(model.sample_pictures(num, SEED_OF_SAMPLES, labels, BATCH))
        fakes = _see(networks, np.stack([sampled[i] for i in range(num)]))
        found = {ruler: compare_statistics(networks[ruler], real[ruler], fakes[ruler]).measures[0] for ruler in RULERS}
        distances, floors = ({ruler: getattr(one, kind) for ruler, one in found.items()} for kind in ("value", "floor"))
        share = share_of_three(*(one[RULERS[0]].moments["pool"] for one in (fakes, real)))
        rows.append(Row(name, "samples", None, distances, floors, share))
    return rows


def report(data: Annotated[study.Data, tyro.conf.Positional], minutes: float = 10.0) -> None:
    """Prints the table and writes distances.json.

    Args:
        data: the pictures, of 31 x 31 pixels or more.
        minutes: of training.
    """
    best = study.chosen_settings(data, minutes, study.contenders(data))
    runs = {one.name: study.folder_of(data, minutes, one, study.SEEDS[0]) for one in study.contenders(data)}
    models: dict[str, Model] = {name: load_prior(str(run), "the study").with_settings(best[name]) for name, run in runs.items()}
    rows = measure_reconstructions(models, study.HELD_OUT[data])
    rows += measure_samples(models, study.SAMPLES, study.REFERENCES[data])
    lines: list[tuple[str, ...]] = [("run", "pictures", "LPIPS", *RULERS, "three features")]
    for row in rows:
        lpips = "-" if row.lpips is None else f"{row.lpips:.3f}"
        lines.append((row.run, row.pictures, lpips, *(f"{row.distances[name]:.2f}" for name in RULERS), f"{row.of_three:.2f}"))
    print(align(lines, names=2))
    write_report(study.results_of(data, minutes, defaults=False) / "distances.json", {"rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    run_script(report)
