"""The stage of a SUNDAE: its numbers, and samples of the trained model."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codes.reader import CodesBatch
from dct_jax.sundae.config import SundaeConfig, UnrollConfig
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.random_codes import corrupt, sample_cells
from dct_jax.sundae.stage import TrainedSundae
from tests.codes.toys import CODES, ONE, prior_config, random_autoencoder, random_pictures, random_prior, vqvae_config
from tests.conftest import Refused


def fold(keys: list[jax.Array], number: int) -> jax.Array:
    return jnp.stack([jax.random.fold_in(key, number) for key in keys])


def sundae(steps: int = 2) -> TrainedSundae:
    """Of two classes."""
    config = prior_config("sundae", classes=2)
    assert isinstance(config, SundaeConfig)
    model = random_prior(replace(config, unroll=UnrollConfig(steps=steps)), random_autoencoder(vqvae_config()))
    assert isinstance(model, TrainedSundae)
    return model


def test_numbers_are_those_of_unrolled_steps() -> None:
    """Of three, written down one after the other: the seeds of pictures and of the run determine
    what is corrupted and sampled."""
    model = sundae(steps=3)
    pictures, labels, seeds = random_pictures(5), np.array([1, 0, 0, 1, 1], np.int32), np.arange(5, dtype=np.uint32)
    numbers = model.stage.evaluate(model.variables, CodesBatch(pictures, labels, seeds), ONE)

    codes = next(random_autoencoder(vqvae_config()).tokenize(pictures, 5))
    keys = [jax.random.fold_in(jax.random.key(model.config.seed), seed) for seed in seeds]
    apply = jax.jit(model.network.apply)
    noisy, nats, hits = corrupt(jnp.asarray(codes), fold(keys, 0), CODES), [], []
    for step in range(3):
        logits = apply({"params": model.variables["params"]}, noisy, labels)
        x = np.asarray(logits, np.float64)
        log_p = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
        nats.append(-np.take_along_axis(log_p, codes[..., None], axis=-1).mean())
        hits.append(np.mean(x.argmax(axis=-1) == codes))
        noisy = sample_cells(logits, fold(keys, step + 1), 1.0)
    assert len(set(nats)) == 3
    assert numbers["nats"] == pytest.approx(np.mean(nats), rel=1e-4)
    assert numbers["accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert set(numbers) == {"nats", "accuracy"} and model.stage.best == "nats"


def test_dropout_is_on_in_training_alone_and_classes_count() -> None:
    model, keys = sundae(), jax.random.split(jax.random.key(0), 2)
    stage: Any = replace(model.config, model=replace(model.config.model, dropout=0.5)).build()
    params, codes = model.variables["params"], np.zeros((2, 4, 4), np.int32)
    losses = jax.jit(stage.losses)

    def loss(labels: list[int], key: Any) -> float:
        return float(losses(params, codes, np.array(labels, np.int32), keys, key)[0])

    assert len({loss([0, 1], None), loss([0, 1], keys[0]), loss([0, 1], keys[1]), loss([1, 0], None)}) == 4


def test_each_unrolled_step_has_dropout_masks_of_its_own() -> None:
    """A network whose logits are made of its key alone tells the keys."""
    stage: Any = sundae(steps=2).config.build()

    def apply(variables: Any, codes: jax.Array, labels: jax.Array, rngs: dict[str, jax.Array]) -> jax.Array:
        return jax.random.normal(rngs["dropout"], (*codes.shape, CODES))

    stage.network = SimpleNamespace(apply=apply)
    codes, key = np.zeros((2, 4, 4), np.int32), jax.random.key(5)
    loss, _ = stage.losses({}, codes, np.zeros(2, np.int32), jax.random.split(key, 2), key)
    logits = [jax.random.normal(jax.random.fold_in(key, step), (2, 4, 4, CODES)) for step in range(2)]
    assert float(loss) == pytest.approx(-float(jax.nn.log_softmax(jnp.stack(logits))[..., 0].mean()), rel=1e-5)


def test_unknown_cells_begin_at_random_and_known_ones_never_change() -> None:
    """In all states of the history. A sample's start depends on its number and the seed alone."""
    model, rng = sundae(), np.random.default_rng(0)
    codes, mask = rng.integers(0, CODES, (3, 4, 4)), rng.random((3, 4, 4)) < 0.4
    model = replace(model, policy=SundaePolicy(steps=5, min_steps=2))
    found = model.sample(range(3), 7, [0, 1, 0], (4, 4), (codes, mask), room=model.states)
    history = np.asarray(found.history)  # [6, 3, 4, 4]
    np.testing.assert_array_equal(history[:, mask], np.broadcast_to(codes[mask], (6, mask.sum())))
    free = model.sample([2, 0, 1], 7, [0, 0, 1], (4, 4), room=model.states)
    np.testing.assert_array_equal(np.asarray(free.history)[0][[1, 2, 0]][~mask], history[0][~mask])
    start = np.asarray(free.history)[0]
    assert len(np.unique(start)) > CODES // 2 and not np.array_equal(start[0], start[1])
    np.testing.assert_array_equal(history[-1], found.codes)
    assert ((np.asarray(found.steps) >= 3) & (np.asarray(found.steps) <= 5)).all()


def test_a_grid_that_the_hourglass_cannot_halve_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "odd.py").write_text("from tests.codes.toys import prior_config\nCONFIG = prior_config('sundae')\n")
    flags = ("--model.before", 1, "--model.after", 1, "--data.image-size", 8, 7)
    message = refused("train", tmp_path / "odd.py", "--run-dir", tmp_path / "run", *flags)
    assert "the grid is 8 x 7 codes; both sides must be divisible by 2^1 = 2" in message
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="the grid is 3 x 4 codes"):
        sundae_of_halves().sample([0], 0, [0], (3, 4))


def sundae_of_halves() -> TrainedSundae:
    config = prior_config("sundae")
    model = random_prior(replace(config, model=replace(config.model, before=(1,), after=(1,))))
    assert isinstance(model, TrainedSundae)
    return model
