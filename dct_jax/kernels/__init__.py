"""Loops that XLA's CPU backend has no fast program for, compiled by Numba and called from jitted
programs through JAX's typed foreign function interface. They know arrays, and no models."""

from dct_jax.kernels.attention import attend_memory, attend_window
from dct_jax.kernels.choice import use_kernels, without_kernels
from dct_jax.kernels.few_rows import multiply, pack

__all__ = ["attend_memory", "attend_window", "multiply", "pack", "use_kernels", "without_kernels"]
