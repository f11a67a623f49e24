"""Pictures in an uncompressed tar file, read where they lie."""

import functools
import os
import re
import shlex
import tarfile
import threading
import weakref
from array import array
from collections import Counter
from pathlib import Path
from posixpath import normpath, splitext
from typing import Any

import numpy as np

from dct_jax.data.formats import FORMATS, SUFFIXES
from dct_jax.data.sources.record import NO_LABEL, Record
from dct_jax.storage.files import LARGEST_FILE

# How a file of each kind starts, and what unpacks it.
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\x00": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}

LARGEST_HEADER = 2**20
"""Bytes of what stands before a member's header, such as its name if that is long."""
_BEFORE_HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)


class TarSource:
    """The image files in a tar file, in the order of their names, without hidden ones and symbolic
    links.

    The file is gone through once, for where its members lie; after that each record is one read.
    What a source keeps, and pickles, is the bytes of the names and 28 more for each image.

    Attributes:
        name, classes: as of any Source; the class of a file is the first folder on its way.
        path: the tar file.
        others: how many files of each other suffix are in it.
    """

    def __init__(self, path: Path, split: str = "") -> None:
        """Finds the pictures in a tar file, or in the one of its folders that `split` names.

        Raises:
            ValueError: if there is no such file, folder or image, or if the file is compressed,
                damaged or no tar file.
        """
        self.name = f"tar:{path}{split and f' ({split})'}"
        self.path = path
        members, offsets, sizes, self.others = _index(path)
        folder = normpath(split) + "/" if split else ""
        chosen = [i for i, member in enumerate(members) if member.startswith(folder)]
        if not members:
            raise ValueError(f"{self.name}: no image file in that tar file ({', '.join(FORMATS)})")
        if not chosen:
            known = ", ".join(sorted({member.split("/")[0] for member in members if "/" in member})) or "no folders at all"
            raise ValueError(f"{self.name}: there is no folder {split!r} with images (data.split); there are {known}")
        # Folder by folder, as paths are sorted; of several members of one name the last one counts,
        # as for tar itself.
        chosen.sort(key=lambda i: members[i].replace("/", "\0"))
        chosen = [i for i, after in zip(chosen, [*chosen[1:], None]) if after is None or members[i] != members[after]]

        names = [members[i].encode(errors="surrogateescape") for i in chosen]
        self._names = b"".join(names)
        self._ends = np.cumsum([0, *map(len, names)], dtype=np.int64)  # [N + 1]; name i is _names[_ends[i] : _ends[i + 1]]
        self._offsets = np.frombuffer(offsets, np.int64)[chosen]  # [N]
        self._sizes = np.frombuffer(sizes, np.int64)[chosen]  # [N]
        folders = [members[i].removeprefix(folder).rpartition("/")[0].split("/")[0] for i in chosen]
        self.classes = tuple(sorted(set(folders) - {""}))
        labels = {"": NO_LABEL} | {name: label for label, name in enumerate(self.classes)}
        self._labels = np.array([labels[name] for name in folders], np.int32)  # [N]
        self._file: int | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the file cannot be read or is too large."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: there is no record {index} of {len(self)}")
        offset, size, label = int(self._offsets[index]), int(self._sizes[index]), int(self._labels[index])
        member = self._names[self._ends[index] : self._ends[index + 1]].decode(errors="surrogateescape")
        key = f"{self.path}/{member}"
        if size > LARGEST_FILE:
            raise ValueError(f"{key}: this file has more than {LARGEST_FILE >> 20} MiB, which is too much")
        try:
            image = os.pread(self._descriptor(), size, offset)  # unlike seek and read, safe from several threads
        except OSError as error:
            raise ValueError(f"{key}: this file cannot be read ({error.strerror})") from None
        if len(image) < size:
            raise ValueError(f"{key}: this file cannot be read (the tar file has become shorter since it was opened)")
        return Record(image, label, key)

    def _descriptor(self) -> int:
        with self._lock:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY)
                weakref.finalize(self, os.close, self._file)
            return self._file

    def __getstate__(self) -> dict[str, Any]:
        """Neither locks nor open files go from one process to another."""
        return {name: value for name, value in vars(self).items() if name not in ("_file", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _file=None, _lock=threading.Lock())


class _Header(tarfile.TarInfo):
    """Refuses headers that are made to do harm, or that tarfile cannot make sense of."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Raises tarfile's errors alone."""
        if self.type in _BEFORE_HEADERS and not 0 <= self.size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes at byte {self.offset}; at most {LARGEST_HEADER} are read")
        try:
            return super()._proc_member(tar)  # type: ignore[misc]
        except ValueError as error:
            raise tarfile.ReadError(f"a header without sense at byte {self.offset}: {error}") from None

    def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Refuses an extended header of digits alone: until Python 3.12.6, tarfile looks for the
        end of the number from each of them on, which takes minutes for a megabyte."""
        at = tar.fileobj.tell()
        if re.search(rb"\d{256}", tar.fileobj.read(self.size)):
            raise tarfile.ReadError(f"a header without sense before byte {tar.offset}")
        tar.fileobj.seek(at)
        return super()._proc_pax(tar)  # type: ignore[misc]


def _index(path: Path) -> tuple[list[str], array, array, Counter[str]]:
    """Returns the names of the image files in a tar file, in the order in which they lie, their
    offsets and sizes in bytes, and how many files of other suffixes there are."""
    try:
        stat = path.stat()
        names, offsets, sizes, others = _read_index(path, (stat.st_size, stat.st_mtime_ns))
    except FileNotFoundError:
        raise ValueError(f"tar:{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"tar:{path}: this file cannot be read ({error.strerror})") from None
    return names.split("\0") if names else [], offsets, sizes, others


@functools.lru_cache(maxsize=1)  # one or two minutes for a million members, and one split is often opened after another
def _read_index(path: Path, state: tuple[int, int]) -> tuple[str, array, array, Counter[str]]:
    """Reads as `_index`, with NUL between the names. A file that has changed has another state, its
    size and time, and is read anew."""
    names: list[str] = []
    others: Counter[str] = Counter()
    offsets, sizes = array("q"), array("q")
    links: list[tuple[str, str]] = []  # tar writes other names of a file as links to the first one, which has the data
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
            for member in iter(tar.next, None):
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all that it knows of each
                if member.size < 0 or "\0" in member.name:
                    raise tarfile.ReadError(f"a header without sense before byte {tar.offset}")
                name = normpath(member.name).lstrip("/")
                hidden = any(part.startswith(".") for part in name.split("/"))
                if not (member.isreg() or member.islnk()) or member.issparse() or hidden:
                    continue
                if splitext(name)[1].lower() not in SUFFIXES:
                    others[splitext(name)[1]] += 1
                elif member.islnk():
                    links.append((name, normpath(member.linkname).lstrip("/")))
                else:
                    names.append(name)
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
            # tarfile stops without a word at a damaged header, and where a file was cut off.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise ValueError(f"tar:{path}: this tar file is damaged or cut off at byte {tar.offset}; make it anew")
            places = {name: place for place, name in enumerate(names)} if links else {}
            for name, target in links:
                if target in places:
                    names.append(name)
                    offsets.append(offsets[places[target]])
                    sizes.append(sizes[places[target]])
                else:  # it is no picture by its name, or hidden
                    others[splitext(name)[1]] += 1
    # Harmful headers let tarfile overflow, recurse without end, or ask for all memory.
    except (tarfile.TarError, OverflowError, RecursionError, MemoryError) as error:
        with path.open("rb") as file:
            start = file.read(8)
        for magic, unpack in _COMPRESSED.items():
            if start.startswith(magic):
                raise ValueError(
                    f"tar:{path}: this file is compressed, and only an uncompressed tar file can be read at any place; "
                    f"unpack it first: `{unpack} --keep {shlex.quote(str(path))}`"
                ) from None
        raise ValueError(f"tar:{path}: this is no tar file, or it is damaged or cut off ({error})") from None
    return "\0".join(names), offsets, sizes, others
