"""InceptionV3 as published FIDs use it: the network of the TensorFlow graph of 2015-12-05, in Flax.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016). Modules have
torchvision's names, which the common file of weights has, too. The graph differs from torchvision's
network in its resizing, in average pools without padding, and in the last block, whose pool takes
the largest number and not the average.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.evaluation.features.network import FeatureNetwork, fingerprint
from dct_jax.evaluation.features.resize import legacy_bilinear
from dct_jax.evaluation.features.weights import inception_file, inception_notes, inception_variables, parse_weights
from dct_jax.storage.files import read_limited

SIZE = (299, 299)
SPATIAL_CHANNELS = 7  # of mixed_6/conv, as in sFID's definition (Nash et al., 2021)
DIMENSIONS = {"pool": 2048, "spatial": 17 * 17 * SPATIAL_CHANNELS}


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch normalisation with stored statistics, ReLU."""

    features: int
    kernel: tuple[int, int]
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Published numbers are float32's; accelerators would multiply with fewer bits.
        convolve = partial(nn.Conv, use_bias=False, precision=jax.lax.Precision.HIGHEST, name="conv")
        x = convolve(self.features, self.kernel, self.strides, self.padding)(x)  # [B, h, w, features]
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


Layer = tuple[str, int, tuple[int, int]]  # name, features, kernel
HALVING: dict[str, Any] = {"strides": 2, "padding": "VALID"}
ONE, THREE, FIVE, WIDE, HIGH = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _chain(x: jax.Array, layers: tuple[Layer, ...], **last: Any) -> jax.Array:
    """Applies layers one after another; `last` are settings of the last one."""
    for layer in layers[:-1]:
        x = ConvNormRelu(*layer[1:], name=layer[0])(x)
    return ConvNormRelu(*layers[-1][1:], **last, name=layers[-1][0])(x)


def average_pool(x: jax.Array) -> jax.Array:
    """The mean of the 3 x 3 neighbours, fewer at edges; [B, h, w, C] -> [B, h, w, C]."""
    return nn.avg_pool(x, THREE, padding="SAME", count_include_pad=False)


def largest_pool(x: jax.Array) -> jax.Array:
    """The largest of each place's 3 x 3 neighbours; [B, h, w, C] -> [B, h, w, C]."""
    return nn.max_pool(x, THREE, padding="SAME")


def halving_pool(x: jax.Array) -> jax.Array:
    """The largest of 3 x 3, in steps of 2; [B, h, w, C] -> [B, (h - 1) // 2, (w - 1) // 2, C]."""
    return nn.max_pool(x, THREE, (2, 2))


class InceptionA(nn.Module):
    """35 x 35: kernels of 1 x 1, 5 x 5 and twice 3 x 3, and an average pool."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        single = _chain(x, (("branch1x1", 64, ONE),))
        five = _chain(x, (("branch5x5_1", 48, ONE), ("branch5x5_2", 64, FIVE)))
        double = _chain(x, (("branch3x3dbl_1", 64, ONE), ("branch3x3dbl_2", 96, THREE), ("branch3x3dbl_3", 96, THREE)))
        pool = _chain(average_pool(x), (("branch_pool", self.pool_features, ONE),))
        return jnp.concatenate([single, five, double, pool], axis=-1)


class InceptionB(nn.Module):
    """35 x 35 -> 17 x 17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _chain(x, (("branch3x3", 384, THREE),), **HALVING)
        layers = (("branch3x3dbl_1", 64, ONE), ("branch3x3dbl_2", 96, THREE), ("branch3x3dbl_3", 96, THREE))
        return jnp.concatenate([three, _chain(x, layers, **HALVING), halving_pool(x)], axis=-1)


class InceptionC(nn.Module):
    """17 x 17: kernels of 7 x 7 in two and four factors, and an average pool."""

    inner: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.inner
        single = _chain(x, (("branch1x1", 192, ONE),))
        seven = _chain(x, (("branch7x7_1", c, ONE), ("branch7x7_2", c, WIDE), ("branch7x7_3", 192, HIGH)))
        kernels = enumerate(((c, ONE), (c, HIGH), (c, WIDE), (c, HIGH), (192, WIDE)), 1)
        double = _chain(x, tuple((f"branch7x7dbl_{i}", *layer) for i, layer in kernels))
        pool = _chain(average_pool(x), (("branch_pool", 192, ONE),))
        return jnp.concatenate([single, seven, double, pool], axis=-1)


class InceptionD(nn.Module):
    """17 x 17 -> 8 x 8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _chain(x, (("branch3x3_1", 192, ONE), ("branch3x3_2", 320, THREE)), **HALVING)
        kernels = enumerate((ONE, WIDE, HIGH, THREE), 1)
        seven = _chain(x, tuple((f"branch7x7x3_{i}", 192, kernel) for i, kernel in kernels), **HALVING)
        return jnp.concatenate([three, seven, halving_pool(x)], axis=-1)


class InceptionE(nn.Module):
    """8 x 8: kernels that end in a fork of 1 x 3 and 3 x 1."""

    largest: bool  # whether the pool takes the largest number

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def fork(x: jax.Array, name: str) -> list[jax.Array]:
            return [_chain(x, ((name + arm, 384, kernel),)) for arm, kernel in (("a", (1, 3)), ("b", (3, 1)))]

        single = _chain(x, (("branch1x1", 320, ONE),))
        three = fork(_chain(x, (("branch3x3_1", 384, ONE),)), "branch3x3_2")
        double = fork(_chain(x, (("branch3x3dbl_1", 448, ONE), ("branch3x3dbl_2", 384, THREE))), "branch3x3dbl_3")
        pooled = largest_pool(x) if self.largest else average_pool(x)
        return jnp.concatenate([single, *three, *double, _chain(pooled, (("branch_pool", 192, ONE),))], axis=-1)


class InceptionV3(nn.Module):
    """float32 [B, 299, 299, 3] of 0 to 255 -> "pool" [B, 2048], "spatial" [B, 2023] by row, column
    and channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = (x - 128) / 128
        x = ConvNormRelu(32, THREE, **HALVING, name="Conv2d_1a_3x3")(x)  # [B, 149, 149, 32]
        x = ConvNormRelu(32, THREE, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = halving_pool(ConvNormRelu(64, THREE, name="Conv2d_2b_3x3")(x))  # [B, 73, 73, 64]
        x = ConvNormRelu(80, ONE, name="Conv2d_3b_1x1")(x)
        x = halving_pool(ConvNormRelu(192, THREE, padding="VALID", name="Conv2d_4a_3x3")(x))  # [B, 35, 35, 192]
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = InceptionA(pool_features, name=name)(x)  # [B, 35, 35, 256, then 288]
        x = InceptionB(name="Mixed_6a")(x)  # [B, 17, 17, 768]
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160)):
            x = InceptionC(inner, name=name)(x)
        spatial = x[..., :SPATIAL_CHANNELS]  # of the branch 1 x 1, which comes first
        x = InceptionC(192, name="Mixed_6e")(x)
        x = InceptionD(name="Mixed_7a")(x)  # [B, 8, 8, 1280]
        x = InceptionE(largest=False, name="Mixed_7b")(x)  # [B, 8, 8, 2048]
        x = InceptionE(largest=True, name="Mixed_7c")(x)
        return {"pool": x.mean(axis=(1, 2)), "spatial": spatial.reshape(len(x), -1)}


@cache
def variable_shapes() -> Any:
    """The network's variables as jax.ShapeDtypeStructs; finding them takes seconds."""
    return jax.eval_shape(InceptionV3().init, jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))


def inception(path: Path | None = None) -> FeatureNetwork:
    """The network for FID and sFID.

    Args:
        path: a file of weights; see `weights.inception_file`.

    Raises:
        ValueError: if it is not found, or has not exactly the network's arrays.
    """
    path = inception_file(path)
    data = read_limited(path)
    try:
        variables, used = inception_variables(parse_weights(data), variable_shapes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return FeatureNetwork(
        name="inception",
        fingerprint=fingerprint("inception 1", used),
        dimensions=DIMENSIONS,
        distances={"pool": "FID", "spatial": "sFID"},
        prepare=partial(legacy_bilinear, size=SIZE),
        apply=InceptionV3().apply,
        variables=jax.device_put(variables),
        notes=inception_notes(data),
    )
