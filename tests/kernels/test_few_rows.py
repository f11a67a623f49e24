"""The product of few rows says what float64 NumPy says, for each row by itself."""

import jax
import numpy as np
import pytest

from dct_jax import kernels


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (13, 16), (24, 64), (9, 100), (64, 129)])
def test_products(inputs: int, outputs: int) -> None:
    assert kernels.use_kernels()
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((33, inputs), np.float32), rng.standard_normal((inputs, outputs), np.float32)
    expected, packed = x.astype(np.float64) @ weights.astype(np.float64), kernels.pack(weights)
    whole = np.asarray(kernels.multiply(x, packed))
    for rows in (1, 2, 3, 4, 7, 8, 16, 31, 32):
        y = np.asarray(jax.jit(kernels.multiply)(x[:rows], packed))
        np.testing.assert_allclose(y[:, :outputs], expected[:rows], atol=1e-5 * inputs)
        np.testing.assert_array_equal(y[:, outputs:], 0)
        np.testing.assert_array_equal(y, whole[:rows])  # the same bits, however many rows there are
