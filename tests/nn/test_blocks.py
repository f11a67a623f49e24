"""Residual branches."""

import jax
import jax.numpy as jnp
import pytest

from dct_jax.nn.blocks import Branch
from dct_jax.nn.precision import Precision


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gate_has_its_whole_gradient(dtype: str) -> None:
    """With bfloat16 activations CPUs once added it up in bfloat16: 16,384 of 65,536."""
    branch = Branch(0.0, Precision(jnp.dtype(dtype), jnp.dtype(dtype)))

    @jax.jit
    def gradient(gate: jax.Array, x: jax.Array) -> jax.Array:
        _, backward = jax.vjp(lambda gate: branch.apply({"params": {"gate": gate}}, x, x, method="add"), gate)
        return backward(x)[0]

    ones = jnp.ones((1, 64, 1024), dtype)
    assert gradient(jnp.float32(0.3), ones) == ones.size
