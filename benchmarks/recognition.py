"""Whether a stranger sees what was asked for: how many class-conditional samples a classifier of
real pictures recognises.

    python benchmarks/recognition.py RUN [--num 1000 --data idx:FOLDER --json FILE]

A small convolutional network learns the classes of real grey pictures and is tested on held-out
ones, as they are and after the model's codec or autoencoder; then it is shown plain samples, as
many of each class. Pictures that it mistakes are not all bad: it mistakes real ones, too.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from machine import Figure, machine_figures, report

from dct_jax.data.sources import open_source
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.prior import Prior
from dct_jax.run import load

REAL_BAR, SAMPLES_BAR = 0.90, 0.85
SHIFT = 2  # pixels, by which training pictures are moved at most


class Classifier(nn.Module):
    """float32 [N, H, W, 1] of 0 to 1 -> logits [N, classes]."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for features, size, stride in ((32, 5, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1)):
            x = nn.gelu(nn.Conv(features, (size, size), (stride, stride), kernel_init=nn.initializers.he_normal())(x))
        x = x.reshape(len(x), -1)  # [N, H W 4]
        if key is not None:
            x = x * jax.random.bernoulli(key, 0.6, x.shape) / 0.6
        return nn.Dense(self.classes)(x)


class Pictures(NamedTuple):
    """Grey pictures, uint8 [N, H, W], and their classes, int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


def pictures_of(data: str, split: str) -> Pictures:
    """Returns all of a split of a source of grey pictures of one size."""
    source = open_source(data, split)
    records = [source[i] for i in range(len(source))]
    return Pictures(np.stack([one.image[..., 0] for one in records]), np.array([one.label for one in records], np.int32))


def recode(pictures: Pictures, model: Prior) -> Pictures:
    """Returns pictures after the model's codec or autoencoder."""
    images = [model.reconstruct(image) for image in pictures.images[..., None].repeat(3, axis=-1)]
    return pictures._replace(images=np.stack(images)[..., 0])


def batches(pictures: Pictures, size: int, epochs: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffles pictures, each of them moved at random: float32 [size, H, W, 1], int32 [size]."""
    rng = np.random.default_rng(seed)
    padded = np.pad(pictures.images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    height, width = pictures.images.shape[1:]
    for _ in range(epochs):
        order = rng.permutation(len(padded))
        for first in range(0, len(order) - size + 1, size):
            rows = order[first : first + size]
            top, left = rng.integers(0, 2 * SHIFT + 1, (2, size))
            moved = [padded[row, i : i + height, j : j + width] for row, i, j in zip(rows, top, left)]
            yield np.stack(moved)[..., None].astype(np.float32) / 255, pictures.labels[rows]


def train(pictures: Pictures, classes: int, epochs: int, seed: int, size: int = 128) -> Any:
    """Trains the classifier; returns its parameters. Labels are smoothed, and the rate of learning
    falls to 0."""
    model, steps = Classifier(classes), epochs * (len(pictures.images) // size)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, 4e-3, 0.15), weight_decay=0.02)
    params = model.init(jax.random.key(seed), jnp.zeros((1, *pictures.images.shape[1:], 1)))
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            logits = model.apply(params, images, key)
            return optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(labels, classes), 0.05)).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for number, (images, labels) in enumerate(batches(pictures, size, epochs, seed)):
        params, state = step(params, state, images, labels, jax.random.fold_in(jax.random.key(seed + 1), number))
    return params


def share_recognised(params: Any, pictures: Pictures, classes: int) -> float:
    """Returns the share of pictures whose class is the likeliest to the classifier."""
    predict = jax.jit(partial(Classifier(classes).apply, params))
    images = pictures.images[..., None].astype(np.float32) / 255
    guesses = [np.asarray(predict(images[i : i + 500])).argmax(axis=-1) for i in range(0, len(images), 500)]
    return float((np.concatenate(guesses) == pictures.labels).mean())


def samples_of(model: Prior, classes: int, num: int, seed: int) -> Pictures:
    """Samples as many pictures of each class."""
    samples = dict(model.sample_pictures(num, seed, range(classes), 50))
    images = np.stack([samples[i] for i in range(num)])[..., 0]
    return Pictures(images, np.arange(num, dtype=np.int32) % classes)


def guided_samples(model: TrainedModel, classes: int, num: int, seed: int, guidance: float) -> Pictures:
    """Samples as many pictures of each class, with guidance."""
    lists = model.sample(num, seed, replace(Policy(), guidance=guidance), label=range(classes), batch_size=50)
    images = np.stack([model.codec.decode(one) for one in lists])[..., 0]
    return Pictures(images, np.arange(num, dtype=np.int32) % classes)


def main(
    run: Annotated[Path, tyro.conf.Positional],
    num: int = 1000,
    data: str = "fashion",
    epochs: int = 12,
    seed: int = 0,
    guidance: tuple[float, ...] = (),
    json: Path | None = None,
) -> None:
    """Trains the classifier and shows it samples.

    Args:
        run: folder of a class-conditional run on grey pictures.
        num: samples.
        data: the classifier's pictures, with the splits train and test.
        epochs: of the classifier's training.
        seed: of the classifier and of the samples.
        guidance: strengths of guidance that are tried besides, for a DCTransformer.
        json: where to write the figures.
    """
    model = load(run)
    classes = model.config.reader().num_classes
    training, test = pictures_of(data, "train"), pictures_of(data, "test")
    start = time.perf_counter()
    params = train(training, classes, epochs, seed)
    seconds = time.perf_counter() - start
    real, through_codec = (share_recognised(params, one, classes) for one in (test, recode(test, model)))
    samples = share_recognised(params, samples_of(model, classes, num, seed), classes)
    guided = [
        Figure(
            f"samples recognised, guidance {strength:g}",
            share_recognised(params, guided_samples(model, classes, num, seed, strength), classes),
        )
        for strength in guidance
    ]

    def bar(value: float, limit: float) -> str:
        return f"bar {limit}: {'met' if value >= limit else 'MISSED'}"

    report(
        [
            *machine_figures(),
            Figure("classifier's training pictures", len(training.images), ""),
            Figure("classifier's training", seconds, "s"),
            Figure("real test pictures recognised", real, bar(real, REAL_BAR)),
            Figure("the same after codec or autoencoder", through_codec, f"of {len(test.images)}"),
            Figure("samples recognised", samples, f"of {num}; {bar(samples, SAMPLES_BAR)}"),
            *guided,
        ],
        json,
    )


if __name__ == "__main__":
    tyro.cli(main)
