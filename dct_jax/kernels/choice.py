"""Whether the kernels are used: on CPUs where Numba can compile them, unless switched off."""

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

from dct_jax.kernels.attention import register_attention
from dct_jax.kernels.few_rows import register_few_rows
from dct_jax.tables import first_line

SWITCH = "DCT_JAX_KERNELS"
"""The environment variable that turns the kernels off with 0."""

_switch = ContextVar("kernels are wanted", default=True)


def use_kernels() -> bool:
    """Returns whether a program that is traced now is to call the kernels."""
    return _switch.get() and jax.default_backend() == "cpu" and _register()


@contextmanager
def without_kernels() -> Iterator[None]:
    """Programs that are traced inside call no kernel, for comparisons. What was compiled before
    stays as it is."""
    token = _switch.set(False)
    try:
        yield
    finally:
        _switch.reset(token)


@functools.cache
def _register() -> bool:
    """Compiles the kernels, once in a process; returns whether that worked."""
    if os.environ.get(SWITCH) == "0":
        logging.getLogger(__name__).warning("%s=0: sampling uses XLA's own programs, which are slower.", SWITCH)
        return False
    try:
        register_attention()
        register_few_rows()
    except Exception as error:
        message = "The kernels for sampling cannot be compiled, so XLA's own programs are used, which are slower: %s"
        logging.getLogger(__name__).warning(message, first_line(error))
        return False
    return True
