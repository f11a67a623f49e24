"""Safetensors files -> arrays, by the library of that name."""

import numpy as np
import safetensors

from dct_jax.storage.restricted_pickle import reason

_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file, read-only.

    Raises:
        ValueError: if it is damaged, or has other types than float16, float32, float64 and int64.
    """
    try:
        arrays = {}
        for name, entry in safetensors.deserialize(data):
            if entry["dtype"] not in _TYPES:
                raise ValueError(f"{name[:80]} is of a type other than {', '.join(_TYPES)}")
            arrays[name] = np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        return arrays
    # The library has an error of its own, and NumPy one for more than 64 dimensions.
    except Exception as error:
        raise ValueError(f"this is no safetensors file ({reason(error)})") from None
