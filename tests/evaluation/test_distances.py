"""Frechet distances against scipy's matrix square root and a closed form; precision and recall
against their definition."""

import functools
import operator

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from dct_jax.evaluation.distances import Moments, frechet_distance, precision_recall


def by_square_root(x: np.ndarray, y: np.ndarray) -> float:
    """The textbook's formula, with scipy's Schur method."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + np.trace(a + b - 2 * root.real))


def features(rng: np.random.Generator, count: int, dimensions: int, offset: float = 0.0) -> np.ndarray:
    """Correlated vectors whose standard deviations span three decades."""
    mixing = rng.normal(size=(dimensions, dimensions)) * np.geomspace(1, 1e-3, dimensions)
    return rng.normal(size=(count, dimensions)) @ mixing.T + rng.normal(size=dimensions) + offset


@pytest.mark.parametrize("counts", [(500, 400), (300, 20), (20, 300), (30, 12)])
@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_is_the_formulas(counts: tuple[int, int], seed: int) -> None:
    """40 dimensions: the later counts leave one covariance or both singular."""
    rng = np.random.default_rng(seed)
    x, y = (features(rng, count, 40) for count in counts)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(by_square_root(x, y), rel=1e-6)


def test_frechet_distance_of_singular_covariances_in_a_common_subspace() -> None:
    """Vectors of 60 numbers that vary in 10 directions have the distance of these 10 numbers:
    nothing comes from the other 50, where scipy's formula would take roots of rounding errors."""
    rng = np.random.default_rng(5)
    x, y = features(rng, 200, 10), features(rng, 150, 10)
    basis = np.linalg.qr(rng.normal(size=(60, 10)))[0]
    assert frechet_distance(Moments.of(x @ basis.T), Moments.of(y @ basis.T)) == pytest.approx(by_square_root(x, y), rel=1e-9)


def test_frechet_distance_of_diagonal_gaussians() -> None:
    """Sum of (difference of means)^2 + (difference of standard deviations)^2."""
    spread_a, spread_b = np.array([1.0, 2.0, 0.0, 5.0]), np.array([3.0, 2.0, 1.0, 0.5])
    means = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0, 3.5])
    a, b = (Moments(101, mean, np.diag(spread**2) * 100) for mean, spread in zip(means, (spread_a, spread_b)))
    expected = 1 + 4 + 0.25 + 4 + 0 + 1 + 4.5**2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [100, 15])
def test_frechet_distance_of_a_set_from_itself_shuffled_is_nothing(count: int) -> None:
    rng = np.random.default_rng(1)
    x = features(rng, count, 30)
    a, b = Moments.of(x), Moments.of(rng.permutation(x))
    assert frechet_distance(a, b) < 1e-9 * np.trace(a.covariance)


def test_frechet_distance_refuses_what_has_no_covariance() -> None:
    a = Moments.of(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="5 and 1 vectors"):
        frechet_distance(a, Moments.of(np.zeros((1, 3))))
    with pytest.raises(ValueError, match="3 and 4 features"):
        frechet_distance(a, Moments.of(np.zeros((5, 4))))
    assert frechet_distance(a, Moments.of(np.full((4, 3), 2.0))) == 12  # constant sets are points


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_moments_of_parts_make_those_of_the_whole(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = features(rng, sum(sizes) + 2, 5, offset=1e4)  # a sum of plain squares would lose 8 digits
    parts = [Moments.of(part) for part in np.split(x, np.cumsum(sizes))]
    whole = functools.reduce(operator.add, parts)
    assert whole.count == len(x)
    np.testing.assert_allclose(whole.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(whole.covariance, np.cov(x, rowvar=False), rtol=1e-8, atol=1e-10)
    rest = whole - parts[0]
    np.testing.assert_allclose(rest.mean, x[sizes[0] :].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(rest.covariance, np.cov(x[sizes[0] :], rowvar=False), rtol=1e-8, atol=1e-9)


def test_moments_refuse_what_is_not_finite_and_what_leaves_nothing() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        Moments.of(np.array([[0.0, np.nan]]))
    whole = Moments.of(np.eye(3))
    with pytest.raises(ValueError, match="3 of 3 vectors"):
        _ = whole - whole


def by_definition(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.square(x[:, None] - y).sum(axis=-1)

    def share(x: np.ndarray, centres: np.ndarray) -> float:
        radii = [np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(squared(centres, centres))]
        return float((squared(x, centres) <= radii).any(axis=1).mean())

    return share(fake, real), share(real, fake)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block_bytes", [1, 4000, 1 << 26])
def test_precision_and_recall_are_the_definitions(k: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dct_jax.evaluation.distances._BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(90, 4)), 0.8 * rng.normal(size=(70, 4)) + 0.4
    expected = by_definition(real, fake, k)
    assert 0.2 < min(expected) < max(expected) < 1
    assert precision_recall(real, fake, k) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 300), st.floats(0, 1e3), st.integers(0, 2**32 - 1))
def test_ties_are_decided_as_by_the_definition(k: int, dimensions: int, offset: float, seed: int) -> None:
    """Few different vectors, so that radii are 0 and distances equal radii, far from 0 so that
    products of matrices round."""
    rng = np.random.default_rng(seed)
    stock = rng.normal(size=(7, dimensions)) + offset
    real, fake = stock[rng.integers(0, 6, 20)], stock[rng.integers(1, 7, 15)]
    assert precision_recall(real, fake, k) == by_definition(real, fake, k)


def test_precision_and_recall_of_sets_apart_and_inside() -> None:
    rng = np.random.default_rng(0)
    real = rng.uniform(size=(300, 2))
    assert precision_recall(real, real + 10) == (0, 0)
    narrow = precision_recall(real, rng.uniform(0.4, 0.6, size=(300, 2)))
    assert narrow.precision > 0.98
    assert narrow.recall < 0.2


def test_precision_and_recall_need_neighbours() -> None:
    vectors = np.eye(5)
    with pytest.raises(ValueError, match=r"3 fake vectors; with k = 3 there must be at least 4"):
        precision_recall(vectors, vectors[:3])
    with pytest.raises(ValueError, match="5 and 4 features"):
        precision_recall(vectors, vectors[:, :4])
    with pytest.raises(ValueError, match="k is 0"):
        precision_recall(vectors, vectors, 0)
