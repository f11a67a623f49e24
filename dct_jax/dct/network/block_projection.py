"""The encoder's first layer: a linear map of the coefficients of s x s blocks, mostly zeros.

Lists run from coarse to fine, so what comes before a chunk has few fine coefficients or none.
Channels, which are numbered from coarse to fine, go through the product in groups, and groups
without any coefficient are left out: large blocks have many channels. The backward pass makes the
inputs again, from the integers.

Axes: B batch, C channels, h x w blocks, s blocks of a token in each direction, T = B (h / s) (w /
s) tokens, N groups of G channels, D width.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.initial import fan_in
from dct_jax.nn.precision import Precision, product, sums_of, transposed_product

GROUP = 192
"""At least so many channels are left out together: all of 8 x 8 blocks in colour, a sixteenth of
those of 32 x 32."""


class BlockProjection(nn.Module):
    """A dense layer over the signed values and the magnitudes of a token's coefficients.

    Values are heavy-tailed: their logarithm keeps a DC of 60 and an AC of 1 in one range. How large
    the values near here are matters more than their signs, and a linear map cannot take magnitudes
    from signed values. So the layer gets both.

    Attributes:
        width: D.
        stride: s.
        precision: the types of the products and of the result.
    """

    width: int
    stride: int
    precision: Precision

    @nn.compact
    def __call__(self, dct_image: jax.Array) -> jax.Array:
        """Projects int16 [B, C, h, w] to [B, h / s, w / s, D]; s divides h and w."""
        batch, channels, height, width = dct_image.shape
        s = self.stride
        # Input s x s x 2 C: of each block the signed values of all channels, then the magnitudes.
        kernel = self.param("kernel", fan_in, (2 * s * s * channels, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        groups = max(n for n in range(1, max(2, channels // GROUP + 1)) if channels % n == 0)  # N
        # Block (i, j) belongs to token (i // s, j // s).
        blocks = dct_image.reshape(batch, groups, -1, height // s, s, width // s, s)
        blocks = blocks.transpose(1, 0, 3, 5, 4, 6, 2).reshape(groups, -1, s * s, channels // groups)  # [N, T, s^2, G]
        kernel = kernel.reshape(s * s, 2, groups, -1, self.width)  # [s^2, 2, N, G, D]
        sums = _sparse_product(self.precision.operands, blocks, kernel)  # [T, D]
        return (sums + bias).astype(self.precision.activations).reshape(batch, height // s, width // s, self.width)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sparse_product(operands: jnp.dtype, blocks: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies int16 [N, T, s^2, G] by float32 [s^2, 2, N, G, D]. Returns float32 [T, D]."""
    return _forward(operands, blocks, kernel)[0]


def _forward(operands: jnp.dtype, blocks: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def add(sums: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        def add_group(blocks: jax.Array, n: jax.Array) -> jax.Array:
            weights = jax.lax.dynamic_index_in_dim(kernel, n, axis=2, keepdims=False).astype(operands)  # [s^2, 2, G, D]
            weights = weights.swapaxes(0, 1).reshape(2, -1, kernel.shape[-1])  # [2, s^2 G, D]
            return sums + sum(product("TK,KD->TD", x, w) for x, w in zip(_inputs(blocks, operands), weights))

        return jax.lax.cond(jnp.any(group[0] != 0), add_group, lambda *_: sums, *group), None

    nothing = jnp.zeros((blocks.shape[1], kernel.shape[-1]), sums_of(operands))
    return jax.lax.scan(add, nothing, (blocks, jnp.arange(len(blocks))))[0], (blocks, kernel)


def _backward(operands: jnp.dtype, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[None, jax.Array]:
    blocks, kernel = residuals
    gradient = gradient.astype(operands)  # [T, D]
    size, _, _, channels, width = kernel.shape

    def write(of_kernel: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        def of_weights(blocks: jax.Array) -> jax.Array:
            parts = [transposed_product(x, gradient).reshape(size, channels, width) for x in _inputs(blocks, operands)]
            return jnp.stack(parts, axis=1)  # [s^2, 2, G, D]

        zeros = jnp.zeros((size, 2, channels, width), jnp.float32)
        of_group = jax.lax.cond(jnp.any(group[0] != 0), of_weights, lambda _: zeros, group[0])
        return jax.lax.dynamic_update_index_in_dim(of_kernel, of_group, group[1], axis=2), None

    return None, jax.lax.scan(write, jnp.zeros(kernel.shape, jnp.float32), (blocks, jnp.arange(len(blocks))))[0]


_sparse_product.defvjp(_forward, _backward)


def _inputs(blocks: jax.Array, operands: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """Returns the signed logarithms and the magnitudes of int16 [T, s^2, G], [T, s^2 G] each."""
    blocks = blocks.reshape(blocks.shape[0], -1)
    magnitudes = jnp.log1p(jnp.abs(blocks.astype(sums_of(operands))))
    return (jnp.sign(blocks) * magnitudes).astype(operands), magnitudes.astype(operands)
