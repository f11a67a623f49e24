"""The stage of a sliding-window transformer: exact bits of held-out grids."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.codes.reader import CodesBatch
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.window.stage import TrainedWindow
from tests.codes.toys import (
    CODES,
    ONE,
    prior_config,
    random_autoencoder,
    random_pictures,
    random_prior,
    vqvae_config,
)
from tests.window.toys import logits_of


def log_softmax(logits: Any) -> np.ndarray:
    x = np.asarray(logits, np.float64)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_bits_are_those_of_the_networks_logits() -> None:
    """Of each picture's own code, summed over a grid in NumPy; with batches of four, of five
    pictures, which have twice the sides of their grids."""
    autoencoder = random_autoencoder(vqvae_config())
    model = random_prior(prior_config("window", classes=2), autoencoder)
    assert isinstance(model, TrainedWindow)
    pictures, labels = random_pictures(5), np.array([1, 0, 0, 1, 1], np.int32)
    numbers = model.stage.evaluate(model.variables, CodesBatch(pictures, labels, np.arange(5, dtype=np.uint32)), ONE)

    codes = next(autoencoder.tokenize(pictures, 5))
    logits = logits_of(model.network, {"params": model.variables["params"]}, codes, labels)
    log_p = np.take_along_axis(log_softmax(logits), codes[..., None], axis=-1)[..., 0]  # [5, 4, 4]
    bits = -log_p.sum(axis=(1, 2)) / np.log(2)
    assert bits.std() > 1
    assert numbers["bits_per_picture"] == pytest.approx(bits.mean(), rel=1e-5)
    assert numbers["bits_per_pixel"] == pytest.approx(bits.mean() / 64, rel=1e-5)
    assert numbers["nats"] == pytest.approx(-log_p.mean(), rel=1e-5)
    assert set(numbers) == {"bits_per_picture", "bits_per_pixel", "nats"}


def test_a_step_lowers_the_nats_of_the_codes_with_their_classes() -> None:
    """The loss is the mean of the likelihoods' nats; other classes give another."""
    model = random_prior(prior_config("window", classes=2), random_autoencoder(vqvae_config()))
    stage: Any = model.stage
    codes, params = np.random.default_rng(0).integers(0, CODES, (3, 4, 4)).astype(np.int32), model.variables["params"]
    losses = jax.jit(stage.losses)
    for labels in ([0, 0, 1], [1, 1, 0]):
        loss, found = losses(params, codes, np.array(labels, np.int32), jax.random.split(jax.random.key(0), 3), None)
        logits = logits_of(model.network, {"params": params}, codes, np.array(labels, np.int32))
        expected = -np.take_along_axis(log_softmax(logits), codes[..., None], axis=-1).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(found["nats"], expected, rtol=1e-5)
        assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)


def test_dropout_is_on_in_training_alone() -> None:
    config = prior_config("window")
    stage: Any = replace(config, model=replace(config.model, dropout=0.5)).build()
    params = random_prior(config).variables["params"]
    codes, labels = np.zeros((2, 8, 8), np.int32), np.zeros(2, np.int32)
    keys = jax.random.split(jax.random.key(0), 2)
    losses = jax.jit(stage.losses)
    off, one, other = (losses(params, codes, labels, keys, key)[0] for key in (None, *keys))
    assert off != one != other != off


def test_samples_follow_the_policy() -> None:
    """At a temperature near 0, each code is the likeliest after those before it."""
    model = random_prior(prior_config("window", classes=2), random_autoencoder(vqvae_config()))
    labels = np.array([0, 1], np.int32)
    grids = replace(model, policy=SymbolPolicy(1e-6)).sample([5, 6], 0, labels.tolist(), (4, 4)).codes
    logits = logits_of(model.stage.network, {"params": model.variables["params"]}, grids, labels)
    np.testing.assert_array_equal(np.argmax(logits, axis=-1), grids)
    assert not np.array_equal(grids[0], grids[1])
