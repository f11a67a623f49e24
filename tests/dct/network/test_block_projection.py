"""The encoder's first layer equals the formula, whatever is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dct.network import block_projection
from dct_jax.dct.network.block_projection import BlockProjection
from dct_jax.nn.precision import Precision

FLOAT32 = jnp.dtype(jnp.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("group", [4, 192])
def test_it_is_a_dense_layer_of_logarithms(stride: int, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve channels in three groups, the second of which is empty, or in one."""
    monkeypatch.setattr(block_projection, "GROUP", group)
    rng = np.random.default_rng(0)
    image = rng.integers(-40, 41, (2, 12, 4, 6)).astype(np.int16)  # [B, C, h, w]
    image[:, 4:8] = 0
    layer = BlockProjection(5, stride, Precision(FLOAT32, FLOAT32))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), image)
    params = jax.tree.map(lambda leaf: 0.2 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    factors = rng.normal(size=(2, 4 // stride, 6 // stride, 5))  # [B, h', w', D]

    def loss(params):
        y = layer.apply(params, image)
        return jnp.sum(y * factors), y

    gradient, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    kernel, bias = (np.asarray(params["params"][name], np.float64) for name in ("kernel", "bias"))
    expected, of_kernel = np.zeros(factors.shape), np.zeros(kernel.shape)
    for b, i, j in np.ndindex(factors.shape[:3]):
        square = image[b, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride].astype(np.float64)  # [C, s, s]
        by_block = square.transpose(1, 2, 0).reshape(-1, 12)  # [s^2, C]
        inputs = np.concatenate([np.sign(by_block) * np.log1p(abs(by_block)), np.log1p(abs(by_block))], axis=1).reshape(-1)
        expected[b, i, j] = inputs @ kernel + bias
        of_kernel += np.outer(inputs, factors[b, i, j])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient["params"]["kernel"], of_kernel, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient["params"]["bias"], factors.sum(axis=(0, 1, 2)), rtol=1e-5)
