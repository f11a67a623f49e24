"""What a representation alone loses: held-out pictures after the codec or the autoencoder.

Axes: N pictures, H x W pixels.
"""

from typing import Any

import numpy as np

from dct_jax.comparison.measures import Distortion
from dct_jax.data.pictures import Pictures
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.crops import owners_of
from dct_jax.evaluation.features.lpips_package import FILES
from dct_jax.evaluation.prior import Prior
from dct_jax.vq.findings import Comparison, compare_pictures

_FRECHET = "FD-AlexNet"


def measure_prior_distortion(model: Prior, pictures: Pictures, content: Any, batch_size: int) -> Distortion:
    """Measures what a prior's own codec or autoencoder leaves of pictures, with the functions of
    the command reconstruct.

    Args:
        model: whose `reconstruct` is measured; or the lists of a DCTransformer, whose qualities may
            be several, as its bits are of these lists.
        pictures: held-out ones of one size, at least one.
        content: what the reader's `held_out` made of these pictures.
        batch_size: pictures at a time; the numbers do not depend on it.
    """
    originals = [pictures[i] for i in range(len(pictures))]
    if isinstance(model, TrainedModel):
        copies = np.stack([one.codec.decode(one) for one in content.lists])
    else:
        copies = np.stack([model.reconstruct(one) for one in originals])
    # What is said of codes is not asked for here; a grid of one code stands in for them.
    codes = np.zeros((len(originals), 1, 1), np.int32)
    owners = owners_of(pictures).tolist()
    return read_distortion(compare_pictures(np.stack(originals), copies, codes, 1, batch_size, owners), len(originals))


def read_distortion(found: Comparison, pictures: int) -> Distortion:
    """Picks the distortion out of what `compare_pictures` returns, which findings of autoencoders
    have, too.

    Args:
        found: the numbers and the notes.
        pictures: of how many pictures.
    """
    numbers = found.numbers
    lpips = {name: numbers[f"LPIPS-{name}"] for name in FILES.values() if f"LPIPS-{name}" in numbers}
    distances = {name: number for name, number in numbers.items() if name.startswith(_FRECHET)}
    return Distortion(pictures, numbers["psnr"], lpips, distances, tuple(found.notes))
