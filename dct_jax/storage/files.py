"""Writing files so that nothing half-written stays behind, and reading those of others."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_FILE = 2**30
"""Bytes that a file from outside may have."""


def read_limited(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """Reads a file from outside, if it is not too large to be what it should be.

    Raises:
        ValueError: if it cannot be read, or has more than `largest` bytes; the message names it.
    """
    try:
        with path.open("rb") as file:
            known = os.fstat(file.fileno()).st_size  # to take no more memory than it needs
            data = file.read(min(known, largest) + 1)
            if known < len(data) <= largest:  # what the file system says of its size need not be so
                data += file.read(largest + 1 - len(data))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: this file cannot be read ({error.strerror})") from None
    if len(data) > largest:
        size = f"{largest >> 20} MiB" if largest >= 2**20 else f"{largest >> 10} KiB"
        raise ValueError(f"{path}: this file has more than {size}, which is too much")
    return data


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`, with its suffix. That file takes the place of `path`
    when the block ends well, and is removed when it does not.

    Raises:
        ValueError: if the folder cannot be written, or no file can have that name there.
        OSError: if the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name may have 255 bytes, and a character has up to 4 of them.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:24]}-", suffix=path.suffix[:24], dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        flush(temporary)  # else a power cut may leave the name with nothing in it
        try:
            os.replace(temporary, path)
        except IsADirectoryError:
            raise ValueError(f"{path} is a folder; name a file") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder, two above a folder that is not there yet, and renames it when the
    block ends well: neither the folder nor the one around it is seen before it is whole.

    Raises:
        ValueError: if that place cannot be written.
        OSError: if the disk is full.
    """
    out = folder.parent.parent
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.parent.name[:24]}-", dir=out))
    except OSError as error:
        raise _unwritable(out, error) from None
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        flush_tree(temporary)
        folder.parent.mkdir(exist_ok=True)
        temporary.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(folder: Path) -> None:
    """Waits until all that is in a folder's tree is on the disk."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def _unwritable(path: Path, error: OSError) -> OSError | ValueError:
    """Returns what to raise if `path` cannot be written; on a full disk no other place helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    return ValueError(f"{path} cannot be written ({error.strerror}); name a place that can be")


def _umask() -> int:
    """Returns what new files and folders do not allow; it cannot be read without being set."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
