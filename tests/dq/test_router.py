"""The routers of a DQ-VAE, by NumPy, and the budget of a learned one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dq.router import FeatureRouter, budget_loss, choose_grains, compare_with_thresholds, count_shares


def one_hot_gates(counts: tuple[int, ...], side: int) -> np.ndarray:
    """Gates, [2, h, h, G], of so many regions of each grain."""
    grains = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return np.eye(len(counts), dtype=np.float32)[grains].reshape(2, side, side, len(counts))


@pytest.mark.parametrize(
    ("counts", "ratios", "shares", "loss"),
    [
        ((256, 256), (0.5,), (0.5,), 0.0),
        ((256, 256), (0.3,), (0.5,), 0.8),
        ((0, 512), (0.5,), (1.0,), 5.0),
        ((52, 38, 38), (0.3, 0.3), (19 / 64, 19 / 64), 40 * (19 / 64 - 0.3) ** 2),
        ((128, 0, 0), (0.25, 0.5), (0.0, 0.0), 20 * (1 / 16 + 1 / 4)),
    ],
)
def test_the_budget_counts_the_regions_of_all_pictures(
    counts: tuple[int, ...], ratios: tuple[float, ...], shares: tuple[float, ...], loss: float
) -> None:
    """128 of 256 regions are fine; and (26, 19, 19) of 64 regions have the three grains."""
    gates = one_hot_gates(counts, round((sum(counts) / 2) ** 0.5))
    np.testing.assert_allclose(count_shares(gates), shares, rtol=1e-6)
    assert budget_loss(count_shares(gates), ratios, 20.0) == pytest.approx(loss, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("counts", [(300, 212), (52, 38, 38)])
def test_shares_are_those_of_the_numbers_of_codes(counts: tuple[int, ...]) -> None:
    """The published formulas: a region of grain g counts 4^g codes, and only the codes of one grain
    exceed one a region."""
    side = round((sum(counts) / 2) ** 0.5)
    gates = one_hot_gates(counts, side)
    for grain in range(1, len(counts)):
        codes = np.where(np.arange(len(counts)) == grain, 4**grain, 1)
        ratio = ((gates * codes).sum() / 2 - side**2) / (4**grain * side**2 - side**2)
        assert count_shares(gates)[grain - 1] == pytest.approx(ratio, rel=1e-5)


def test_noise_chooses_grains_by_their_probabilities() -> None:
    logits = np.log(np.array([0.2, 0.3, 0.5], np.float32))

    @jax.jit
    def choose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jax.random.gumbel(key, (20_000, 3))
        return choose_grains(jnp.broadcast_to(logits, noise.shape), noise), choose_grains(logits, None)

    gates, without_noise = jax.device_get(choose(jax.random.key(0)))
    assert set(np.unique(gates)) == {0, 1}
    np.testing.assert_allclose(gates.mean(axis=0), [0.2, 0.3, 0.5], atol=0.015)
    np.testing.assert_array_equal(without_noise, [0, 0, 1])


def test_the_gradient_of_a_gate_is_that_of_its_probability() -> None:
    rng = np.random.default_rng(1)
    logits, noise, weights = rng.normal(size=(3, 4, 3)).astype(np.float32)

    @jax.jit
    def slopes(logits: jax.Array) -> list[jax.Array]:
        return [jax.grad(lambda x, given=given: jnp.vdot(weights, choose_grains(x, given)))(logits) for given in (noise, None)]

    found, silent = slopes(logits)
    soft = np.exp(logits + noise) / np.exp(logits + noise).sum(axis=-1, keepdims=True)
    expected = soft * (weights - (soft * weights).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(silent, 0)


def test_a_grain_is_the_number_of_thresholds_that_lie_below() -> None:
    """A number that equals a threshold is not above it."""
    numbers, thresholds = np.array([[0.0, 0.5, 0.51], [1.0, 1.5, 3.0]], np.float32), np.array([0.5, 1.5], np.float32)
    compare = jax.jit(compare_with_thresholds)
    np.testing.assert_array_equal(compare(numbers, thresholds), np.eye(3)[[[0, 0, 1], [1, 1, 2]]])
    np.testing.assert_array_equal(compare(numbers, np.full(2, np.inf, np.float32)), np.eye(3)[np.zeros((2, 3), int)])


def test_a_router_of_features_normalises_pools_and_joins_them() -> None:
    """Every step by NumPy: 12 channels in 4 groups; grains of 2 x 3, 4 x 6 and 8 x 12 places."""
    rng = np.random.default_rng(2)
    heads = [rng.normal(1, 3, (2, 2 * 2**g, 3 * 2**g, 12)).astype(np.float32) for g in range(3)]
    router = FeatureRouter(groups=32)
    shapes = jax.eval_shape(router.init, jax.random.key(0), heads)
    params: Any = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes["params"])
    pooled = []
    for g, x in enumerate(heads):
        parts = x.astype(float).reshape(2, -1, 4, 3)
        mean, variance = (reduce(parts, axis=(1, 3), keepdims=True) for reduce in (np.mean, np.var))
        normed = ((parts - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
        normed = normed * params[f"norm{g}"]["scale"] + params[f"norm{g}"]["bias"]
        pooled.append(normed.reshape(2, 2, 2**g, 3, 2**g, 12).mean(axis=(2, 4)))
    hidden = np.concatenate(pooled, axis=-1) @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = hidden / (1 + np.exp(-hidden))
    expected = hidden @ params["logits"]["kernel"] + params["logits"]["bias"]
    np.testing.assert_allclose(jax.jit(router.apply)({"params": params}, heads), expected, rtol=1e-3, atol=1e-4)
