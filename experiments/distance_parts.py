"""What the FD-AlexNet of representations is made of: brightness or colours, and enlarging.

    python experiments/distance_parts.py RUN RUN ...      # --out FILE for a report besides

For each run it measures held-out pictures after the run's own codec or autoencoder: as they are,
with the colours of their originals ("brightness"), and with the brightness of their originals
("colors"). A DCTransformer whose codec halves the colours is also measured without that. FD-AlexNet
enlarges pictures to 224 x 224 pixels; "as they are" it sees them at their own size.

Axes: N pictures, H x W pixels.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import study
import tyro
from PIL import Image

from dct_jax.commands.arguments import write_report
from dct_jax.commands.own_data import own_sources
from dct_jax.commands.runs import load_prior
from dct_jax.data.pictures import SeenPictures
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.distances import Moments, frechet_distance
from dct_jax.evaluation.features import FeatureNetwork, feature_network
from dct_jax.evaluation.lpips import load_lpips
from dct_jax.evaluation.prior import Prior
from dct_jax.tables import align
from dct_jax.vq.findings import measure_lpips
from dct_jax.vq.measures import measure

BATCH = 50


@dataclass(frozen=True)
class Part:
    """What remains of a representation's loss if only a part of it is kept.

    Attributes:
        run, part: whose loss, and which part of it.
        psnr: in dB.
        lpips: LPIPS-AlexNet.
        fd_alexnet: of all pictures and their originals.
        of_means: the share of `fd_alexnet` that is the squared distance of the means.
        of_three: the share of that distance that the three features have that change most.
        fd_as_they_are: FD-AlexNet without enlarging.
    """

    run: str
    part: str
    psnr: float
    lpips: float
    fd_alexnet: float
    of_means: float
    of_three: float
    fd_as_they_are: float


def with_colors(brightness: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Joins the brightness (Y) of pictures to the colours (Cb, Cr) of others, uint8 [N, H, W, 3]
    each, in JPEG's colour space."""
    joined = []
    for one, other in zip(brightness, colors):
        y = Image.fromarray(one).convert("YCbCr").getchannel(0)
        _, blue, red = Image.fromarray(other).convert("YCbCr").split()
        joined.append(np.asarray(Image.merge("YCbCr", (y, blue, red)).convert("RGB")))  # [H, W, 3]
    return np.stack(joined)


def parts_of(model: Prior, originals: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Makes reconstructions, uint8 [N, H, W, 3], of which each loses a part of what the model's
    representation loses."""
    copies = _copy(model.reconstruct, originals)  # [N, H, W, 3]
    yield "all", copies
    yield "brightness", with_colors(copies, originals)
    yield "colors", with_colors(originals, copies)
    if isinstance(model, TrainedModel) and model.codec.chroma_subsampling != "4:4:4":
        codec = replace(model.codec, chroma_subsampling="4:4:4")
        yield "all, with 4:4:4", _copy(lambda one: codec.decode(codec.encode(one)), originals)


def _copy(reconstruct: Callable[[np.ndarray], np.ndarray], originals: np.ndarray) -> np.ndarray:
    return np.stack([reconstruct(one) for one in originals])


def features_of(network: FeatureNetwork, pictures: np.ndarray) -> Moments:
    """Returns the moments of the features of pictures, uint8 [N, H, W, 3]."""
    return Moments.of(np.concatenate([batch["pool"] for batch in network.extract(pictures, BATCH)]))


def measure_parts(run: str, num: int) -> list[Part]:
    """Measures all parts of a run's representation, on as many of its held-out pictures."""
    model, network, lpips = load_prior(run, "distance_parts"), feature_network("alexnet"), load_lpips("alexnet")
    config = model.config
    pictures = SeenPictures(own_sources(config.data, True)[1], config, num, repeat=True)
    originals = np.stack([pictures[i] for i in range(len(pictures))])  # [N, H, W, 3]
    networks = (network, replace(network, prepare=lambda picture: picture.astype(np.float32)))
    real = [features_of(one, originals) for one in networks]
    found = []
    for part, copies in parts_of(model, originals):
        enlarged, own_size = (features_of(one, copies) for one in networks)
        distance = frechet_distance(enlarged, real[0])
        steps = np.sort(np.square(enlarged.mean - real[0].mean))  # [D]
        found.append(
            Part(
                run=Path(run).name,
                part=part,
                psnr=measure(originals, copies, np.zeros((len(copies), 1, 1), np.int32), 1)["psnr"],
                lpips=float(measure_lpips(lpips, originals, copies, BATCH).mean()),
                fd_alexnet=distance,
                of_means=float(steps.sum() / distance),
                of_three=float(steps[-3:].sum() / steps.sum()),
                fd_as_they_are=frechet_distance(own_size, real[1]),
            )
        )
    return found


def report(runs: Annotated[tuple[str, ...], tyro.conf.Positional], num: int = 400, out: Path | None = None) -> None:
    """Prints a table of all parts of the runs' representations.

    Args:
        runs: folders of runs that sample pictures.
        num: how many held-out pictures; several crops of each if there are fewer.
        out: file for a report in JSON.
    """
    found = [part for run in runs for part in measure_parts(run, num)]
    rows = [("run", "part", "PSNR", "LPIPS", "FD-AlexNet", "of means", "of three features", "as they are")]
    for one in found:
        numbers = (f"{one.psnr:.1f}", f"{one.lpips:.3f}", f"{one.fd_alexnet:.2f}", f"{one.of_means:.2f}", f"{one.of_three:.2f}")
        rows.append((one.run, one.part, *numbers, f"{one.fd_as_they_are:.2f}"))
    print(align(rows))
    if out:
        write_report(out, {"pictures": num, "parts": [asdict(one) for one in found]})


if __name__ == "__main__":
    sys.exit(study.run_script("distance_parts", report))
