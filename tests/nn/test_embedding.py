"""Looking rows up, and the two ways of its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.nn import embedding


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_adds_up_what_each_row_is_used_for(backend: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding.jax, "default_backend", lambda: backend)
    index = np.array([[0, 2, 2], [4, 2, 0]])
    factors = np.arange(12.0).reshape(2, 3, 2)
    table = np.arange(10.0).reshape(5, 2).astype(dtype)

    @jax.jit
    def rows_and_gradient(table: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, backward = jax.vjp(lambda table: embedding.rows_of(table, index), table)
        return rows, backward(jnp.asarray(factors, dtype))[0]

    rows, gradient = rows_and_gradient(table)
    np.testing.assert_array_equal(rows, table[index])
    expected = np.zeros((5, 2))
    for i, row in zip(index.reshape(-1), factors.reshape(-1, 2)):
        expected[i] += row
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(np.asarray(gradient, np.float32), expected)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_row_that_is_used_often_has_its_whole_gradient(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPUs it once was added up in bfloat16, where 256 + 1 is 256."""
    monkeypatch.setattr(embedding.jax, "default_backend", lambda: backend)

    @jax.jit
    def gradient(table: jax.Array, index: jax.Array) -> jax.Array:
        _, backward = jax.vjp(lambda table: embedding.rows_of(table, index), table)
        return backward(jnp.ones((8192, 1), jnp.bfloat16))[0]

    found = gradient(jnp.zeros((3, 1), jnp.bfloat16), np.zeros(8192, np.int32))
    np.testing.assert_array_equal(np.asarray(found, np.float32), [[8192], [0], [0]])
