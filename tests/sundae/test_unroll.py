"""Corruption, samples of cells, and the unrolled loss, beside enumerations and explicit loops."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codes import random_keys
from dct_jax.nn.initial import initial_params
from dct_jax.sundae import random_codes
from dct_jax.sundae.config import SundaeModelConfig
from dct_jax.sundae.network import SundaeNetwork
from dct_jax.sundae.unroll import Unrolled, unrolled_loss

K = 5
NETWORK = SundaeNetwork(SundaeModelConfig(width=8, heads=1, head_size=8, before=(), valley=1, after=()), K, 3)
corrupt = jax.jit(random_codes.corrupt, static_argnums=2)
sample_cells, fold_keys = jax.jit(random_codes.sample_cells), jax.jit(random_keys.fold_keys)
GRIDS = [np.array(pair).reshape(1, 2) for pair in product(range(3), repeat=2)]
"""All grids of 1 x 2 cells of 3 codes."""


def keys_of(number: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), number)


@pytest.mark.parametrize("num_codes", [2, 7])
def test_corruption_changes_half_of_the_codes_that_chance_does_not_repeat(num_codes: int) -> None:
    codes = np.random.default_rng(1).integers(0, num_codes, (4000, 3, 5)).astype(np.int32)
    changed = (np.asarray(corrupt(codes, keys_of(4000), num_codes)) != codes).mean(axis=(1, 2))  # [B]
    assert abs(changed.mean() - 0.5 * (1 - 1 / num_codes)) < 0.02  # 4 standard deviations
    # With one rate for all pictures the deviation of a picture's share would be 0.13 at most.
    assert changed.std() > 0.2 * (1 - 1 / num_codes) + 0.05


def test_corrupted_cells_get_all_codes_alike() -> None:
    """A cell keeps its code 0 at the rate 0.5 (1 + 1 / K), and gets each other one at 0.5 / K."""
    found = np.asarray(corrupt(np.zeros((4000, 2, 4), np.int32), keys_of(4000), 4))
    shares = np.bincount(found.ravel(), minlength=4) / found.size
    np.testing.assert_allclose(shares, [0.625, 0.125, 0.125, 0.125], atol=0.02)


def test_uniform_codes_are_uniform() -> None:
    codes = np.asarray(jax.jit(random_codes.uniform_codes, static_argnums=(1, 2))(keys_of(2000), (2, 3), 6))
    assert codes.shape == (2000, 2, 3)
    np.testing.assert_allclose(np.bincount(codes.ravel(), minlength=6) / codes.size, 1 / 6, atol=0.015)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_cells_are_sampled_from_the_softmax(temperature: float) -> None:
    logits = np.array([1.0, -1e30, 0.0, 2.0, -1e30], np.float32)
    codes = np.asarray(sample_cells(np.broadcast_to(logits, (5000, 2, 2, 5)), keys_of(5000), temperature))
    shares = np.bincount(codes.ravel(), minlength=5) / codes.size
    weights = np.exp(logits / temperature)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.015)
    assert shares[1] == shares[4] == 0


def test_cold_cells_are_the_likeliest() -> None:
    logits = 100 * np.random.default_rng(0).normal(size=(20, 3, 4, 9)).astype(np.float32)
    assert np.array_equal(sample_cells(logits, keys_of(20), 1e-6), logits.argmax(axis=-1))


@pytest.mark.parametrize(("number", "code"), [(0.0, 1), (1 - 2**-23, 3)])
def test_the_ends_of_the_random_numbers_meet_possible_codes(number: float, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_codes, "uniform_cells", lambda keys, size: jnp.full((len(keys), *size), number))
    logits = np.array([-1e30, 0.0, 1.0, 2.0, -1e30], np.float32)
    found = jax.jit(lambda x: random_codes.sample_cells(x, keys_of(1), 1.0))(np.broadcast_to(logits, (1, 1, 2, 5)))
    assert (np.asarray(found) == code).all()


def transitions(table: np.ndarray) -> np.ndarray:
    """The probability of each grid after each grid, [9, 9], of logits by grid [9, 2, 3]."""
    p = np.exp(table) / np.exp(table).sum(axis=-1, keepdims=True)
    return np.array([[p[i, 0, grid[0, 0]] * p[i, 1, grid[0, 1]] for grid in GRIDS] for i in range(9)])


def corruptions(clean: np.ndarray) -> np.ndarray:
    """The probability of each corruption of a grid, [9]: the mean over all rates."""
    rates = (np.arange(20000) + 0.5) / 20000
    cells = [[np.where(a == b, 1 - rates + rates / 3, rates / 3) for a, b in zip(clean[0], grid[0])] for grid in GRIDS]
    return np.array([np.mean(first * second) for first, second in cells])


def table_logits(params: jax.Array, codes: jax.Array, step: jax.Array) -> jax.Array:
    """Looks up logits [B, 1, 2, 3] by the grid."""
    return params[3 * codes[:, 0, 0] + codes[:, 0, 1]][:, None]


def test_the_loss_is_that_of_all_corruptions_and_samples() -> None:
    """On average over 20,000 keys it equals the sum over all grids, for each number of steps."""
    table = np.random.default_rng(0).normal(size=(9, 2, 3)) * 1.5
    clean, after = 5, transitions(table)
    noisy, exact = corruptions(GRIDS[clean]), []
    assert np.isclose(noisy.sum(), 1)
    codes = np.broadcast_to(GRIDS[clean], (20000, 1, 2))
    for steps in (1, 2, 3):
        exact.append(-noisy @ np.log(after[:, clean]) / 2)  # a cell
        noisy = noisy @ after
        loss, found = jax.jit(partial(unrolled_loss, table_logits), static_argnums=(3, 4))(
            jnp.asarray(table), codes, keys_of(20000), 3, steps
        )
        assert np.isclose(loss, np.mean(exact), atol=0.03)
        assert np.isclose(found.nats.mean(), loss)


def test_the_bound_of_the_docstring_holds_and_needs_its_divergence() -> None:
    """For a network that copies its input, the cross-entropy alone is below -log p(x)."""
    copying = np.array([[1.4 * np.eye(3)[code] for code in grid[0]] for grid in GRIDS])
    below = 0
    for table in (copying, np.random.default_rng(1).normal(size=(9, 2, 3))):
        after = transitions(table)
        for clean, grid in enumerate(GRIDS):
            start = noisy = corruptions(grid)
            p = np.full(9, 1 / 9)
            divergence = start @ np.log(9 * start)
            for _ in range(3):
                entropy = -noisy @ np.log(after[:, clean])
                noisy, p = noisy @ after, p @ after
                assert entropy + divergence >= -np.log(p[clean])
                below += entropy < -np.log(p[clean])
    assert below >= 9


Loss = Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Unrolled]]


def loss_of(steps: int) -> Loss:
    def loss(params: Any, codes: jax.Array, labels: jax.Array, keys: jax.Array) -> tuple[jax.Array, Unrolled]:
        return unrolled_loss(lambda p, x, _: NETWORK.apply(p, x, labels), params, codes, keys, K, steps)

    return loss


@cache
def example() -> tuple[Any, np.ndarray, np.ndarray, jax.Array]:
    codes, labels = np.random.default_rng(3).integers(0, K, (6, 4, 2)).astype(np.int32), np.arange(6) % 3
    return initial_params(NETWORK, codes, labels, seed=4), codes, labels, keys_of(6, 5)


def test_the_gradient_is_that_of_samples_that_are_constants() -> None:
    params, codes, labels, keys = example()
    logits_of = jax.jit(NETWORK.apply)
    noisy = [corrupt(codes, fold_keys(keys, 0), K)]
    for t in (1, 2):
        noisy.append(sample_cells(logits_of(params, noisy[-1], labels), fold_keys(keys, t), 1.0))
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in pairwise(noisy))

    def explicit(params: Any) -> tuple[jax.Array, jax.Array]:
        logits = jnp.stack([NETWORK.apply(params, x, labels) for x in noisy])  # [T, B, h, w, K]
        nats = -jnp.sum(jax.nn.one_hot(codes, K) * jax.nn.log_softmax(logits), axis=-1)
        return nats.mean(), jnp.mean(logits.argmax(axis=-1) == codes, axis=(0, 2, 3))

    (expected, accuracy), expected_gradient = jax.jit(jax.value_and_grad(explicit, has_aux=True))(params)

    def tripled(*args: Any) -> tuple[jax.Array, Unrolled]:
        loss, found = loss_of(3)(*args)
        return 3 * loss, found

    (loss, found), gradient = jax.jit(jax.value_and_grad(tripled, has_aux=True))(params, codes, labels, keys)
    np.testing.assert_allclose(loss, 3 * expected, rtol=1e-5)
    np.testing.assert_allclose(found.accuracy, accuracy, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 3 * b, rtol=1e-3, atol=1e-5), gradient, expected_gradient)
    plain_loss, plain = jax.jit(loss_of(3))(params, codes, labels, keys)  # without a gradient
    np.testing.assert_allclose(3 * plain_loss, loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, found)


def test_a_picture_loses_the_same_in_whatever_batch() -> None:
    params, *batch = example()
    whole = jax.jit(loss_of(2))(params, *batch)[1]
    devices = jax.local_devices()[:2]
    shared = jax.pmap(lambda *part: loss_of(2)(params, *part)[1], devices=devices)(
        *(x.reshape(2, 3, *x.shape[1:]) for x in batch)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.reshape(-1), rtol=1e-4), whole, shared)
