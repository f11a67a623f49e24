"""From pictures to codes and back, within a program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codes.tokens import from_codes, to_codes
from tests.codes.toys import (
    CODES,
    prior_config,
    random_autoencoder,
    random_pictures,
    vqgan_config,
    with_autoencoder,
)


def test_grey_levels_are_the_codes_of_grey_pictures() -> None:
    """All 256, there and back."""
    config = prior_config("sundae")
    levels = np.random.default_rng(0).permutation(256).reshape(1, 32, 8).astype(np.uint8)
    pictures = np.repeat(levels[..., None], 3, axis=-1)
    codes = np.asarray(jax.jit(partial(to_codes, config, {}))(pictures))
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, levels)
    back = np.asarray(jax.jit(partial(from_codes, config, {}))(codes))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pictures)


def test_colours_become_their_brightness() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)[None]
    assert to_codes(prior_config("window"), {}, jnp.asarray(colours)).tolist() == [[[76, 150, 29, 255]]]


@pytest.mark.slow
def test_codes_are_those_of_the_autoencoder() -> None:
    """Of its commands, which turn the same pictures into codes and back. For a VQ-VAE,
    test_prior.py has this."""
    model = random_autoencoder(vqgan_config())
    config, pictures = with_autoencoder(prior_config("window"), model.config), random_pictures(6)
    codes = np.asarray(jax.jit(partial(to_codes, config))(model.variables, pictures))
    expected = np.concatenate(list(model.tokenize(pictures, 6)))
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == np.int32 and codes.shape == (6, 4, 4) and len(np.unique(codes)) > CODES // 2
    back = np.asarray(jax.jit(partial(from_codes, config))(model.variables, codes))
    assert back.dtype == np.uint8 and back.std() > 5
    np.testing.assert_array_equal(back, np.concatenate(list(model.detokenize(codes, 6))))
