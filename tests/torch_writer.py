"""Writes PyTorch's files without PyTorch: pickles of protocol 2, piece by piece, and numbers."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from dct_jax.storage.torch_files import SEQUENCE_START

STORAGES = {"<f4": "Float", "<f2": "Half", "<f8": "Double", "<i8": "Long", "bfloat16": "BFloat16"}


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def pair(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(storage: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sizes = (pair(*map(number, numbers)) for numbers in (shape, strides))
    return name("torch._utils", "_rebuild_tensor_v2") + pair(storage, number(offset), *sizes, b"\x89", ORDERED) + b"R"


def storage(key: str, dtype: str, length: int, old: bool) -> bytes:
    parts = text("storage"), name("torch", f"{STORAGES.get(dtype, dtype)}Storage"), text(key), text("cpu"), number(length)
    return pair(*parts, *([b"N"] if old else [])) + b"Q"


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    """With the versions of modules that PyTorch sets as an attribute."""
    items = b"".join(text(key) + value for key, value in tensors.items())
    return b"\x80\x02" + ORDERED + b"(" + items + b"u}(" + text("_metadata") + ORDERED + b"ub."


def zip_file(pickled: bytes, data: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, numbers in data.items():
            archive.writestr(f"archive/data/{key}", numbers)
    return file.getvalue()


def sequence_file(pickled: bytes, data: Mapping[str, tuple[int, bytes]]) -> bytes:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = SEQUENCE_START + pickle.dumps(1001, 2) + pickle.dumps(system, 2) + pickled + pickle.dumps(list(data), 2)
    return start + b"".join(struct.pack("<q", length) + numbers for length, numbers in data.values())


def described(arrays: Mapping[str, np.ndarray], old: bool) -> dict[str, bytes]:
    """The pickles of arrays whose storages are 0, 1 and so on."""

    def one(key: int, array: np.ndarray) -> bytes:
        strides = tuple(stride // array.itemsize for stride in array.strides)
        dtype = array.dtype.str if array.dtype.str in STORAGES else array.dtype.name
        return tensor(storage(str(key), dtype, array.size, old), array.shape, strides)

    return {name: one(key, array) for key, (name, array) in enumerate(arrays.items())}


def torch_file(arrays: Mapping[str, np.ndarray], old: bool, pickled: bytes | None = None) -> bytes:
    """A file of arrays. `pickled` takes the place of a plain dictionary of them."""
    pickled = pickled or state_dict(described(arrays, old))
    if old:
        return sequence_file(pickled, {str(key): (a.size, a.tobytes("A")) for key, a in enumerate(arrays.values())})
    return zip_file(pickled, {str(key): array.tobytes("A") for key, array in enumerate(arrays.values())})
