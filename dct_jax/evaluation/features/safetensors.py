"""Safetensors files -> arrays. The format: the length of a header, the header in JSON, the numbers."""

import json
import math
from typing import Any

import numpy as np

from dct_jax.evaluation.features.restricted_pickle import reason

_MAX_HEADER = 16 << 20  # bytes
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file, read-only views of its bytes.

    Raises:
        ValueError: if it is damaged, or has other types than float16, float32, float64 and int64.
    """
    try:
        return _read(data)
    # json raises RecursionError, and what has not the expected type AttributeError, TypeError and so on.
    except Exception as error:
        raise ValueError(f"this is no safetensors file ({reason(error)})") from None


def _read(data: bytes) -> dict[str, np.ndarray]:
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER, len(data) - 8):
        raise ValueError(f"its header would have {length} bytes; it can have at most {max(0, min(_MAX_HEADER, len(data) - 8))}")
    header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_once)
    header.pop("__metadata__", None)
    numbers = memoryview(data)[8 + length :]
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (start, stop) = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{name[:80]} is of a type other than {', '.join(_TYPES)}")
        if any(type(n) is not int or n < 0 for n in (*shape, start, stop)):
            raise ValueError(f"the shape or place of {name[:80]} is not made of whole numbers")
        dtype = np.dtype(_TYPES[entry["dtype"]])
        if start != end or stop - start != math.prod(shape) * dtype.itemsize or stop > len(numbers):
            raise ValueError(
                f"{name[:80]} lies at {start} to {stop} of {len(numbers)} bytes, which is not the place of {shape}"
            )
        arrays[name] = np.frombuffer(numbers[start:stop], dtype).reshape(shape)
        end = stop
    if end != len(numbers):
        raise ValueError(f"{len(numbers) - end} bytes belong to no array")
    return arrays


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
