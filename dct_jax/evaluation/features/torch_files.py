"""PyTorch's files of named tensors -> arrays, without PyTorch and without the file's own code.

There are two formats. Since 1.6 a file is a zip archive: data.pkl refers to the entries data/KEY,
which hold the numbers. Before, it was a sequence of pickles (a magic number, a version, the
writer's sizes, the tensors, the list of keys), and then the numbers of each key.
"""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dct_jax.evaluation.features.restricted_pickle import Keyed, Named, Unpickler, reason

ZIP_START = b"PK\x03\x04"
SEQUENCE_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number 0x1950a86a20f9469cfc6c as a pickle
_VERSION = 1001
_MAX_PICKLE = 16 << 20  # bytes; names and shapes of an Inception take 0.1 MB
_TYPES = {"Float": "<f4", "Half": "<f2", "Double": "<f8", "Long": "<i8"}


class Storage(NamedTuple):
    """A row of numbers somewhere in the file."""

    dtype: np.dtype
    key: str
    length: int

    @property
    def bytes(self) -> int:
        """What it takes in the file."""
        return self.length * self.dtype.itemsize


class Tensor(NamedTuple):
    """A part of a storage, row by row."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]


def read_torch(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file in either format, read-only views of its bytes where possible.

    Args:
        data: the file, which begins with ZIP_START or SEQUENCE_START.

    Raises:
        ValueError: if it is damaged, or holds other types than float16, float32, float64, int64.
    """
    try:
        return _read_zip(data) if data.startswith(ZIP_START) else _read_sequence(data)
    # Damaged pickles and archives raise nearly anything, IndexError and struct.error among it.
    except Exception as error:
        raise ValueError(f"this is no PyTorch file of tensors ({reason(error)})") from None


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("an entry is compressed; PyTorch writes none that is")
        if sum(entry.file_size for entry in entries.values()) > len(data):
            raise ValueError("its entries overlap")
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1 or entries[pickles[0]].file_size > _MAX_PICKLE:
            raise ValueError(f"it has {len(pickles)} entries named data.pkl; it must have one, of at most {_MAX_PICKLE} bytes")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
        tensors = Unpickler(io.BytesIO(archive.read(pickles[0])), _names(), _storage).load()

        def numbers(storage: Storage) -> bytes:
            entry = entries[f"{root}data/{storage.key}"]
            if entry.file_size != storage.bytes:
                raise ValueError(f"storage {storage.key[:80]} has {entry.file_size} bytes; it must have {storage.bytes}")
            return archive.read(entry)

        return _arrays(tensors, numbers)


def _read_sequence(data: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(data)
    file.seek(len(SEQUENCE_START))
    version, system = (Unpickler(file, {}).load() for _ in range(2))
    if version != _VERSION or system.get("little_endian") is not True:
        raise ValueError(f"it is not of version {_VERSION}, or big-endian")
    storages: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage:
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("a storage is a part of another one; save the tensors' copies")
        new = _storage(pid)
        if storages.setdefault(new.key, new) != new:
            raise ValueError(f"storage {new.key[:80]} is there twice")
        return new

    tensors = Unpickler(file, _names(), storage).load()
    keys = Unpickler(file, {}).load()
    places: dict[str, int] = {}
    at = file.tell()
    for key in keys:
        if not isinstance(key, str):
            raise ValueError("a storage's key is no text")
        length = int.from_bytes(data[at : at + 8], "little")
        if length != storages[key].length or at + 8 + storages[key].bytes > len(data):
            raise ValueError(
                f"storage {key[:80]} is cut short, or has not the {storages[key].length} numbers that it should have"
            )
        places[key] = at + 8
        at += 8 + storages[key].bytes
    return _arrays(tensors, lambda storage: memoryview(data)[places[storage.key] :][: storage.bytes])


def _storage(pid: Any) -> Storage:
    """From what a pickle says of a storage: ("storage", type, key, device, length)."""
    kind, dtype, key, _, length = pid[:5]
    if kind != "storage" or type(dtype) is not str or type(key) is not str or type(length) is not int or length < 0:
        raise ValueError("it describes a storage wrongly")
    return Storage(np.dtype(dtype), key, length)


def _names() -> dict[Named, Any]:
    """What stands for the names in a file of tensors."""

    class Ordered(Keyed):
        def __setstate__(self, _: Any) -> None:  # PyTorch hangs the versions of modules on its dictionaries
            pass

    def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
            raise ValueError("it describes a tensor wrongly")
        contiguous = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        if any(n > 1 and stride != wanted for n, stride, wanted in zip(shape, strides, contiguous)):
            raise ValueError("a tensor does not lie in its storage row by row; save contiguous ones")
        if offset + math.prod(shape) > storage.length:
            raise ValueError(f"a tensor of {list(shape)} does not fit into its storage of {storage.length} numbers")
        return Tensor(storage, offset, tuple(shape))

    def parameter(kept: Any, *_: Any) -> Any:
        return kept

    return {
        ("collections", "OrderedDict"): Ordered,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
    } | {("torch", f"{name}Storage"): dtype for name, dtype in _TYPES.items()}


def _arrays(tensors: Any, numbers: Callable[[Storage], Any]) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise ValueError("it holds no dictionary of tensors; save a state_dict")
    rows: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name[:80]} is no tensor; save a state_dict")
        storage = tensor.storage
        if storage.key not in rows:
            rows[storage.key] = np.frombuffer(numbers(storage), storage.dtype) if storage.length else np.empty(0, storage.dtype)
        part = rows[storage.key][tensor.offset : tensor.offset + math.prod(tensor.shape)]
        arrays[name] = part.reshape(tensor.shape)
    return arrays
