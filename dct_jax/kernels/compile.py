"""How the kernels become machine code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

_SOURCES = tuple((path.name, path.stat().st_mtime, path.stat().st_size) for path in sorted(Path(__file__).parent.glob("*.py")))

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # Numba finds no folder that it may write to, so every process compiles anew
        return numba.njit(**options)(function)
    # Numba renews machine code when the function's own file changes. These functions contain what
    # they call from the files beside theirs, offsets in memory among it: so all are renewed when
    # any of the files changes.
    dispatcher._cache._cache_file._source_stamp = _SOURCES
    return dispatcher


def compiled(function: _Function) -> _Function:
    """Compiles a function at its first call, and keeps the machine code for the next process. It
    may call functions of all files here. Indices are not checked: check before the call."""
    return _compile(function)


def compiled_sums(function: _Function) -> _Function:
    """Compiles as `compiled`, but lets sums be taken in another order, by vectors."""
    return _compile(function, fastmath={"reassoc", "contract", "nsz"})
