"""Pickled dictionaries of NumPy arrays -> arrays, without calling anything that the file names."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from dct_jax.storage.files import read_limited
from dct_jax.storage.restricted_pickle import Named, Unpickler, reason

_MOST_NAMES, _MOST_LEVELS = 1000, 8
_TYPES = {f"{order}{kind}": np.dtype(f"<{kind}") for order in ("", "<") for kind in ("f2", "f4", "f8", "i8")}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of nested dictionaries, under names like "AlexNet_0/Conv_0/kernel".

    Raises:
        ValueError: if the file is missing, damaged, or holds anything else; the message names it.
    """
    data = read_limited(path)
    try:
        return _arrays(_flatten(Unpickler(io.BytesIO(data), _names()).load()))
    # A damaged pickle raises nearly anything, IndexError and struct.error among it.
    except Exception as error:
        raise ValueError(f"{path}: this is no file of NumPy arrays ({reason(error)})") from None


def _names() -> dict[Named, Any]:
    """What stands for the names in NumPy's pickles: classes that keep what they are told."""

    class Array:
        def __init__(self, *_: Any) -> None:
            self.state: Any = None

        def __setstate__(self, state: Any) -> None:
            self.state = state

    class DType(Array):
        def __init__(self, kind: Any, *_: Any) -> None:
            self.kind = kind

        def __setstate__(self, state: Any) -> None:
            self.kind = state[1] + self.kind if state[1] in ("<", ">") else self.kind

    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return {(m, "_reconstruct"): Array for m in modules} | {("numpy", "ndarray"): None, ("numpy", "dtype"): DType}


def _flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of nested dictionaries by their paths."""
    if not isinstance(tree, dict):
        return {"": tree}
    flat: dict[str, Any] = {}
    waiting, seen = [("", 0, tree)], 0
    while waiting:
        prefix, level, branch = waiting.pop()
        for name, one in branch.items():
            if not isinstance(name, str) or level > _MOST_LEVELS:
                raise ValueError("it has other names than text, or too many levels")
            if (seen := seen + 1) > _MOST_NAMES:  # a dictionary can stand in many places of a small file
                raise ValueError(f"it has more than {_MOST_NAMES} names")
            path = f"{prefix}/{name}" if prefix else name
            if isinstance(one, dict):
                waiting.append((path, level + 1, one))
            else:
                flat[path] = one
    return flat


def _arrays(kept: dict[str, Any]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, leaf in kept.items():
        _, shape, dtype, in_columns, data = leaf.state
        kind = _TYPES.get(dtype.kind) if isinstance(dtype.kind, str) else None
        if kind is None or in_columns is not False or type(data) is not bytes:
            raise ValueError(f"{name[:80]} is not a little-endian array of float16, float32, float64 or int64, row by row")
        arrays[name] = np.frombuffer(data, kind).reshape([int(n) for n in shape])  # which checks the number of bytes
    return arrays
