"""Products of bfloat16 operands are those of the rounded matrices, with sums in float32, wherever
XLA could turn them round."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dct.network import log_likelihood
from dct_jax.nn import precision
from dct_jax.nn.precision import Precision, precision_of, transposed_product
from tests.toys import TINY, batch_of, random_list, random_params, tiny_model

MIXED = Precision(jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16))

needs_units = pytest.mark.skipif(not precision.has_bfloat16_units(), reason="this machine has no units for bfloat16")


def rounded(x: jax.Array) -> np.ndarray:
    """What bfloat16 leaves of it, float64."""
    return np.asarray(x.astype(jnp.bfloat16), np.float64)


@needs_units
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (1, 7, 3), (33, 5, 17), (64, 40, 8), (8, 16, 80)])
def test_a_dense_layer_multiplies_rounded_matrices(rows: int, inputs: int, outputs: int) -> None:
    x, factors = (jax.random.normal(jax.random.key(i), (rows, n)) for i, n in enumerate((inputs, outputs)))
    dense = MIXED.dense(outputs, use_bias=False)
    params = dense.init(jax.random.key(2), x)
    kernel = params["params"]["kernel"]

    @jax.jit
    def run(params, x):
        # Transposed afterwards: the simplifier would rather have another product, which the units
        # do not know.
        y = dense.apply(params, x).T
        return jnp.sum(y * factors.T), y

    (of_params, of_x), y = jax.grad(run, argnums=(0, 1), has_aux=True)(params, x)
    assert y.dtype == of_x.dtype == jnp.float32
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(y.T, rounded(x) @ rounded(kernel), **close)
    np.testing.assert_allclose(of_x, rounded(factors) @ rounded(kernel).T, **close)
    np.testing.assert_allclose(of_params["params"]["kernel"], rounded(x).T @ rounded(factors), **close)


@needs_units
def test_what_is_not_finite_stays_so() -> None:
    """The branch that is not taken has a result, too; here it is taken."""
    a = jnp.full((2, 3), jnp.nan, jnp.bfloat16)
    assert np.isnan(transposed_product(a, a)).all()


@needs_units
def test_a_network_gives_nearly_the_same() -> None:
    batch = batch_of(tiny_model(), [random_list(np.random.default_rng(i), tiny_model().vocabulary, 40) for i in range(2)])
    params = random_params(tiny_model(), batch)
    found = []
    for products in ("float32", "bfloat16"):
        model = tiny_model(dataclasses.replace(TINY, products=products))
        nats = jax.jit(lambda params, model=model: log_likelihood(model.apply(params, batch), batch, model.vocabulary))(params)
        found.append(np.asarray(nats))
    assert not np.array_equal(*found)
    assert np.abs(found[1].sum(axis=(1, 2)) / found[0].sum(axis=(1, 2)) - 1).max() < 0.01


@pytest.mark.parametrize(
    ("kind", "capability", "has"),
    [("NVIDIA H200", "9.0", True), ("Tesla T4", "7.5", False), ("AMD Instinct MI300X", "gfx942", False), ("Arc", None, False)],
)
def test_gpus_with_units(kind: str, capability: str | None, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMD's capability is no number, and once ended every model of bfloat16 products."""
    device = SimpleNamespace(platform="gpu", device_kind=kind, compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert precision.has_bfloat16_units.__wrapped__() == has


def test_machines_without_units_stay_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, operands in ((True, jnp.bfloat16), (False, jnp.float32)):
        monkeypatch.setattr(precision, "has_bfloat16_units", lambda has=has: has)
        assert precision_of("float32", "bfloat16") == Precision(jnp.dtype(jnp.float32), jnp.dtype(operands))
        assert precision_of("float32", "float32").operands == jnp.float32
    assert Precision(jnp.dtype(jnp.float32), jnp.dtype(jnp.float32)).dense(3).dot_general is None
