"""PyTorch's files of tensors -> arrays, without PyTorch and without the file's own code.

There are two formats. Since 1.6 a file is a zip archive: data.pkl refers to the entries data/KEY,
which hold the numbers. Before, it was a sequence of pickles (a magic number, a version, the
writer's sizes, the content, the list of keys), and then the numbers of each key.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from dct_jax.storage.restricted_pickle import NOTHING, Leaky, LenientUnpickler, Named, Unpickler, reason

ZIP_START = b"PK\x03\x04"
SEQUENCE_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number 0x1950a86a20f9469cfc6c as a pickle
_VERSION = 1001
_MAX_PICKLE = 16 << 20  # bytes; names and shapes of an Inception take 0.1 MB
_MAX_AXES = 8
_DTYPES = {"Float": "<f4", "Half": "<f2", "Double": "<f8", "BFloat16": ml_dtypes.bfloat16}
_DTYPES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}


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
    """Numbers of a storage.

    Attributes:
        storage: where they are.
        offset: of the first one.
        shape: of the array.
        strides: how far a step along each axis goes, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile(NamedTuple):
    """An open file.

    Attributes:
        content: numbers, texts, tuples, lists, dictionaries and tensors, and NOTHING in place of
            all else, whatever classes the file names.
        read: returns the bytes of a storage.
    """

    content: Any
    read: Callable[[Storage], bytes]

    def array(self, tensor: Tensor) -> np.ndarray:
        """Reads the numbers of a tensor; the array cannot be written.

        Raises:
            ValueError: if they are damaged.
        """
        with _one_line():
            storage = tensor.storage
            row = np.frombuffer(self.read(storage), storage.dtype) if storage.length else np.empty(0, storage.dtype)
            strides = [stride * row.itemsize for stride in tensor.strides]
            return np.lib.stride_tricks.as_strided(row[tensor.offset :], tensor.shape, strides, writeable=False)


@contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """Opens a file of any size; only the arrays that are asked for are read. The file's path is put
    before the message of a ValueError that is raised while it is open.

    Raises:
        ValueError: if it cannot be read, or is no file of PyTorch's; the message names it.
    """
    try:
        with path.open("rb") as file:
            with _one_line():
                opened = _open(file)
            yield opened
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: this file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_torch(data: bytes) -> dict[str, np.ndarray]:
    """Reads a file that is a dictionary of tensors.

    Args:
        data: the file, which begins with ZIP_START or SEQUENCE_START.

    Raises:
        ValueError: if it is damaged, or holds anything else.
    """
    with _one_line():
        opened = _open(io.BytesIO(data))
        return {name: opened.array(tensor) for name, tensor in named_tensors(opened.content).items()}


def named_tensors(content: Any) -> dict[str, Tensor]:
    """Returns a part of a file's content, if it is a dictionary of tensors.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError("it holds no dictionary of tensors; save a state_dict")
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name[:80]} is no tensor; save a state_dict")
    return content


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns any error into one line: damaged pickles and archives raise nearly anything, IndexError
    and struct.error among it."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"this is no PyTorch file of tensors ({reason(error)})") from None


def _open(file: BinaryIO) -> TorchFile:
    start = file.read(len(SEQUENCE_START))
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if start.startswith(ZIP_START):
        return _open_zip(zipfile.ZipFile(file), size)
    if start == SEQUENCE_START:
        return _open_sequence(file, size)
    raise ValueError("it begins neither as a zip archive nor with the magic number of older files")


def _open_zip(archive: zipfile.ZipFile, size: int) -> TorchFile:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("an entry is compressed; PyTorch writes none that is")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise ValueError("its entries overlap")
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1 or entries[pickles[0]].file_size > _MAX_PICKLE:
        raise ValueError(f"it has {len(pickles)} entries named data.pkl; it must have one, of at most {_MAX_PICKLE} bytes")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")

    def read(storage: Storage) -> bytes:
        entry = entries[f"{root}data/{storage.key}"]
        if entry.file_size != storage.bytes:
            raise ValueError(f"storage {storage.key[:80]} has {entry.file_size} bytes; it must have {storage.bytes}")
        return archive.read(entry)

    return TorchFile(LenientUnpickler(io.BytesIO(archive.read(pickles[0])), _names(), _storage).load(), read)


def _open_sequence(file: BinaryIO, size: int) -> TorchFile:
    head = io.BytesIO(file.read(_MAX_PICKLE))
    head.seek(len(SEQUENCE_START))
    version, system = (Unpickler(head, {}).load() for _ in range(2))
    if version != _VERSION or system.get("little_endian") is not True:
        raise ValueError(f"it is not of version {_VERSION}, or big-endian")
    storages: dict[str, Storage] = {}

    def storage(pid: Any) -> Any:
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("a storage is a part of another one; save the tensors' copies")
        new = _storage(pid)
        if new is not NOTHING and storages.setdefault(new.key, new) != new:
            raise ValueError(f"storage {new.key[:80]} is there twice")
        return new

    content = LenientUnpickler(head, _names(), storage).load()
    keys = Unpickler(head, {}).load()
    places: dict[str, int] = {}
    at = head.tell()
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise ValueError("a storage's key is none that is known")
        file.seek(at)
        length = int.from_bytes(file.read(8), "little")
        if length != storages[key].length or at + 8 + storages[key].bytes > size:
            raise ValueError(
                f"storage {key[:80]} is cut short, or has not the {storages[key].length} numbers that it should have"
            )
        places[key] = at + 8
        at += 8 + storages[key].bytes

    def read(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.bytes)

    return TorchFile(content, read)


def _storage(pid: Any) -> Any:
    """From what a pickle says of a storage: ("storage", type, key, device, length)."""
    kind, dtype = pid[:2]
    if kind == "module" or dtype is NOTHING:  # a network's source, or complex numbers and the like
        return NOTHING
    kind, dtype, key, _, length = pid[:5]
    if kind != "storage" or not isinstance(dtype, _Type) or type(key) is not str or type(length) is not int or length < 0:
        raise ValueError("it describes a storage wrongly")
    return Storage(dtype.dtype, key, length)


class _Type(NamedTuple):
    """Stands for the class of a storage."""

    dtype: np.dtype


def _names() -> dict[Named, Any]:
    """Returns what stands for the names of what is kept, anew for each file."""

    class Ordered(Leaky):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__()

        def __setstate__(self, _: Any) -> None:  # PyTorch hangs the versions of modules on its dictionaries
            pass

    def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
        if storage is NOTHING:
            return NOTHING
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
            raise ValueError("it describes a tensor wrongly")
        if len(shape) > _MAX_AXES:
            raise ValueError(f"a tensor has {len(shape)} axes; it may have at most {_MAX_AXES}")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
        if math.prod(shape) > storage.length or (0 not in shape and last >= storage.length):
            raise ValueError(f"a tensor of {list(shape)} does not fit into its storage of {storage.length} numbers")
        # Where an axis has one place, its stride may be any number.
        return Tensor(storage, offset, tuple(shape), tuple(stride if n > 1 else 0 for n, stride in zip(shape, strides)))

    def parameter(kept: Any, *_: Any) -> Any:
        return kept

    return {
        ("collections", "OrderedDict"): Ordered,
        ("torch._utils", "_rebuild_tensor"): tensor,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): parameter,
    } | {("torch", f"{name}Storage"): _Type(np.dtype(dtype)) for name, dtype in _DTYPES.items()}
