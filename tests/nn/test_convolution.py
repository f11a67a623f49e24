"""The doubling convolution is Flax's transposed one, gradients included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.convolution import DoublingConvolution


def test_a_doubling_convolution_is_flaxs_transposed_convolution() -> None:
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5, 4), (2, 6, 10, 6)))
    modules = DoublingConvolution(6), nn.ConvTranspose(6, (4, 4), strides=(2, 2))
    ours, theirs = (jax.eval_shape(module.init, jax.random.key(0), x) for module in modules)
    assert ours == theirs
    variables = jax.tree.map(lambda leaf: 0.2 * rng.normal(size=leaf.shape).astype(np.float32), theirs)

    @jax.jit
    def run() -> list[object]:
        """The output, and the gradients of its sum by weights."""
        found = []
        for module in modules:
            outputs, back = jax.vjp(module.apply, variables, x)
            found.append((outputs, back(jnp.asarray(weights))))
        return found

    (output, slopes), (of_theirs, their_slopes) = run()
    np.testing.assert_allclose(output, of_theirs, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), slopes, their_slopes)
