"""How the codec's inner loops become machine code."""

from functools import partial

import numba

compiled = partial(numba.njit, cache=True, nogil=True, error_model="numpy")
"""Compiles a function at its first call, and keeps the machine code beside the source for the next process. It runs without
the interpreter's lock, so threads of a data pipeline work side by side. Indices are not checked: check before the call. The
kept code is renewed when its own file changes, and no other: a compiled function may call those of its own file only."""
