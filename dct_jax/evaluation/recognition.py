"""Whether pictures look like their class: a small classifier of real pictures judges others.

Axes: N pictures, H x W pixels.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save

from dct_jax.evaluation.features.safetensors import read_safetensors
from dct_jax.storage.files import read_limited, replacing

log = logging.getLogger(__name__)

EPOCHS, BATCH = 12, 128
SHIFT = 2  # pixels, by which training pictures are moved at most
_AT_A_TIME = 500


class LabelledPictures(NamedTuple):
    """Pictures, uint8 [N, H, W, 3], and their classes, int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class ClassifierNetwork(nn.Module):
    """float32 [N, H, W, 1 or 3] of 0 to 1 -> logits [N, classes]."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for features, size, stride in ((32, 5, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1)):
            x = nn.gelu(nn.Conv(features, (size, size), (stride, stride), kernel_init=nn.initializers.he_normal())(x))
        x = x.reshape(len(x), -1)  # [N, H W 4]
        if key is not None:
            x = x * jax.random.bernoulli(key, 0.6, x.shape) / 0.6
        return nn.Dense(self.classes)(x)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A classifier with its parameters.

    Attributes:
        network: the Flax module.
        params: its variables.
        channels: 1 if it was trained on grey pictures, else 3.
    """

    network: ClassifierNetwork
    params: Any
    channels: int

    def share_recognised(self, pictures: LabelledPictures) -> float:
        """Returns the share of pictures whose class is the likeliest to the classifier."""
        parts = [pictures.images[i : i + _AT_A_TIME] for i in range(0, len(pictures.images), _AT_A_TIME)]
        guesses = [np.asarray(self._predict(_to_input(part, self.channels))).argmax(axis=-1) for part in parts]
        return float((np.concatenate(guesses) == pictures.labels).mean())

    @cached_property
    def _predict(self) -> Any:
        return jax.jit(partial(self.network.apply, self.params))


def train_classifier(pictures: LabelledPictures, classes: int, epochs: int = EPOCHS, seed: int = 0) -> Classifier:
    """Trains a classifier. Labels are smoothed, and the rate of learning falls to 0.

    Args:
        pictures: of one size; at least one. Of grey ones it takes one channel.
        classes: their number.
        epochs: how often it sees each picture.
        seed: of the parameters, the order and the shifts. On one machine the same arguments give
            the same classifier.
    """
    channels, size = _channels(pictures.images), min(BATCH, len(pictures.images))
    network, steps = ClassifierNetwork(classes), epochs * (len(pictures.images) // size)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, 4e-3, 0.15), weight_decay=0.02)
    params = network.init(jax.random.key(seed), jnp.zeros((1, *pictures.images.shape[1:3], channels)))
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            logits = network.apply(params, images, key)
            return optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(labels, classes), 0.05)).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for number, (images, labels) in enumerate(_batches(pictures, size, epochs, seed)):
        key = jax.random.fold_in(jax.random.key(seed + 1), number)
        params, state = step(params, state, _to_input(images, channels), labels, key)
    return Classifier(network, params, channels)


def kept_classifier(pictures: LabelledPictures, classes: int, cache: Path, epochs: int = EPOCHS, seed: int = 0) -> Classifier:
    """Returns what `train_classifier` returns, which is trained once: a file in the folder `cache`
    keeps the parameters. Its name is a hash of all arguments and every pixel."""
    key = hashlib.sha256(f"classifier 1\0{classes} {epochs} {seed} {pictures.images.shape}\0".encode())
    key.update(np.ascontiguousarray(pictures.images).data)
    key.update(np.ascontiguousarray(pictures.labels, np.int32).data)
    path = cache / f"classifier-{key.hexdigest()[:40]}.safetensors"
    network, channels = ClassifierNetwork(classes), _channels(pictures.images)
    example = jax.ShapeDtypeStruct((1, *pictures.images.shape[1:3], channels), np.float32)
    shapes = flatten_dict(jax.eval_shape(network.init, jax.random.key(0), example), sep="/")
    if path.exists():
        try:
            arrays = read_safetensors(read_limited(path))
            if {name: x.shape for name, x in arrays.items()} == {name: x.shape for name, x in shapes.items()}:
                return Classifier(network, unflatten_dict(arrays, sep="/"), channels)
            raise ValueError("it has other arrays")
        except ValueError as error:
            log.warning("%s is damaged (%s); the classifier is trained again", path, error)
    found = train_classifier(pictures, classes, epochs, seed)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(save({name: np.asarray(x) for name, x in flatten_dict(found.params, sep="/").items()}))
    except (OSError, ValueError) as error:  # it is there; that it cannot be kept is no reason to lose it
        log.warning("the classifier is not kept: %s", error)
    return found


def _channels(images: np.ndarray) -> int:
    return 1 if (images == images[..., :1]).all() else 3


def _to_input(images: np.ndarray, channels: int) -> np.ndarray:
    """Turns uint8 [N, H, W, 3] into what the network takes; of a grey picture's channels, one."""
    return images[..., :channels].astype(np.float32) / 255


def _batches(pictures: LabelledPictures, size: int, epochs: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffles pictures, each of them moved at random: uint8 [size, H, W, 3], int32 [size]."""
    rng = np.random.default_rng(seed)
    padded = np.pad(pictures.images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    height, width = pictures.images.shape[1:3]
    for _ in range(epochs):
        order = rng.permutation(len(padded))
        for first in range(0, len(order) - size + 1, size):
            rows = order[first : first + size]
            top, left = rng.integers(0, 2 * SHIFT + 1, (2, size))
            moved = [padded[row, i : i + height, j : j + width] for row, i, j in zip(rows, top, left)]
            yield np.stack(moved), pictures.labels[rows]
