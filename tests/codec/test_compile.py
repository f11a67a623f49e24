"""Compiled functions where machine code cannot be kept."""

from collections.abc import Callable

import pytest
from numba.core.caching import CacheImpl

from dct_jax.codec import compile as of_codec
from dct_jax.kernels import compile as of_kernels


@pytest.mark.parametrize("compiled", [of_codec.compiled, of_kernels.compiled, of_kernels.compiled_sums])
def test_functions_are_compiled_where_no_folder_can_be_written(compiled: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import of the codec ended in Numba's error, in a container of another user, say."""
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # of folders that Numba may write to

    @compiled
    def double(x: float) -> float:
        return 2 * x

    assert double(1.5) == 3
