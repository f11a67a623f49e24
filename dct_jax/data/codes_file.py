"""Files of codes: what `tokenize` writes of a whole source, and priors and `detokenize` read.

    a line of JSON, filled up with spaces to 4,096 bytes
        format, fingerprint (of the model), codes, shape [N, h, w], dtype, mirrored, source
    N h w codes, little-endian, in raster order, picture after picture

Beside FILE, FILE.keys has a line of JSON for each picture: its key and its label (-1 without one).
If the source's classes have names, a line before these has them, in the order of the labels.
While a file is written, both names end in .partial, and a line of keys is written after its codes:
so the lines tell where to go on.
"""

import codecs
import fcntl
import io
import itertools
import json
import logging
import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dct_jax.data.central_crops import Crop
from dct_jax.storage.files import flush, read_limited, replacing

log = logging.getLogger(__name__)

FORMAT = "dct_jax codes 1"
HEADER_BYTES = 4096
LARGEST = 2**40
"""Codes of a file; more than anybody has."""
LARGEST_LINE = 2**24
"""Bytes of a line of text; the longest one has the classes' names, as many bytes as in a
checkpoint."""


@dataclass(frozen=True)
class CodesHeader:
    """What a file of codes says of itself.

    Attributes:
        fingerprint: `Trained.fingerprint` of the model that made the codes.
        codes: every code is below it: K, or K + 1 where K stands for a hole (see `dq.grains`).
        shape: N, h and w.
        mirrored: whether every second picture is the mirrored one before it.
        source: the name of the source of the pictures.
    """

    fingerprint: str
    codes: int
    shape: tuple[int, int, int]
    mirrored: bool
    source: str

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that has room for the codes."""
        return np.dtype("<u2" if self.codes <= 2**16 else "<u4")

    def to_bytes(self) -> bytes:
        """The file's first bytes. Raises ValueError if the source's name is too long for them."""
        text = json.dumps({"format": FORMAT, "dtype": self.dtype.str} | asdict(self)).encode()
        if len(text) >= HEADER_BYTES:
            raise ValueError(f"the source's name has {len(self.source)} letters, which is too long: {self.source[:80]}...")
        return text.ljust(HEADER_BYTES - 1) + b"\n"

    def map_codes(self, path: Path) -> np.ndarray:
        """Maps the codes of the file with this header from the disk: [N, h, w]."""
        return np.memmap(path, self.dtype, "r", HEADER_BYTES, self.shape)


class CodesFile(NamedTuple):
    """A file of codes.

    Attributes:
        header: of the file.
        codes: [N, h, w], mapped from the disk.
        keys: of the N pictures.
        labels: int32 [N], -1 without one.
        classes: their names, by label; empty if they have none, or if the file is older.
    """

    header: CodesHeader
    codes: np.ndarray
    keys: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


def is_codes_file(path: Path) -> bool:
    """Whether a file begins as a file of codes does; a text of codes does not."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False


def read_text_codes(path: Path) -> np.ndarray:
    """Reads a text with a line of codes for each picture, int64 [N, L].

    Raises:
        ValueError: if it cannot be read, or its lines have other things, or other counts of codes.
    """
    codes, length = array("q"), 0
    text = io.BytesIO(read_limited(path).removeprefix(codecs.BOM_UTF8))
    try:
        for number, line in enumerate(_lines(text), 1):
            row = [int(code) for code in line.split()]
            length = length or len(row)
            if not row or len(row) != length:
                raise ValueError(f"line {number} has {len(row)} codes; all must have as many, and at least one")
            codes.extend(row)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: this is no text of codes ({error})") from None
    if not codes:
        raise ValueError(f"{path}: this text is empty; it must have a line of codes for each picture")
    return np.frombuffer(codes, np.int64).reshape(-1, length)


def read_codes(path: Path) -> CodesFile:
    """Opens a file of codes; the codes stay on the disk.

    Raises:
        ValueError: if it is missing, damaged, or no file of codes.
    """
    try:
        with path.open("rb") as file:
            header = _header(file.read(HEADER_BYTES))
        expected = HEADER_BYTES + header.dtype.itemsize * math.prod(header.shape)
        if path.stat().st_size != expected:
            raise ValueError(f"it has {path.stat().st_size} bytes and must have {expected}")
        keys, numbers, number = [], array("i"), header.shape[0]
        with Path(f"{path}.keys").open("rb") as file:
            classes, lines = _split_keys(file)
            for line in itertools.islice(lines, number + 1):
                values = json.loads(line.decode())
                keys.append(str(values["key"]))
                numbers.append(int(values["label"]))
        if len(keys) != number:
            found = len(keys) if len(keys) < number else f"more than {number}"
            raise ValueError(f"{path.name}.keys has {found} lines and must have {number}")
        labels = np.array(numbers, np.int32)
        codes = header.map_codes(path)
    except OSError as error:
        raise ValueError(f"{error.filename}: this file cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: this is no file of codes that can be used ({error})") from None
    return CodesFile(header, codes, keys, labels, classes)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Reads the lines of a text one by one. Raises ValueError if one is too long."""
    while line := file.readline(LARGEST_LINE + 1):
        if len(line) > LARGEST_LINE:
            raise ValueError(f"a line has more than {LARGEST_LINE >> 20} MiB, which is too much")
        yield line


def _classes_line(classes: Sequence[str]) -> str:
    """Writes the line of the classes' names; "" without any. Raises ValueError if they are too
    long."""
    line = json.dumps({"classes": list(classes)}) + "\n" if classes else ""
    if len(line) > LARGEST_LINE:
        raise ValueError(f"the names of the source's {len(classes)} classes have more than {LARGEST_LINE} bytes in all")
    return line


def _split_keys(file: BinaryIO) -> tuple[tuple[str, ...], Iterator[bytes]]:
    """Reads the names of the classes in FILE.keys. The whole lines of JSON of the pictures, which
    follow, are read one by one as they are asked for. Raises ValueError if the names cannot be
    read."""
    lines = (line for line in _lines(file) if line.endswith(b"\n"))
    first = next(lines, b"")
    if not first.startswith(b'{"classes"'):
        return (), itertools.chain([first] if first else [], lines)
    classes = json.loads(first.decode())["classes"]
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise ValueError("the first line of its keys has no list of the classes' names")
    return tuple(classes), lines


def _header(data: bytes) -> CodesHeader:
    """Reads the first line. Raises ValueError, KeyError, TypeError or OverflowError if it is
    none."""
    values = json.loads(data) if data.startswith(b"{") else {}
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"its first line does not say {FORMAT!r}")
    shape = tuple(int(side) for side in values["shape"])
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > LARGEST:
        raise ValueError(f"its shape is {values['shape']}")
    codes, mirrored = int(values["codes"]), bool(values["mirrored"])
    fingerprint, source = str(values["fingerprint"]), str(values["source"])
    header = CodesHeader(fingerprint, codes, (shape[0], shape[1], shape[2]), mirrored, source)
    if header.dtype.str != values["dtype"]:
        raise ValueError(f"its dtype is {values['dtype']!r}, and for {codes} codes it must be {header.dtype.str!r}")
    return header


def _partial_header(path: Path) -> CodesHeader | None:
    """Reads the header of a partial file, whose N counts as 1; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            header = _header(file.read(HEADER_BYTES))
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return replace(header, shape=(1, *header.shape[1:]))


class _Place(NamedTuple):
    """Where a partial file goes on.

    Attributes:
        classes: the names of its classes.
        done: how many pictures are in it or are left out.
        rows: how many pictures are in it.
        end: where the lines of these end in its keys, in bytes.
        last: which one of those that are done is the last one in it, from 0 on, and its key.
    """

    classes: tuple[str, ...]
    done: int
    rows: int
    end: int
    last: tuple[int, str] | None


class CodesWriter:
    """Appends the codes of pictures, in their order, to a file that has none yet or a part of them.

    Attributes:
        done: how many pictures of the source, and mirrored ones, are in the file or are left out.
        last: which picture of the source, or mirrored one, is the last one that the file had when
            it was opened, from 0 on, and its key; None if it had none.
    """

    def __init__(self, path: Path, header: CodesHeader, classes: Sequence[str] = ()) -> None:
        """Goes on with the partial file beside `path`, if it has the same header and classes.

        Args:
            path: of the file when it is whole.
            header: whose N does not matter; it is counted.
            classes: the names of the source's classes, by label; empty if they have none.

        Raises:
            ValueError: if the partial file is of another model or source, is damaged, or is being
                written by another process, if `path` is a folder, or if the names are too long.
        """
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file")
        self.path, self.header, self._first = path, header, _classes_line(classes)
        self._data, self._keys = Path(f"{path}.partial"), Path(f"{path}.keys.partial")
        start = self._header_of(1).to_bytes()  # before anything is written
        self._file = _open_alone(self._data)
        try:
            place = self._find_place()
            if place.done and (place.classes != tuple(classes) or _partial_header(self._data) != self._header_of(1)):
                raise ValueError(f"{self._data} is of another model or source; remove it, or name another --out")
            self._begin(start, place)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, start: bytes, place: _Place) -> None:
        """Cuts the files off at this place; at the very start, it begins with the first bytes."""
        self.done, self._rows, self.last = place.done, place.rows, place.last
        if not place.done:
            self._file.truncate(0)
            self._file.write(start)
            self._keys.write_text(self._first)
        self._file.truncate(HEADER_BYTES + self._rows * self._row_bytes)
        os.truncate(self._keys, place.end)
        self._lines = self._keys.open("a")

    @property
    def _row_bytes(self) -> int:
        return self.header.dtype.itemsize * self.header.shape[1] * self.header.shape[2]

    def _header_of(self, rows: int) -> CodesHeader:
        """Makes the header of so many pictures."""
        return replace(self.header, shape=(rows, *self.header.shape[1:]))

    def _find_place(self) -> _Place:
        """Finds where the partial file goes on; the last line may be half-written. It is the start
        without a header: after a power cut, the lines may have been kept and the codes not."""
        codes_bytes = self._data.stat().st_size - HEADER_BYTES
        if codes_bytes < 0 or not self._keys.exists():
            return _Place((), 0, 0, len(self._first), None)
        try:
            with self._keys.open("rb") as file:
                return self._last_place(*_split_keys(file), codes_bytes // self._row_bytes)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{self._keys} is damaged ({error}); remove it, and the file is made anew") from None

    def _last_place(self, classes: tuple[str, ...], lines: Iterable[bytes], most_rows: int) -> _Place:
        """Finds the last place up to which all lines have codes, and a picture its mirrored one."""
        here = found = _Place(classes, 0, 0, len(self._first), None)
        for line in lines:
            key = json.loads(line.decode())["key"]
            if key is not None:
                here = here._replace(rows=here.rows + 1, last=(here.done, str(key)))
            here = here._replace(done=here.done + 1, end=here.end + len(line))
            if here.rows > most_rows:
                break
            if here.done % (1 + self.header.mirrored) == 0:
                found = here
        return found

    def append(self, codes: np.ndarray, crops: Sequence[Crop]) -> None:
        """Appends codes, [n, h, w], of the n crops that have pixels; the others are left out."""
        self._file.write(np.ascontiguousarray(codes, self.header.dtype).tobytes())
        self._file.flush()
        lines = [{"key": None if crop.pixels is None else crop.key, "label": int(crop.label)} for crop in crops]
        self._lines.write("".join(json.dumps(line) + "\n" for line in lines))
        self._lines.flush()
        self.done += len(lines)
        self._rows += len(codes)

    def finish(self) -> CodesHeader:
        """Gives the files their names. An older file goes before its keys do: so its codes never
        stand beside these keys.

        Raises:
            ValueError: if no picture was used.
        """
        self._file.flush()
        self._lines.flush()
        if not self._rows:
            raise ValueError(f"{self.path}: none of the pictures can be used")
        header = self._header_of(self._rows)
        with self._data.open("r+b") as file:
            file.write(header.to_bytes())
        flush(self._data)
        with replacing(Path(f"{self.path}.keys")) as path, self._keys.open("rb") as all_keys, path.open("wb") as keys:
            _, lines = _split_keys(all_keys)
            keys.write(self._first.encode())
            keys.writelines(line for line in lines if json.loads(line.decode())["key"] is not None)
            if self.path.exists():
                self.path.unlink()
                flush(self.path.parent)
        self._data.replace(self.path)  # until here, the partial files tell where to go on
        self._keys.unlink()
        flush(self.path.parent)
        self.close()  # no earlier: it lets other processes in
        return header

    def close(self) -> None:
        """Closes the partial files, which stay."""
        self._file.close()
        self._lines.close()


def _open_alone(path: Path) -> BinaryIO:
    """Opens a partial file for appending, and keeps other processes out of it until it is closed.

    Raises:
        ValueError: if another process is writing it, or has just given it its name.
    """
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
    except BlockingIOError:
        is_ours = False
    except OSError as error:
        log.warning("%s: this file system has no locks (%s); start no second command that writes it", path, error.strerror)
        is_ours = True
    if not is_ours:
        file.close()
        raise ValueError(f"{path} is being written by another process; wait for it, or name another --out")
    return file


@contextmanager
def writing(path: Path, header: CodesHeader, classes: Sequence[str] = ()) -> Iterator[CodesWriter]:
    """Opens a `CodesWriter`, and closes it whatever happens."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = CodesWriter(path, header, classes)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); name another --out") from None
    try:
        yield writer
    finally:
        writer.close()
