"""The dense layers of a sampler's steps, which have one row a list (two with guidance).

XLA's CPU backend copies the second matrix of a product into panels before it multiplies, which is most of the work when the
first has few rows. So a loop gets the layers' kernels transposed, once, and multiplies (W^T x^T)^T: then W is the first matrix,
is read once, where it lies, and only the rows are copied.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from flax.linen.module import InterceptorContext


def apply_to_few_rows(model: nn.Module, params: Any) -> Callable[..., Any]:
    """`model.apply` with these parameters, for the body of a loop: call this before the loop, what it returns in it.

    On accelerators the layers stay as they are.
    """
    if jax.default_backend() != "cpu":
        return partial(model.apply, params)
    transposed = jax.tree_util.tree_map_with_path(_transposed, params)

    def apply(*args: Any, method: str) -> Any:
        with nn.intercept_methods(_multiply_from_the_left):
            return model.apply(transposed, *args, method=method)

    return apply


def _transposed(path: Any, leaf: jax.Array) -> jax.Array:
    """Kernels [K, N] -> [N, K]; the rest as it is. What the loop does not use, XLA leaves out."""
    is_kernel = jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel")
    # Without the barriers here and below XLA turns the products back into those that it is told to avoid.
    return jax.lax.optimization_barrier(leaf.T) if is_kernel else leaf


def _multiply_from_the_left(
    layer: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: InterceptorContext
) -> Any:
    """In place of a dense layer: [..., K] -> [..., N], with a kernel [N, K]."""
    dense = context.module
    if not isinstance(dense, nn.Dense):
        return layer(*args, **kwargs)
    weights = dense.variables["params"]
    x, kernel, bias = dense.promote_dtype(args[0], weights["kernel"], weights.get("bias"), dtype=dense.dtype)
    columns = jax.lax.optimization_barrier(kernel @ x.reshape(-1, x.shape[-1]).T)  # [N, ...]
    y = columns.T.reshape(*x.shape[:-1], -1)  # [..., N]
    return y if bias is None else y + bias
