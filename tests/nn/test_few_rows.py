"""The layers of a sampler's steps multiply from the other side; they must say what the model's own
layers say."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.nn.few_rows import apply_to_few_rows


class Layers(nn.Module):
    """Dense layers of all kinds that the model has, and one that is not dense."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.LayerNorm(dtype=self.dtype)(nn.Dense(24, dtype=self.dtype, bias_init=nn.initializers.normal())(x))
        return nn.Dense(5, dtype=self.dtype)(nn.Dense(16, use_bias=False, dtype=jnp.float32)(x))


@pytest.mark.parametrize("shape", [(1, 12), (16, 1, 12), (3, 2, 12)])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_layers_of_few_rows_say_the_same(shape: tuple[int, ...], dtype: jnp.dtype, tolerance: float) -> None:
    model, x = Layers(dtype), jax.random.normal(jax.random.key(0), shape)
    params = jax.jit(model.init)(jax.random.key(1), x)

    @jax.jit
    def looped(params: dict, x: jax.Array) -> jax.Array:
        apply = apply_to_few_rows(model, params)
        return jax.lax.fori_loop(
            0, 3, lambda i, y: apply(x + 0 * y.mean(), method="__call__"), jnp.zeros((*shape[:-1], 5), dtype)
        )

    expected, got = jax.jit(model.apply)(params, x), looped(params, x)  # the loop would not accept another dtype
    assert got.shape == expected.shape
    difference = np.abs(np.asarray(got - expected, np.float32)).max()
    assert difference <= tolerance * np.abs(np.asarray(expected, np.float32)).max()
