"""The types in which the network computes: activations, and the operands of matrix products.

Some CPUs have units that multiply bfloat16 two to seven times faster than float32, and add up in
float32. XLA's CPU backend reaches them (JAX 0.10 to 0.12) if the operands are bfloat16, the result
is float32, and both matrices lie as the product reads them: [M, K] by [K, N] or [N, K]. Other
products become float32 ones. Products that its simplifier turns round only after that decision fail
when they run. So each product takes place in the branch of a condition, into which the simplifier
does not look. The gradient of a kernel, which sums over the rows of both matrices, gets a
transposed copy, which is made in a branch, too.

In JAX's 64-bit mode a network can be float64 altogether. Compression needs it: machines that order
sums in different ways agree to 13 digits then, and not to five.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.initial import Initializer, fan_in, normal
from dct_jax.nn.modules import SymbolHead

FLOAT32, BFLOAT16, FLOAT64 = jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float64)


@dataclass(frozen=True)
class Precision:
    """The types of a layer.

    Attributes:
        activations: what goes from layer to layer. Parameters, softmax and loss are `sums`.
        operands: the type of the operands of matrix products, whose sums are `sums`: bfloat16, or
            that of the activations.
    """

    activations: jnp.dtype
    operands: jnp.dtype

    def dense(self, features: int, use_bias: bool = True, kernel_init: Initializer = fan_in) -> nn.Dense:
        """Returns a dense layer of these types."""
        return nn.Dense(features, use_bias, self.activations, kernel_init=kernel_init, dot_general=self._product)

    def head(self, symbols: int) -> SymbolHead:
        """Returns a layer from the stream to the logits of so many symbols, of the type of sums."""
        precision = Precision(self.sums, self.operands)
        return SymbolHead(symbols, dtype=self.sums, kernel_init=normal(0.02), dot_general=precision._product)

    @property
    def sums(self) -> jnp.dtype:
        """Returns the type of sums: float64 in a network that is float64 altogether, else
        float32."""
        return sums_of(self.activations)

    @property
    def _product(self) -> Callable[..., jax.Array] | None:
        return None if self.operands == self.activations else _dense_product


def precision_of(dtype: str, products: str) -> Precision:
    """Returns what a configuration's `dtype` and `products` mean on this machine: without units for
    bfloat16, operands have the type of the activations.

    Raises:
        ValueError: if the dtype is float64 outside JAX's 64-bit mode, which would compute in
            float32.
    """
    activations = jnp.dtype(dtype)
    if activations != jax.dtypes.canonicalize_dtype(activations):
        raise ValueError("the dtype is float64, and JAX computes in 32 bits here; set JAX_ENABLE_X64=1")
    return Precision(activations, BFLOAT16 if products == "bfloat16" and has_bfloat16_units() else activations)


@functools.cache
def has_bfloat16_units() -> bool:
    """Tells whether this machine multiplies bfloat16 faster than float32: x86 processors with
    AMX-BF16 or AVX512-BF16, TPUs, NVIDIA GPUs since Ampere do. AMD's GPUs count as without."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        cpuinfo = Path("/proc/cpuinfo")
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
        return bool(flags and {"amx_bf16", "avx512_bf16"} & set(flags[1].split()))
    return device.platform == "tpu" or is_ampere(device)


def is_ampere(device: jax.Device) -> bool:
    """Tells whether a device is an NVIDIA GPU since Ampere. Only NVIDIA's compute capability is a
    number; AMD's is a name, "gfx942"."""
    return device.device_kind.startswith("NVIDIA") and float(device.compute_capability) >= 8


def sums_of(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the type in which products of a type are added up."""
    return FLOAT64 if dtype == FLOAT64 else FLOAT32


def product(form: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes an einsum that adds up in float32, and has a float32 result; float64 stays float64.

    Off CPUs a gets b's type, as b may be a cache: a copy of all of it, in float32, would cost more
    than the product. For bfloat16 its form must be that of a plain matrix product: a sum over a's
    last axis, and b's last one or its first after the batch."""
    sums = sums_of(a.dtype)
    if jax.default_backend() != "cpu":
        return jnp.einsum(form, a.astype(b.dtype), b, preferred_element_type=sums)
    if a.dtype == b.dtype == BFLOAT16 and has_bfloat16_units():
        return _box(lambda a, b: jnp.einsum(form, a, b, preferred_element_type=jnp.float32), a, b)
    # XLA's CPU backend has no products of some bfloat16 matrices, and is no faster with them.
    return jnp.einsum(form, a.astype(sums), b.astype(sums))


def _dense_product(x: jax.Array, kernel: jax.Array, dimensions: Any, precision: Any = None, **_: Any) -> jax.Array:
    """Replaces lax.dot_general in a dense layer: [..., K] by [K, N] gives [..., N]."""
    return _mixed_product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _mixed_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies float32 [M, K] by [K, N], with bfloat16 operands forward and backward."""
    return _mixed_forward(x, kernel)[0]


def _mixed_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x, kernel = x.astype(BFLOAT16), kernel.astype(BFLOAT16)
    return product("MK,KN->MN", x, kernel), (x, kernel)


def _mixed_backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    gradient = gradient.astype(BFLOAT16)
    return product("MN,KN->MK", gradient, kernel), transposed_product(x, gradient)


_mixed_product.defvjp(_mixed_forward, _mixed_backward)


def transposed_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a^T b, float32 [K, N], of [M, K] and [M, N]."""
    if jax.default_backend() != "cpu" or a.dtype != BFLOAT16:
        return product("MK,MN->KN", a, b)
    # The narrower matrix is cheaper to transpose, and then the result.
    if a.shape[1] <= b.shape[1]:
        return product("KM,MN->KN", _transpose(a), b)
    return product("NM,MK->NK", _transpose(b), a).T


@jax.custom_vjp
def product_with_constants(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a b, float32 [M, N], of [M, K] and [K, N], in b's type; b has no gradient."""
    return product("MK,KN->MN", a.astype(b.dtype), b)


product_with_constants.defvjp(
    lambda a, b: (product_with_constants(a, b), b),
    lambda b, gradient: (product("MN,KN->MK", gradient.astype(b.dtype), b), None),
)


def _transpose(x: jax.Array) -> jax.Array:
    """Makes a copy that lies as the transposed matrix."""
    return _box(lambda x: jax.lax.optimization_barrier(x.T), x)


def _box(compute: Callable[..., jax.Array], *operands: jax.Array) -> jax.Array:
    """Returns compute(*operands), in a branch that is taken unless the first number is NaN."""
    shape = jax.eval_shape(compute, *operands)
    first = operands[0][(0,) * operands[0].ndim]
    return jax.lax.cond(first == first, compute, lambda *_: jnp.full(shape.shape, jnp.nan, shape.dtype), *operands)
