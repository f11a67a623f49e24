"""The doubling convolution is Flax's transposed one, gradients included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.convolution import DoublingConvolution


def test_a_doubling_convolution_is_flaxs_transposed_convolution() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 5, 4)), jnp.float32)
    ours, theirs = DoublingConvolution(6), nn.ConvTranspose(6, (4, 4), strides=(2, 2))
    variables = theirs.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, variables)
    variables["params"]["bias"] = jnp.arange(6.0)
    weights = jnp.asarray(rng.normal(size=(2, 6, 10, 6)), jnp.float32)

    def loss(module: nn.Module) -> object:
        return jax.value_and_grad(lambda v, x: jnp.sum(weights * module.apply(v, x)), argnums=(0, 1))(variables, x)

    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), loss(ours), loss(theirs))
