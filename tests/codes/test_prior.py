"""A trained prior: samples, codes and pictures; files of it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

import dct_jax
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.commands import main
from dct_jax.config import DataConfig
from dct_jax.evaluation.prior import Prior
from tests.codes.toys import (
    CODES,
    KINDS,
    prior_config,
    random_autoencoder,
    random_pictures,
    random_prior,
    save_run,
    vqgan_config,
    vqvae_config,
)


@cache
def prior_of(kind: str) -> TrainedCodePrior:
    """With two classes."""
    return random_prior(prior_config(kind, classes=2), random_autoencoder(vqvae_config()))


@pytest.mark.parametrize("kind", ["sundae", pytest.param("window", marks=pytest.mark.slow)])
def test_sample_i_of_a_seed_is_the_same_in_whatever_batch(kind: str) -> None:
    model = prior_of(kind)
    assert isinstance(model, Prior) and model.block_size == 2
    samples = dict(model.sample_pictures(3, 7, [0, 1], 3))
    assert list(samples) == [0, 1, 2] and {x.shape for x in samples.values()} == {(8, 8, 3)}
    assert len({x.tobytes() for x in samples.values()}) == 3
    again = list(model.sample_pictures(3, 7, [0, 1], 2))
    assert [number for number, _ in again] == [0, 1, 2]
    for number, picture in again:
        np.testing.assert_array_equal(picture, samples[number])

    def sample(seed: int, labels: list[int]) -> np.ndarray:
        """Samples the numbers 2 and 1."""
        return model.sample([2, 1], seed, labels, (4, 4)).codes

    grids = sample(7, [0, 1])
    np.testing.assert_array_equal(model.decode(grids), [samples[2], samples[1]])
    of_other_class = sample(7, [0, 0])
    np.testing.assert_array_equal(of_other_class[0], grids[0])
    assert not np.array_equal(of_other_class[1], grids[1])
    assert not any(np.array_equal(a, b) for a, b in zip(sample(8, [0, 1]), grids))


def test_batches_that_are_shown_have_a_history() -> None:
    model = prior_of("sundae").with_settings({"steps": 3, "min_steps": 3})
    batches = [sampled for _, sampled in model.sample_batches(5, 0, [0], 2, shown=3)]
    histories = [sampled.history for sampled in batches]
    assert [None if one is None else one.shape for one in histories] == [(4, 2, 4, 4), (4, 2, 4, 4), None]
    for sampled in batches[:2]:
        assert sampled.history is not None
        np.testing.assert_array_equal(sampled.history[-1], sampled.codes)
    assert [sampled.history for _, sampled in model.sample_batches(2, 0, [0], 2)] == [None]
    with pytest.raises(ValueError, match="a window transformer samples each code once; it has no history"):
        prior_of("window").sample_batches(2, 0, [0], 2, shown=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_any_rectangle_decode_and_known_codes_stay(kind: str) -> None:
    model, rng = prior_of(kind), np.random.default_rng(0)
    codes, mask = rng.integers(0, CODES, (6, 3, 7)), rng.random((6, 3, 7)) < 0.3
    grids = model.sample(range(6), 0, [0, 1] * 3, (3, 7), (codes, mask)).codes
    assert grids.shape == (6, 3, 7) and grids.dtype == np.int32
    np.testing.assert_array_equal(grids[mask], codes[mask])
    assert (grids[~mask] != codes[~mask]).mean() > 0.5
    assert grids.min() >= 0 and grids.max() < CODES and len(np.unique(grids)) > CODES // 2
    pictures = model.decode(grids)
    assert pictures.shape == (6, 6, 14, 3) and pictures.dtype == np.uint8


def test_codes_become_pictures_and_pictures_codes_as_the_autoencoder_says() -> None:
    """In batches that do not divide their number, and of other sizes than the training's."""
    model, autoencoder = prior_of("window"), random_autoencoder(vqvae_config())
    for pictures in (random_pictures(70), random_pictures(3, 6, 10)):
        codes = model.encode(pictures)
        expected, copies = autoencoder.reconstruct(pictures)
        np.testing.assert_array_equal(codes, expected)
        np.testing.assert_array_equal(model.decode(codes), copies)
        np.testing.assert_array_equal(model.reconstruct(pictures[2]), copies[2])
    for wrong in (-1, CODES):
        with pytest.raises(ValueError, match=f"this model has 0 to {CODES - 1}"):
            model.decode(np.array([[[0, wrong]]]))
    with pytest.raises(ValueError, match="the pictures have 8 x 7 pixels; 2 must divide both sides"):
        model.encode(random_pictures(1, 8, 7))


def test_an_autoencoder_that_pads_leaves_the_size() -> None:
    """A crop has 7 x 5 pixels and 4 x 3 codes, which other pictures have, too."""
    padding = replace(vqvae_config(), model=replace(vqvae_config().model, sides="pad"), data=DataConfig(image_size=(7, 5)))
    config = prior_config("window")
    config = replace(config, data=replace(config.data, image_size=(7, 5)))
    model = random_prior(config, random_autoencoder(padding))
    assert model.decode(np.zeros((2, 4, 3), int)).shape == (2, 7, 5, 3)
    for height, width in ((7, 5), (8, 6), (9, 4)):
        (picture,) = random_pictures(1, height, width)
        codes = model.encode(picture[None])
        assert codes.shape == (1, -(-height // 2), -(-width // 2))
        assert model.reconstruct(picture).shape == picture.shape
    padded = np.pad(random_pictures(1, 7, 5), ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    np.testing.assert_array_equal(model.encode(random_pictures(1, 7, 5)), model.encode(padded))
    np.testing.assert_array_equal(model.reconstruct(padded[0])[:7, :5], model.reconstruct(padded[0, :7, :5]))


def test_pixels_need_no_autoencoder() -> None:
    model = random_prior(prior_config("window"))
    (picture,) = random_pictures(1)
    grey = np.repeat(picture[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(model.reconstruct(grey), grey)
    grids = np.random.default_rng(0).integers(256, size=(2, 2, 8))
    pictures = model.decode(grids)
    np.testing.assert_array_equal(pictures, np.repeat(grids[..., None], 3, axis=-1))
    assert model.block_size == 1
    with pytest.raises(ValueError, match="the codes go from 0 to 256; this model has 0 to 255"):
        model.decode(np.array([[[0, 256]]]))


def test_classes_have_names_or_numbers() -> None:
    model = replace(prior_of("window"), classes=("coat", "shoe"))
    assert [model.label(name) for name in ("coat", "shoe", "0", "1")] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="there is no class 'Shoes'; this model has 2, 0 to 1; the nearest are shoe"):
        model.label("Shoes")
    with pytest.raises(ValueError, match="there is no class 'none'; this model has 2"):
        model.label("none")
    assert {model.random_label(0, i) for i in range(20)} == {0, 1}
    without = random_prior(prior_config("window"))
    with pytest.raises(ValueError, match="the label is coat; this model was trained without classes"):
        without.label("coat")
    assert {without.random_label(0, i) for i in range(5)} == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_is_that_of_prior_and_autoencoder(kind: str) -> None:
    model = prior_of(kind)
    prints = [model.fingerprint]
    for name in ("params", "autoencoder"):
        leaves, tree = jax.tree.flatten(model.variables[name])
        changed = jax.tree.unflatten(tree, [*leaves[:-1], leaves[-1] + 1])
        prints.append(replace(model, variables=model.variables | {name: changed}).fingerprint)
    config, inner = model.config, model.config.autoencoder
    assert inner is not None
    for other in (
        replace(config, codes=replace(config.codes, num_classes=3)),
        replace(config, autoencoder=replace(inner, quantizer=replace(inner.quantizer, kind="gradient"))),
        replace(config, autoencoder=vqgan_config()),
        replace(config, autoencoder=None),
    ):
        prints.append(replace(model, config=other).fingerprint)
    assert len(set(prints)) == len(prints)
    # Where the autoencoder lay, and how long both were trained, does not matter.
    trained = replace(inner, training=replace(inner.training, steps=7, warmup_steps=1), seed=5)
    other = replace(config, codes=replace(config.codes, run="there"), training=replace(config.training, steps=99))
    assert replace(model, config=replace(other, autoencoder=trained)).fingerprint == model.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_prior_are_the_prior(kind: str, tmp_path: Path) -> None:
    """Its run's folder, a file of `export`, and both in bfloat16."""
    model = prior_of(kind)
    run = save_run(tmp_path / "run", model)
    assert main(["export", run, str(tmp_path / "a.safetensors"), "--dtype", "float32"]) == 0
    assert main(["export", run, str(tmp_path / "b.safetensors")]) == 0
    for path in (run, tmp_path / "a.safetensors"):
        other = dct_jax.load(path)
        assert type(other) is type(model) and other.config == model.config and other.fingerprint == model.fingerprint
        jax.tree.map(np.testing.assert_array_equal, other.variables, model.variables)
    rounded, small = dct_jax.load(tmp_path / "b.safetensors"), dct_jax.load(run, "bfloat16")
    assert type(small) is type(model)
    assert {x.dtype.name for x in jax.tree.leaves(small.variables)} == {"bfloat16"}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float32)), rounded.variables, small.variables)


@pytest.mark.parametrize("kind", ["window", pytest.param("sundae", marks=pytest.mark.slow)])
def test_a_prior_in_bfloat16_makes_pictures(kind: str) -> None:
    model = prior_of(kind).with_dtype("bfloat16")
    ((_, picture),) = model.sample_pictures(1, 0, [1], 1)
    assert picture.shape == (8, 8, 3) and model.reconstruct(random_pictures(1)[0]).shape == (8, 8, 3)


def test_a_folder_alone_makes_pictures(tmp_path: Path) -> None:
    """With a VQ-GAN inside; the other tests have a VQ-VAE."""
    autoencoder = random_autoencoder(vqgan_config())
    other = dct_jax.load(save_run(tmp_path / "run", random_prior(prior_config("window"), autoencoder)))
    assert isinstance(other, TrainedCodePrior)
    grids = np.random.default_rng(0).integers(0, CODES, (2, 4, 4))
    np.testing.assert_array_equal(other.decode(grids), next(autoencoder.detokenize(grids, 2)))
