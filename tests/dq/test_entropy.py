"""The entropy of patches, against its formula in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dq.entropy import BINS, RANGE, SIGMA, STEP, patch_entropy
from tests.dq.toys import entropies_of


def formula(pixels: np.ndarray, side: int) -> np.ndarray:
    """The formula patch by patch and bin by bin, in float64: [B, H, W, 3] -> [B, h, w]."""
    batch, height, width, _ = pixels.shape
    found = np.zeros((batch, height // side, width // side))
    for b, i, j in np.ndindex(*found.shape):
        patch = pixels[b, i * side : (i + 1) * side, j * side : (j + 1) * side].astype(np.float64)
        grey = 0.2989 * patch[..., 0] + 0.5870 * patch[..., 1] + 0.1140 * patch[..., 2]
        counts = [np.mean(np.exp(-0.5 * ((grey - (-1 + 2 * k / 31)) / 0.01) ** 2)) for k in range(32)]
        shares = [count / (sum(counts) + 1e-12) for count in counts]
        found[b, i, j] = -sum(p * np.log(p) for p in shares if p > 0)
    return found


def varied_noise(rng: np.random.Generator, patches: int, side: int) -> np.ndarray:
    """Pictures of one patch each, of noise around a level: some hardly vary, some very much."""
    levels, widths = rng.uniform(-0.8, 0.8, (patches, 1, 1, 1)), np.exp(rng.uniform(-4, 0, (patches, 1, 1, 1)))
    noise = rng.normal(size=(patches, side, side, 3))
    return np.clip(levels + widths * noise, -1, 1).astype(np.float32)


def test_it_has_the_bins_of_the_paper() -> None:
    assert (BINS, RANGE, SIGMA) == (32, (-1.0, 1.0), 0.01)


@pytest.mark.parametrize("compile_", [False, True])
def test_it_is_the_formula(compile_: bool) -> None:
    """Also where patches have colours and pictures are no squares."""
    rng = np.random.default_rng(0)
    tiles = varied_noise(rng, 24, 8).reshape(2, 3, 4, 8, 8, 3)
    pixels = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(2, 24, 32, 3)  # [B, H, W, 3]
    entropy = entropies_of if compile_ else patch_entropy
    found, expected = np.asarray(entropy(jnp.asarray(pixels), 8)), formula(pixels, 8)
    assert found.dtype == np.float32 and found.shape == (2, 3, 4)
    assert np.ptp(expected) > 2  # the patches differ
    np.testing.assert_allclose(found, expected, atol=STEP)
    np.testing.assert_allclose(entropies_of(pixels, 4), formula(pixels, 4), atol=STEP)


def test_patches_of_one_level_are_finite() -> None:
    """At 100 levels, at the ends and the middle, and midway between two centres."""
    middles = -1 + (2 * np.arange(31) + 1) / 31
    levels = np.concatenate([np.linspace(-1, 1, 100), [-1, 0, 1], middles, [-3, 3]]).astype(np.float32)
    pixels = np.broadcast_to(levels[:, None, None, None], (len(levels), 4, 4, 3))
    found = entropies_of(pixels, 4)[:, 0, 0]
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= np.log(2) + 1e-3).all()
    assert found[100] == found[102] == found[-1] == found[-2] == 0  # black, white, and levels far from every bin
    inside = np.abs(levels) <= 1
    np.testing.assert_allclose(found[inside], formula(pixels[inside], 4)[:, 0, 0], atol=2e-3)


def test_pixels_of_two_far_levels_have_ln_2() -> None:
    pixels = np.where(np.indices((8, 8)).sum(0) % 2 == 0, -1.0, 1.0).astype(np.float32)[None, :, :, None].repeat(3, -1)
    # White is 0.9999 of three channels, so the level is in the last bin.
    np.testing.assert_allclose(entropies_of(pixels, 8), [[[np.log(2)]]], atol=STEP)


def test_uniform_noise_has_nearly_the_most() -> None:
    """About 3.35 nats of ln 32 = 3.466, as 256 levels fill bins unevenly."""
    noise = np.random.default_rng(1).uniform(-1, 1, (4, 64, 64, 1)).astype(np.float32).repeat(3, -1)
    found = entropies_of(noise, 16)
    assert found.shape == (4, 4, 4) and abs(found.mean() - 3.35) < 0.02 and found.max() < np.log(32)


def test_patches_that_are_no_part_of_the_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="pictures have 8 x 12 pixels; 8, the side of a patch, must divide both"):
        patch_entropy(jnp.zeros((1, 8, 12, 3)), 8)
