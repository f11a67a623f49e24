"""Quantisers and the upkeep of a table, against plain NumPy, enumerations and what a sum of
gradients must give."""

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.vq.codebook import follow_vectors
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.quantizers import (
    Codebook,
    Quantized,
    Quantizer,
    codes_of_levels,
    count_codes,
    counts_and_sums,
    kmeans,
    levels_of_codes,
    nearest_codes,
    perplexity,
    round_levels,
    update,
)

K, D = 6, 3
LEVELS = ((8, 5, 5, 5), (2, 3), (4,), (7, 2))
NUMBERS = (2, 3, 4, 5, 7, 8, 256, 1500, 2001, 2**20)
"""Of levels."""
SWEEP = np.array([-1e4, *np.linspace(-12, 12, 4001), 1e4], np.float32)


def random_vectors(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def search(vectors: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The number of the nearest row to each vector, [..., D] -> [...], one after the other."""
    flat = [min(range(len(table)), key=lambda k: float(np.sum((row - table[k]) ** 2))) for row in vectors.reshape(-1, D)]
    return np.array(flat).reshape(vectors.shape[:-1])


def variables_of(kind: str, table: np.ndarray) -> dict[str, Any]:
    if kind == "gradient":
        return {"params": {"table": table}}
    return {"codebook": {"table": table, "counts": np.ones(len(table), np.float32), "sums": table}}


def quantizer(kind: str) -> Quantizer:
    return Quantizer(QuantizerConfig(kind=kind, codes=K, dim=D, levels=(4, 3, 2)))


@partial(jax.jit, static_argnums=0)
def quantize(kind: str, variables: dict[str, Any], vectors: jax.Array) -> Quantized:
    return quantizer(kind).apply(variables, vectors)


@partial(jax.jit, static_argnums=0)
def slopes(kind: str, variables: dict[str, Any], vectors: jax.Array, weights: jax.Array) -> dict[str, Any]:
    """The gradients, with respect to the variables and to the vectors, of both losses, and of the
    quantised vectors' sum by weights."""
    found = {
        "sum": lambda quantized: (weights * quantized.vectors).sum(),
        "codebook_loss": lambda quantized: quantized.codebook_loss,
        "commitment_loss": lambda quantized: quantized.commitment_loss,
    }

    def slope(number: Callable[[Quantized], jax.Array]) -> Any:
        return jax.grad(lambda v, x: number(quantize(kind, v, x)), argnums=(0, 1))(variables, vectors)

    return {name: slope(number) for name, number in found.items()}


def grid(levels: int) -> np.ndarray:
    """The levels of a coordinate, lowest first."""
    return np.linspace(-1, 1, levels) if levels % 2 else np.linspace(-1, 1, levels, endpoint=False)


def test_the_nearest_code_is_that_of_a_plain_search() -> None:
    vectors, table = random_vectors(2, 5, 4, D), random_vectors(K, D, seed=1)
    codes = jax.jit(nearest_codes)(vectors, table)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, search(vectors, table))
    assert len(np.unique(codes)) == K


@pytest.mark.parametrize("kind", ["gradient", "ema"])
def test_vectors_become_rows_of_the_table_and_their_gradient_goes_straight_through(kind: str) -> None:
    vectors, table, weights = random_vectors(5, 7, D), random_vectors(K, D, seed=1), random_vectors(5, 7, D, seed=2)
    variables = variables_of(kind, table)
    quantized = quantize(kind, variables, vectors)
    np.testing.assert_array_equal(quantized.codes, search(vectors, table))
    np.testing.assert_allclose(quantized.vectors, table[search(vectors, table)], atol=1e-6)
    to_table, to_vectors = slopes(kind, variables, vectors, weights)["sum"]
    np.testing.assert_array_equal(to_vectors, weights)
    assert not any(np.any(x) for x in jax.tree.leaves(to_table))


@pytest.mark.parametrize("kind", ["gradient", "ema"])
def test_the_codebook_loss_moves_the_table_alone_and_the_commitment_loss_the_vectors_alone(kind: str) -> None:
    """The gradients of a mean of squares, worked out by hand; "ema" has no codebook loss."""
    vectors, table = random_vectors(5, 7, D), random_vectors(K, D, seed=1)
    variables, codes = variables_of(kind, table), search(vectors, table)
    quantized = quantize(kind, variables, vectors)
    mean_square = np.mean((vectors - table[codes]) ** 2)
    assert quantized.commitment_loss == pytest.approx(mean_square, rel=1e-5)
    assert quantized.codebook_loss == (pytest.approx(mean_square, rel=1e-5) if kind == "gradient" else 0)

    gradients = slopes(kind, variables, vectors, vectors)
    to_variables, to_vectors = gradients["codebook_loss"]
    assert not np.any(to_vectors)
    expected = np.zeros_like(table)
    for vector, code in zip(vectors.reshape(-1, D), codes.flat):
        expected[code] += 2 * (table[code] - vector) / vectors.size
    if kind == "gradient":
        np.testing.assert_allclose(to_variables["params"]["table"], expected, atol=1e-6)
    else:
        assert not any(np.any(x) for x in jax.tree.leaves(to_variables))

    to_variables, to_vectors = gradients["commitment_loss"]
    assert not any(np.any(x) for x in jax.tree.leaves(to_variables))
    np.testing.assert_allclose(to_vectors, 2 * (vectors - table[codes]) / vectors.size, atol=1e-6)


@pytest.mark.parametrize("kind", ["gradient", "ema", "fsq"])
def test_codes_are_looked_up_as_the_vectors_that_they_were(kind: str) -> None:
    variables = {} if kind == "fsq" else variables_of(kind, random_vectors(K, D, seed=1))
    quantized = quantize(kind, variables, random_vectors(5, 7, D))
    assert len(np.unique(quantized.codes)) > 4
    looked_up = jax.jit(partial(quantizer(kind).apply, method="look_up"))(variables, quantized.codes)
    np.testing.assert_allclose(looked_up, quantized.vectors, atol=1e-6)


def test_finite_scalars_have_neither_a_table_nor_losses() -> None:
    vectors = random_vectors(5, 7, D)
    assert not jax.tree.leaves(jax.eval_shape(quantizer("fsq").init, jax.random.key(0), vectors))
    quantized = quantize("fsq", {}, vectors)
    assert quantized.codebook_loss == quantized.commitment_loss == 0


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_an_update_is_that_of_a_loop_over_the_codes(scale: float) -> None:
    """Decay, Laplace smoothing and restarts, code by code. With counts of some 1e-4, the smoothing
    changes much; nothing restarts there."""
    restart = 0.3 if scale == 1 else 0.0
    rng = np.random.default_rng(0)
    before = Codebook(*(rng.uniform(0.5, 9, shape).astype(np.float32) * scale for shape in ((K, D), (K,), (K, D))))
    counts, sums = rng.uniform(0, 9, K).astype(np.float32) * scale, random_vectors(K, D) * scale
    counts[2], before.counts[2] = 0, scale / 10  # a dead code
    spare = random_vectors(K, D, seed=1)
    config = QuantizerConfig(kind="ema", codes=K, dim=D, decay=0.75, restart=restart)
    after = update(config, before, counts, sums, spare)

    new_counts, new_sums = np.zeros(K), np.zeros((K, D))
    for k in range(K):
        new_counts[k] = 0.75 * float(before.counts[k]) + 0.25 * float(counts[k])
        new_sums[k] = 0.75 * before.sums[k] + 0.25 * sums[k]
        if new_counts[k] < restart:
            new_counts[k], new_sums[k] = 1, spare[k]
    assert np.flatnonzero(new_counts == 1).tolist() == ([2] if restart else [])
    n = sum(new_counts)
    for k in range(K):
        table = new_sums[k] / (n * (new_counts[k] + 1e-5) / (n + K * 1e-5))
        np.testing.assert_allclose(after.table[k], table, rtol=1e-4)
    np.testing.assert_allclose(after.counts, new_counts, rtol=1e-5)
    np.testing.assert_allclose(after.sums, new_sums, rtol=1e-5)


def test_a_dead_code_becomes_the_spare_vector_and_the_others_stay() -> None:
    """The batch has as many vectors of each other code as before, at the code itself."""
    table, spare = random_vectors(K, D), random_vectors(K, D, seed=1)
    counts = np.full(K, 20, np.float32)
    counts[4] = 0
    config = QuantizerConfig(kind="ema", codes=K, dim=D, decay=0.9, restart=1.0)
    after = update(config, Codebook(table, counts, table * counts[:, None]), counts, table * counts[:, None], spare)
    expected = table.copy()
    expected[4] = spare[4]
    np.testing.assert_allclose(after.table, expected, rtol=1e-4)


@pytest.mark.parametrize("restart", [0.5, 1.0, 2.0, 5.0])
def test_a_restarted_code_lives_on_if_it_finds_vectors(restart: float) -> None:
    """In the next step it has a few more vectors than the threshold asks for, all at the code."""
    table, spare = random_vectors(K, D), random_vectors(K, D, seed=1)
    counts = np.full(K, 20, np.float32)
    counts[4] = 0
    config = QuantizerConfig(kind="ema", codes=K, dim=D, decay=0.9, restart=restart)
    first = update(config, Codebook(table, counts, table * counts[:, None]), counts, table * counts[:, None], spare)
    assert first.counts[4] == max(1, restart)
    counts[4] = restart + 1
    second = update(config, first, counts, np.asarray(first.table) * counts[:, None], random_vectors(K, D, seed=2))
    np.testing.assert_allclose(second.table[4], spare[4], rtol=1e-3)


def test_codes_of_small_batches_live_on_if_they_have_their_share() -> None:
    """With fewer vectors than codes even an average code once fell below the limit, again and
    again. Here it is restart times 1 / 4, as a step has so many vectors for each code."""
    table, spare = random_vectors(K, D), random_vectors(K, D, seed=1)
    counts = np.array([0.4, 0.25, 0.25, 0.35, 0.13, 0.12], np.float32)
    config = QuantizerConfig(kind="ema", codes=K, dim=D, restart=0.5)
    after = update(config, Codebook(table, counts, table * counts[:, None]), counts, table * counts[:, None], spare)
    np.testing.assert_allclose(after.counts, [*counts[:5], 0.25], rtol=1e-3)
    np.testing.assert_allclose(after.table, [*table[:5], spare[5]], rtol=1e-2)


@pytest.mark.parametrize("num_codes", [5, 40])
def test_codes_are_counted_as_a_one_hot_matrix_would(num_codes: int) -> None:
    rng = np.random.default_rng(0)
    codes, vectors = rng.integers(0, 5, 30).astype(np.int32), random_vectors(30, D)
    weights = rng.integers(0, 2, 30).astype(np.float32)

    @jax.jit
    def count() -> Any:
        by_matrix = [counts_and_sums(vectors, codes, num_codes, x)[0] for x in (None, weights)]
        return [count_codes(codes, num_codes, x) for x in (None, weights)], by_matrix

    np.testing.assert_array_equal(*count())


@pytest.mark.parametrize("kind", ["gradient", "fsq"])
def test_a_step_without_decayed_means_needs_no_one_hot_matrix(kind: str) -> None:
    """It once had one of 4 GB, for 64 pictures and 64,000 codes."""
    config, shape = QuantizerConfig(kind=kind, codes=1000, dim=3, levels=(10, 10, 10)), (1, 3, 23)
    nothing = jnp.zeros(())
    quantized = Quantized(jnp.zeros(shape, jnp.int32), jnp.zeros((*shape, 3)), nothing, nothing)

    def count(vectors: jax.Array) -> jax.Array:
        return follow_vectors(config, {}, vectors, quantized, jax.random.key(0))[1]

    program = str(jax.make_jaxpr(count, axis_env=[(DATA_AXIS, 1)])(quantized.vectors))
    assert "[1000]" in program and "69,1000" not in program


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_levels_are_inverse_bijections(levels: tuple[int, ...]) -> None:
    """All codes in their order are all choices of levels, the first coordinate's changing
    fastest."""
    number = int(np.prod(levels))

    @jax.jit
    def there_and_back(codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        vectors = levels_of_codes(codes, levels)
        return vectors, codes_of_levels(vectors, levels)

    vectors, codes = there_and_back(np.arange(number, dtype=np.int32))
    choices = [choice[::-1] for choice in itertools.product(*(grid(x) for x in reversed(levels)))]
    np.testing.assert_allclose(vectors, choices, atol=1e-6)
    np.testing.assert_array_equal(codes, np.arange(number))


class Swept(NamedTuple):
    """What SWEEP becomes with a number of levels, its codes, and the gradient, [n] each."""

    rounded: np.ndarray
    codes: np.ndarray
    slopes: np.ndarray


@cache
def swept() -> dict[int, Swept]:
    """By the number of levels. One program has a column of each."""

    @jax.jit
    def sweep(vectors: jax.Array) -> Any:
        rounded = round_levels(vectors, NUMBERS)
        codes = [codes_of_levels(rounded[:, i : i + 1], (number,)) for i, number in enumerate(NUMBERS)]
        return rounded.T, codes, jax.grad(lambda x: round_levels(x, NUMBERS).sum())(vectors).T

    found = jax.device_get(sweep(SWEEP[:, None].repeat(len(NUMBERS), axis=1)))
    return {number: Swept(*of_number) for number, *of_number in zip(NUMBERS, *found, strict=True)}


@pytest.mark.parametrize("levels", LEVELS)
def test_some_vector_reaches_every_code(levels: tuple[int, ...]) -> None:
    """And rounding keeps the place of each level between its neighbours."""
    places = []
    for number in levels:
        rounded = swept()[number].rounded
        assert np.all(np.diff(rounded) >= 0)
        found, first, width = np.unique(rounded.round(5), return_index=True, return_counts=True)
        np.testing.assert_allclose(found, grid(number), atol=1e-5)
        places.append(SWEEP[first + width // 2])  # the middle of what becomes each level
    vectors = np.array([choice[::-1] for choice in itertools.product(*reversed(places))])
    codes = jax.jit(lambda x: codes_of_levels(round_levels(x, levels), levels))(vectors)
    np.testing.assert_array_equal(codes, np.arange(np.prod(levels)))


def test_an_odd_number_of_levels_rounds_each_level_to_itself() -> None:
    """Of an odd number, the squashing is tanh alone."""
    numbers = (3, 5, 7, 101)
    levels = np.stack([np.resize(grid(number), max(numbers)) for number in numbers], axis=1).astype(np.float32)
    before = np.arctanh(np.clip(levels, -0.9999, 0.9999))
    np.testing.assert_allclose(jax.jit(partial(round_levels, levels=numbers))(before), levels, atol=1e-6)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_vectors_of_any_number_of_levels_are_levels(number: int) -> None:
    """0 stays 0, and vectors of any size have one of the L codes; more than 1001 levels once had
    codes beyond them."""
    rounded, codes, _ = swept()[number]
    assert rounded[SWEEP == 0] == 0
    assert np.abs(rounded).max() <= 1
    assert (codes.min(), codes.max()) == (0, number - 1)
    np.testing.assert_allclose(rounded, grid(number)[codes], atol=1e-6)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 8])
def test_the_gradient_of_rounding_is_positive_and_adds_up_to_what_is_rounded(number: int) -> None:
    """Its integral from far below is the squashed number, which rounding changes by half of a
    step."""
    rounded, _, slope = swept()[number]
    inner = np.abs(SWEEP) < 3  # far beyond it, the tanh of float32 is 1
    assert np.all(slope[inner] > 0) and np.all(slope >= 0)
    squashed = -1 + np.cumsum(slope.astype(float)) * (SWEEP[2] - SWEEP[1])
    half = 0.5 / (number // 2)
    assert np.abs(squashed - rounded).max() == pytest.approx(half, rel=0.03)
    assert squashed[-1] == pytest.approx(grid(number)[-1], abs=0.02)


def test_a_fresh_encoder_s_vectors_reach_neighbours_and_learn() -> None:
    """Two levels once met at -3.8, so all vectors near 0 had one code and nearly no gradient."""
    levels = (2, 3, 4, 5, 8)
    near = np.array([-0.8, -0.4, 0.4, 0.8], np.float32)[:, None].repeat(len(levels), axis=1)

    @jax.jit
    def run(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
        rounded, pull_back = jax.vjp(lambda x: round_levels(x, levels), vectors)
        return rounded, pull_back(jnp.ones_like(rounded))[0]

    rounded, slope = run(near)
    assert all(len(np.unique(column)) >= 2 for column in np.asarray(rounded).T)
    assert np.min(slope) > 0.2


def clusters(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """30 vectors around three points, in any order, [30, 2], and the means of their clusters."""
    points = np.array([[0, 0], [10, 0], [0, 10]])
    vectors = points[:, None] + rng.normal(size=(3, 10, 2)) / 2
    return rng.permutation(vectors.reshape(30, 2)).astype(np.float32), vectors.mean(axis=1)


@partial(jax.jit, static_argnums=1)
def tables_of(vectors: jax.Array, number: int) -> jax.Array:
    """What k-means finds in vectors with each of 40 keys, [40, number, D]."""
    return jax.vmap(lambda key: kmeans(vectors, number, key))(jax.random.split(jax.random.key(0), 40))


def test_kmeans_finds_three_well_separated_clusters() -> None:
    """Most often: from three vectors of which two lie in one cluster, k-means may not get away."""
    vectors, means = clusters(np.random.default_rng(0))
    tables = np.asarray(tables_of(vectors, 3))
    found = np.abs(tables[:, :, None] - means).max(axis=-1).min(axis=1).max(axis=-1) < 1e-4  # [40]
    assert found.sum() > 20


def test_kmeans_ends_with_means_of_the_vectors_that_are_nearest_to_them() -> None:
    vectors, _ = clusters(np.random.default_rng(1))
    for table in np.asarray(tables_of(vectors, 3)):
        nearest = np.array([np.argmin(np.sum((table - vector) ** 2, axis=1)) for vector in vectors])
        np.testing.assert_allclose(table, [vectors[nearest == k].mean(axis=0) for k in range(3)], atol=1e-4)


def test_kmeans_of_fewer_vectors_than_means_repeats_them() -> None:
    vectors = random_vectors(3, D)
    tables = np.asarray(tables_of(vectors, 8))
    assert tables.shape == (40, 8, D)
    assert np.abs(tables[:, :, None] - vectors).max(axis=-1).min(axis=2).max() < 1e-6


def test_perplexity_counts_the_codes_in_even_use() -> None:
    uneven = np.array([0.5, 0.25, 0.125, 0.125])  # 1.75 bits
    counts = np.array([np.full(4, 3), [0, 0, 7, 0], [0, 5, 0, 5], 8 * uneven], np.float32)
    np.testing.assert_allclose(jax.jit(jax.vmap(perplexity))(counts), [4, 1, 2, 2**1.75], rtol=1e-5)
