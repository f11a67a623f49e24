"""What a representation alone loses: held-out pictures after the codec or the autoencoder.

Axes: N pictures, H x W pixels.
"""

from collections.abc import Mapping

import numpy as np

from dct_jax.comparison.measures import Distortion
from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.crops import owners_of
from dct_jax.evaluation.features.lpips_package import FILES
from dct_jax.evaluation.prior import Prior
from dct_jax.vq.findings import compare_pictures

_FRECHET = "FD-AlexNet"


def measure_prior_distortion(model: Prior, pictures: Pictures, batch_size: int) -> Distortion:
    """Measures what a prior's own codec or autoencoder leaves of pictures, with the functions of
    the command reconstruct.

    Args:
        model: whose `reconstruct` is measured.
        pictures: held-out ones of one size, at least one.
        batch_size: pictures at a time; the numbers do not depend on it.
    """
    originals = [pictures[i] for i in range(len(pictures))]
    copies = np.stack([model.reconstruct(one) for one in originals])
    # What is said of codes is not asked for here; a grid of one code stands in for them.
    codes = np.zeros((len(originals), 1, 1), np.int32)
    owners = owners_of(pictures).tolist()
    return read_distortion(compare_pictures(np.stack(originals), copies, codes, 1, batch_size, owners).numbers, len(originals))


def read_distortion(numbers: Mapping[str, float], pictures: int) -> Distortion:
    """Picks the distortion out of the numbers of `compare_pictures`, which findings of autoencoders
    have, too.

    Args:
        numbers: by name.
        pictures: of how many pictures.
    """
    lpips = {name: numbers[f"LPIPS-{name}"] for name in FILES.values() if f"LPIPS-{name}" in numbers}
    distances = {name: number for name, number in numbers.items() if name.startswith(_FRECHET)}
    return Distortion(pictures, numbers["psnr"], lpips, distances)
