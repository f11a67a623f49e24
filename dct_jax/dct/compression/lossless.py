"""Turns lists into bytes and back, with a model's probabilities and a range coder.

A picture becomes tiles (`tiles.py`), a tile's list decisions (`decisions.py`, `writing.py`), the
decisions of a few tiles the words of one range coder (`paths.py`), and these a file (`stream.py`).
"""

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import jax

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.jpeg import LARGEST_SIDE
from dct_jax.codec.sparse import MAX_PIXELS
from dct_jax.dct.compression.decisions import all_log_odds, round_all
from dct_jax.dct.compression.double import double_network
from dct_jax.dct.compression.exact import ROWS, WeightReader, integer_weights, usable_rows
from dct_jax.dct.compression.paths import PathReader, write_paths
from dct_jax.dct.compression.reading import Reading, SymbolReader, read_lists
from dct_jax.dct.compression.steps import Walker
from dct_jax.dct.compression.stream import Group, Stream, list_check, short
from dct_jax.dct.compression.tiles import Tiling, cut, join, tile_picture
from dct_jax.dct.compression.writing import Decisions, find_decisions, merge
from dct_jax.dct.trained_model import TrainedModel

TOLERANCE = 24
"""Logits may differ by 2^-24 = 6e-8 in what is written. Measured differences are 1e-13."""

GROUP = 8
"""So many tiles share a range coder, which costs some 4 bytes. It is part of the format."""

MOST_BYTES_A_TRIPLE = 96
"""Three symbols of at most some 30 decisions, of at most 24 bits each. For longer data the model is
not run."""

DIFFERENT = (
    "the list does not come out as it went in: the file is damaged, or this machine gives other probabilities than those that "
    "it was compressed with, by more than its tolerance"
)

T = TypeVar("T")


def compress(model: TrainedModel, pictures: Sequence[SparseDCT | bytes], labels: Sequence[int] | None = None) -> list[bytes]:
    """Returns, for each picture, the bytes from which `decompress` makes its list again, with the
    same model, on any machine.

    They are as many as the log-likelihood says, and at most 1 % and 17 more; a few more for classes
    and for pictures of another size than the canvas, and some 5 for each group of 8 tiles after the
    first.

    Args:
        model: it gives the probabilities.
        pictures: lists of the model's codec, or JPEG files of its tables and subsampling. Those
            that are larger than the model's canvas are cut into tiles.
        labels: the class of each, for a class-conditional model; 0 by default.

    Raises:
        ValueError: if a picture cannot be compressed, which the message numbers; if the numbers of
            pictures and labels differ; or on a TPU, which lacks float64.
    """
    _check_several("pictures", pictures)
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"there are {len(pictures)} pictures and {len(labels)} labels; each picture needs one")
    lists = (_list(model, one, number) for number, one in enumerate(pictures))
    return _in_order(compress_many(model, lists, itertools.repeat(0) if labels is None else labels))


def decompress(model: TrainedModel, files: Sequence[bytes]) -> list[SparseDCT]:
    """Returns the lists that `compress` was given.

    Args:
        model: the model that compressed them.
        files: what `compress` returned.

    Raises:
        ValueError: if a file, which the message numbers, is not of this format, damaged, or
            compressed with another model; if the probabilities of this machine differ by more than
            its tolerance; or, of files of version 3, on a TPU, which lacks float64. Files of
            versions 1 and 2 have no tolerance: they are read on the same kind of machine with the
            same versions of JAX and XLA alone.
    """
    _check_several("files", files)
    return _in_order(decompress_many(model, files))


def compress_many(
    model: TrainedModel, lists: Iterable[SparseDCT], labels: Iterable[int] = itertools.repeat(0)
) -> Iterator[tuple[int, bytes | ValueError]]:
    """Compresses many lists (see `compress`).

    Args:
        model: it gives the probabilities.
        lists: each is taken when it is needed.
        labels: the class of each.

    Yields:
        The number of a list and its bytes, as they are ready. At the end the numbers of the lists
        that cannot be compressed, and the error that `compress` would raise.
    """
    errors: list[tuple[int, ValueError]] = []
    waiting: deque[_Writing] = deque()

    def tiles() -> Iterator[tuple[SparseDCT, int]]:
        for number, (sparse, label) in enumerate(zip(lists, labels)):
            try:
                parts = _cut(model, sparse)
                model.check_label(label)
            except ValueError as error:
                errors.append((number, error))
                continue
            waiting.append(_Writing(number, sparse, label, len(parts)))
            yield from ((part, label) for part in parts)

    for decisions in find_decisions(*double_network(model), tiles()):
        writing = waiting[0]
        writing.add(decisions)
        if not writing.tiles_left:
            yield writing.number, _file(model, waiting.popleft())
    yield from errors


def decompress_many(model: TrainedModel, files: Iterable[bytes]) -> Iterator[tuple[int, SparseDCT | ValueError]]:
    """Decompresses many files (see `decompress`).

    Args:
        model: the model that compressed them.
        files: their bytes.

    Yields:
        The number of a file and its list, or the error of `decompress`, as they are ready.
    """
    opened: dict[int, _Opened] = {}
    for number, data in enumerate(files):
        try:
            opened[number] = _open(model, data)
        except ValueError as error:
            yield number, error
    for version in sorted({one.stream.version for one in opened.values()}):
        waiting = {number: one for number, one in opened.items() if one.stream.version == version}
        for reading in read_lists(*_walker(model, version), _readings(waiting)):
            if (file := waiting.get(reading.file)) is None:
                continue  # another group of it has failed
            file.groups[reading.group] = reading
            if reading.failed or len(file.groups) == len(file.stream.groups):
                yield reading.file, _picture(waiting.pop(reading.file))


@dataclass(eq=False)
class _Writing:
    """A picture that is being written."""

    number: int
    sparse: SparseDCT
    label: int
    tiles_left: int
    groups: list[Group] = field(default_factory=list)
    _group: list[Decisions] = field(default_factory=list)

    def add(self, decisions: Decisions) -> None:
        """Adds the next tile."""
        self.tiles_left -= 1
        self._group.append(decisions)
        if len(self._group) == GROUP or not self.tiles_left:
            _, sides, log_odds = merge(self._group)
            words, hints = write_paths(sides, log_odds, 2.0**-TOLERANCE)
            self.groups.append(Group(words, tuple(hints)))
            self._group = []


@dataclass(eq=False)
class _Opened:
    """A file that is being read."""

    stream: Stream
    tiling: Tiling
    codec: DCTCodec
    groups: dict[int, Reading] = field(default_factory=dict)


def _tiling(model: TrainedModel, size: tuple[int, int], codec: DCTCodec) -> Tiling:
    data = model.config.data
    if max(size) > LARGEST_SIDE:  # there would be millions of tiles
        raise ValueError(f"the picture has {size[0]} x {size[1]} pixels; it must have at most {LARGEST_SIDE} on a side")
    return tile_picture(size, data.image_size, codec, one_size=data.fit == "crop")


def _check_several(name: str, given: Sequence[SparseDCT | bytes]) -> None:
    if isinstance(given, (SparseDCT, bytes, bytearray, memoryview, str)):
        raise ValueError(f"{name} is of the type {type(given).__name__}; it must be a list, also of one")


def _list(model: TrainedModel, picture: SparseDCT | bytes, number: int) -> SparseDCT:
    """Returns a picture's list. Raises ValueError, which numbers it, if it is no JPEG file."""
    if isinstance(picture, SparseDCT):
        return picture
    try:
        return SparseDCT.from_jpeg(picture, model.codec.channel_order)
    except ValueError as error:
        raise ValueError(f"number {number}: {error}") from None


def _cut(model: TrainedModel, sparse: SparseDCT) -> list[SparseDCT]:
    """Returns the tiles of a picture. Raises ValueError if the model cannot sample one of them."""
    model.check_codec(sparse.codec, "the list")
    sparse.validate(dataclasses.replace(model.network.vocabulary_of(sparse.codec), grid=sparse.grid))
    return cut(sparse, _tiling(model, sparse.size, sparse.codec))


def _file(model: TrainedModel, writing: _Writing) -> bytes:
    """Returns the whole file of a picture that is written."""
    sparse = writing.sparse
    size = None if sparse.size == model.config.data.image_size else sparse.size
    quality = None if sparse.codec == model.codec else sparse.codec.quality
    start = short(model.fingerprint), size, writing.label, quality, list_check(sparse)
    return Stream(*start, TOLERANCE, tuple(writing.groups)).to_bytes()


def _open(model: TrainedModel, data: bytes) -> _Opened:
    """Reads a file of this model. Raises ValueError if it is none."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ValueError(f"a file is given by its bytes, and this is of the type {type(data).__name__}")
    stream = Stream.from_bytes(bytes(data))
    if stream.fingerprint != (ours := short(model.fingerprint)):
        raise ValueError(
            f"the file was compressed with another model: {stream.fingerprint.hex()}, and this one is {ours.hex()}"
        )
    model.check_label(stream.label)
    codec, size = model.config.codec_of(stream.quality), stream.size or model.config.data.image_size
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"the file's picture has {size[0]} x {size[1]} pixels; it must have at most {MAX_PIXELS}")
    if stream.version < 3:
        model.check_size(size)
    tiling = _tiling(model, size, codec)
    groups = -(-tiling.count // GROUP)
    if len(stream.groups) != groups:
        raise ValueError(
            f"groups of tiles are missing or too many: the file has {len(stream.groups)}, and a picture of {size[0]} x "
            f"{size[1]} pixels has {groups}"
        )
    most = GROUP * MOST_BYTES_A_TRIPLE * (model.network.vocabulary.longest_list + 1)
    if (longest := max(4 * len(group.words) for group in stream.groups)) > most:
        raise ValueError(f"the file has a group of {longest} bytes; a group of this model has at most {most}")
    return _Opened(stream, tiling, codec)


def _walker(model: TrainedModel, version: int) -> tuple[Walker, int]:
    """Returns what tells the readers of a version's symbols, and how many rows of it are used."""
    if version >= 3:
        return Walker(*double_network(model), GROUP, _decisions), GROUP
    walker = Walker(model.network, model.variables, ROWS[version], integer_weights)
    with jax.enable_x64(False):
        return walker, usable_rows(walker, model.blank(model.config.data.image_size))


def _decisions(logits: jax.Array) -> jax.Array:
    """Tells a `PathReader` of the decisions of symbols."""
    return round_all(all_log_odds(logits))


def _readings(files: dict[int, _Opened]) -> Iterator[Reading]:
    """Yields the groups of files. Those of files that are no more there, as another group failed,
    are left out."""
    for number, file in list(files.items()):
        tiling, stream = file.tiling, file.stream
        for i, group in enumerate(stream.groups):
            if number not in files:
                break
            reader: SymbolReader = PathReader(group.words, group.hints) if stream.version >= 3 else WeightReader(group.words)
            tiles = range(i * GROUP, min((i + 1) * GROUP, tiling.count))
            blanks = [SparseDCT.empty(tiling.size(tile), file.codec) for tile in tiles]
            yield Reading(number, i, reader, blanks, stream.label)


def _picture(file: _Opened) -> SparseDCT | ValueError:
    """Returns the list of a file whose groups are read."""
    if any(reading.failed for reading in file.groups.values()):
        return ValueError(DIFFERENT)
    tiles = [tile for _, reading in sorted(file.groups.items()) for tile in reading.lists]
    try:
        sparse = join(tiles, file.tiling)
    except ValueError:
        return ValueError(DIFFERENT)
    is_right = list_check(sparse, file.stream.version) == file.stream.list_check
    return sparse if is_right else ValueError(DIFFERENT)


def _in_order(results: Iterable[tuple[int, T | ValueError]]) -> list[T]:
    """Returns the results by their numbers, or raises the first error."""
    found: dict[int, T] = {}
    for number, result in results:
        if isinstance(result, ValueError):
            raise ValueError(f"number {number}: {result}")
        found[number] = result
    return [found[number] for number in sorted(found)]
