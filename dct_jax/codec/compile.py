"""How the codec's inner loops become machine code."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles a function at its first call, and keeps the machine code beside the source for the
    next process. It runs without the interpreter's lock, so threads of a data pipeline work side by
    side. Indices are not checked: check before the call. The kept code is renewed when its own file
    changes, and no other: a compiled function may call those of its own file only."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(_Function, numba.njit(function, cache=True, **options))
    except RuntimeError:  # Numba finds no folder that it may write to, so every process compiles anew
        return cast(_Function, numba.njit(function, **options))
