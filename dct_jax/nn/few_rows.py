"""Runs the dense layers of a sampler's steps, which have one row a list (two with guidance).

XLA's CPU backend copies the second matrix of a product into panels before it multiplies, which is
most of the work if the first matrix has few rows. So the layers' kernels are arranged before a
loop. They are packed for the product of `dct_jax.kernels`, which reads them once. Where that is not
used, they are transposed for (W^T x^T)^T: then W is XLA's first matrix, which is read once, where
it lies, and only the rows are copied.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.module import InterceptorContext

from dct_jax import kernels


def apply_to_few_rows(model: nn.Module, params: Any) -> Callable[..., Any]:
    """Returns `model.apply` with the parameters, for the body of a loop. Call this before the loop,
    and its result in the loop.

    On accelerators the layers stay as they are.
    """
    if jax.default_backend() != "cpu":
        return partial(model.apply, params)
    is_double = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))  # packed kernels are float32
    packs = kernels.use_kernels() and not is_double
    arrange, multiply = (kernels.pack, _multiply_packed) if packs else (_transpose, _multiply_transposed)

    def arrange_leaf(path: Any, leaf: jax.Array) -> jax.Array:
        """Arranges kernels, and leaves the rest. XLA leaves out what the loop does not use."""
        return arrange(leaf) if jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel") else leaf

    params = jax.tree_util.tree_map_with_path(arrange_leaf, params)

    def intercept(layer: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: InterceptorContext) -> Any:
        """Replaces a dense layer from [..., K] to [..., N]."""
        dense = context.module
        if not isinstance(dense, nn.Dense):
            return layer(*args, **kwargs)
        weights, (x,) = dense.variables["params"], args
        dtype = dense.dtype or x.dtype
        y = multiply(x.reshape(-1, x.shape[-1]).astype(dtype), weights["kernel"], dense.features).astype(dtype)  # [M, N]
        y = y.reshape(*x.shape[:-1], dense.features)
        return y + weights["bias"].astype(dtype) if "bias" in weights else y

    def apply(*args: Any, method: str) -> Any:
        with nn.intercept_methods(intercept):
            return model.apply(params, *args, method=method)

    return apply


def _multiply_packed(x: jax.Array, packed: jax.Array, features: int) -> jax.Array:
    """Multiplies [M, K] by a packed kernel [K, N]. Returns float32 [M, N]."""
    return kernels.multiply(x, packed)[:, :features]


def _transpose(kernel: jax.Array) -> jax.Array:
    """Transposes [K, N] to [N, K]."""
    # Without the barriers here and below XLA turns the products back into those to avoid.
    return jax.lax.optimization_barrier(kernel.T)


def _multiply_transposed(x: jax.Array, kernel: jax.Array, features: int) -> jax.Array:
    """Multiplies [M, K] by a kernel [N, K]. Returns [M, N]."""
    return jax.lax.optimization_barrier(kernel.astype(x.dtype) @ x.T).T
