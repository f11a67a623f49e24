"""The kernels of attention say what float64 NumPy and the tiles say, in place, and for each row by
itself."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from dct_jax import kernels
from dct_jax.nn.attention import KeysValues, attend, attend_step, attend_window

Shape = tuple[int, int, int, int, int]
SHAPES = [(1, 1, 1, 8, 1), (2, 3, 1, 8, 17), (3, 2, 2, 13, 40), (16, 2, 1, 64, 33), (1, 2, 1, 128, 129), (32, 1, 3, 3, 5)]
"""B, H, S, K, T."""


class Example(NamedTuple):
    queries: np.ndarray  # float32 [B, H, S, K]
    new: KeysValues  # [B, H, K, S]
    memory: KeysValues  # [B, H, K, T]
    visible: np.ndarray  # bool [B, T]


def example(shape: Shape, dtype: type, seed: int = 0) -> Example:
    batch, heads, queries, width, length = shape
    rng = np.random.default_rng(seed)
    new, memory = (
        KeysValues(*(rng.standard_normal((batch, heads, width, columns)).astype(dtype) for _ in range(2)))
        for columns in (queries, length)
    )
    visible = rng.random((batch, length)) < 0.5
    visible[np.arange(batch), rng.integers(length, size=batch)] = True
    return Example(3 * rng.standard_normal((batch, heads, queries, width), np.float32), new, memory, visible)


def in_float64(queries: np.ndarray, memory: KeysValues, mask: np.ndarray) -> np.ndarray:
    """The formula; mask [B or 1, 1, S or 1, T]."""
    q, k, v = (np.asarray(x, np.float64) for x in (queries, *memory))
    scores = np.where(mask, np.einsum("bhsk,bhkt->bhst", q, k) / np.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("bhst,bhkt->bhsk", weights / weights.sum(axis=-1, keepdims=True), v)


@pytest.fixture(autouse=True)
def _kernels_are_used() -> None:
    assert kernels.use_kernels()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_window(shape: Shape, dtype: type) -> None:
    """At its start, in the middle and at its end; keys and values get their columns and stay as
    they are elsewhere."""
    _, _, queries, _, length = shape
    q, new, memory, _ = example(shape, dtype)
    step = jax.jit(attend_window)
    for index in {0, (length - queries) // 2, length - queries}:
        attended, written = step(q, new, memory, index)
        expected = KeysValues(*(x.copy() for x in memory))
        for whole, columns in zip(expected, new):
            whole[..., index : index + queries] = columns
        for ours, theirs in zip(written, expected):
            np.testing.assert_array_equal(ours, theirs)
        seen = np.arange(length) <= index + np.arange(queries)[:, None]
        np.testing.assert_allclose(attended, in_float64(q, expected, seen[None, None]), atol=3e-6)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_tokens(shape: Shape, dtype: type) -> None:
    q, _, memory, visible = example(shape, dtype)
    attended = jax.jit(attend_step)(q, memory, visible)
    np.testing.assert_allclose(attended, in_float64(q, memory, visible[:, None, None]), atol=3e-6)


def test_what_is_hidden_makes_no_difference() -> None:
    """Not even numbers that are none, after the last visible token or the filled columns."""
    q, new, memory, visible = example((2, 3, 1, 8, 17), np.float32)
    visible[:, 9:] = False
    beyond = KeysValues(*(np.where(np.arange(17) < 9, x, np.nan) for x in memory))
    np.testing.assert_array_equal(attend_step(q, beyond, visible), attend_step(q, memory, visible))
    np.testing.assert_array_equal(attend_window(q, new, beyond, 8)[0], attend_window(q, new, memory, 8)[0])


def test_the_tiles_and_the_plain_path_say_the_same() -> None:
    q, _, memory, visible = example((2, 3, 1, 8, 40), np.float32)
    ours = attend_step(q, memory, visible)
    with kernels.without_kernels():
        plain = attend_step(q, memory, visible)
    assert np.any(np.asarray(plain) != ours)  # they are two programs
    np.testing.assert_allclose(ours, plain, atol=3e-6)
    np.testing.assert_allclose(ours, attend(jnp.asarray(q), KeysValues(*map(jnp.asarray, memory)), q.dtype, visible), atol=3e-6)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_a_row_has_the_same_bits_in_any_batch(dtype: type) -> None:
    q, new, memory, visible = example((16, 2, 1, 16, 37), dtype)
    together = attend_window(q, new, memory, 30)[0], attend_step(q, memory, visible)
    for rows in (slice(3, 4), slice(3, 5), slice(2, 10), slice(15, 16)):
        one, its_new, its_memory = jax.tree.map(lambda x, rows=rows: x[rows], (q, new, memory))
        alone = attend_window(one, its_new, its_memory, 30)[0], attend_step(one, its_memory, visible[rows])
        for ours, theirs in zip(alone, together):
            np.testing.assert_array_equal(ours, theirs[rows])
