"""SparseDCT <-> JPEG files, coefficient by coefficient, without pixels and without loss."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jpeglib
import numpy as np

from dct_jax.codec.channel_order import ChannelOrder, zigzag
from dct_jax.codec.codec import DCTCodec
from dct_jax.codec.jpeg_entropy import FAULTS, LEFT_OVER, OK, decode_scan, need
from dct_jax.codec.jpeg_header import SUBSAMPLINGS, Frame, Header, Scan
from dct_jax.codec.sparse import SparseDCT

LARGEST_SIDE = 65500
"""libjpeg's limit, in pixels."""

# How to turn a picture of each Exif orientation upright: transpose, reverse rows, reverse columns.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class PartialJPEG(NamedTuple):
    """What arrived of a JPEG file that ends early.

    Attributes:
        sparse: the coefficients, as far as the scans say them: a decoder would show this picture.
        missing_bits: int32 [C], for each channel, how many low bits of its coefficients are
            missing; -1 for all.
        scans: how many scans arrived whole.
        whole: whether nothing is missing.
    """

    sparse: SparseDCT
    missing_bits: np.ndarray
    scans: int
    whole: bool


class _Content(NamedTuple):
    """What the scans of a file say so far.

    Attributes:
        header: as it stands after the last scan.
        coefficients: int16, of all components, as `Frame.parts` cuts them.
        known: for each component, how many low bits of its 64 coefficients (by zigzag index) are
            unknown, -1 for all.
        tables: of each component that had a scan.
        scans: how many there were.
        whole: whether the file came to its end.
    """

    header: Header
    coefficients: np.ndarray
    known: list[list[int]]
    tables: dict[int, np.ndarray]
    scans: int
    whole: bool


def read_jpeg(
    source: bytes | str | os.PathLike, channel_order: ChannelOrder = "banded", upright: bool = True, strict: bool = True
) -> SparseDCT:
    """Reads a JPEG file: baseline or progressive; grey, 4:4:4, 4:2:2, 4:4:0 or 4:2:0.

    The list's codec has the file's quantisation tables. Turning a picture by 90 degrees transposes
    them. Some encoders write coefficients that are larger than any picture needs; they are kept,
    and `DCTCodec.requantize` limits them for a model.

    Args:
        source: the file's bytes, or its path.
        channel_order: how the list is sorted.
        upright: turn the picture as its Exif orientation says, or if it has none that in XMP.
            Mirrored blocks have the same coefficients with other signs, so this loses nothing; but
            edges that become left or upper ones must be whole blocks.
        strict: refuse a file whose scans have more data than blocks. A flipped bit often shows in
            nothing else, and then nothing tells which coefficients are right; but there are
            encoders that write bytes without a meaning.

    Raises:
        ValueError: if the file is missing, damaged or truncated; has a feature that lists have no
            place for (the message names it); or cannot be turned upright.
    """
    with _open(source) as data:
        content = _read_scans(data, may_end=False, strict=strict)
        need(all(bits[0] >= 0 for bits in content.known), "a component has no scan")
        return _list(content, channel_order, upright)


def read_partial_jpeg(
    source: bytes | str | os.PathLike,
    channel_order: ChannelOrder = "banded",
    check_size: Callable[[tuple[int, int]], None] | None = None,
) -> PartialJPEG:
    """Reads a JPEG file that may end anywhere after its first scan; a scan that is cut is left out.

    Args:
        source, channel_order: as for `read_jpeg`; the picture is turned upright.
        check_size: raises ValueError if the (H, W) of the upright picture are not wanted. It is
            called before the coefficients take memory, hundreds of times that of the file.

    Raises:
        ValueError: as for `read_jpeg` and `check_size`, or if no scan arrived whole, or a component
            has none.
    """
    with _open(source) as data:
        content = _read_scans(data, may_end=True, strict=True, check_size=check_size)
        if not content.scans or any(bits[0] < 0 for bits in content.known):
            raise ValueError(
                "this JPEG file ends before there is a whole scan of every component; a progressive file has them early, and "
                "a baseline file at its very end"
            )
        sparse = _list(content, channel_order, True)
        return PartialJPEG(sparse, _missing_bits(content), content.scans, content.whole)


@contextlib.contextmanager
def _open(source: bytes | str | os.PathLike) -> Iterator[bytes]:
    """Gives the bytes of a file; errors in the block begin with its path, if it has one."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield bytes(source)
        return
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"a JPEG file is given by its path or its bytes, and this is of the type {type(source).__name__}")
    data = _read_file(Path(source))
    try:
        yield data
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def check_values(sparse: SparseDCT) -> None:
    """Raises ValueError, which names a triple, if `write_jpeg` has no place for a value. Some
    files have such values: their readers limit what they decode to pixels."""
    lowest = np.where(sparse.channels % 64 == 0, -1024, -1023)  # [L]: 8-bit JPEG has 11 bits for DC, 10 for AC and a sign
    wide = (sparse.values < lowest) | (sparse.values > 1023)
    if wide.any():
        i = int(np.argmax(wide))
        triple = (int(sparse.channels[i]), int(sparse.positions[i]), int(sparse.values[i]))
        raise ValueError(f"triple {i} is {triple}: values in a JPEG file are {lowest[i]}..1023")


def write_jpeg(sparse: SparseDCT) -> bytes:
    """Returns a baseline JPEG file with the list's exact coefficients and optimised Huffman codes.

    Raises:
        ValueError: if the list is damaged (the message names the first offending index), its blocks
            are not 8 x 8, or the format has no place for its size or values.
    """
    codec, (height, width) = sparse.codec, sparse.size
    if codec.block_size != 8:
        raise ValueError(f"the list's blocks are {codec.block_size} x {codec.block_size}; a JPEG file's are 8 x 8")
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(f"the image has {height} x {width} pixels; a JPEG file has at most {LARGEST_SIDE} on a side")
    coefficients = codec.to_coefficients(sparse)
    check_values(sparse)
    blocks = [np.ascontiguousarray(x.transpose(2, 3, 0, 1)) for x in coefficients]  # [h', w', 8, 8]
    tables = codec.quantization_tables.astype(np.uint16)  # [3, 8, 8]
    shared = len(tables) == 3 and np.array_equal(tables[1], tables[2])
    jpeg = jpeglib.from_dct(
        *blocks, qt=tables[:2] if shared else tables, quant_tbl_no=[0, 1, 1 if shared else 2][: len(tables)]
    )
    jpeg.height, jpeg.width = sparse.size
    rows, cols = codec.component_steps[-1]
    jpeg.samp_factor = np.array([[rows, cols], [1, 1], [1, 1]][: len(tables)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        jpeg.write_dct(str(path), flags=["+OPTIMIZE_CODING"])
        return _rename_components(path.read_bytes())


def _rename_components(data: bytes) -> bytes:
    """Names a file's components 1, 2, 3, as JFIF wants it; jpeglib names them 0, 1, 2."""
    named, place = bytearray(data), 2
    while True:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        first, step = {0xC0: (10, 3), 0xC1: (10, 3), 0xDA: (5, 2)}.get(marker, (0, 0))
        if first:
            for i in range(data[place + first - 1]):
                named[place + first + step * i] += 1
        if marker == 0xDA:
            return bytes(named)
        place += 2 + length


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read ({error.strerror})") from None


def _read_scans(
    data: bytes, may_end: bool, strict: bool, check_size: Callable[[tuple[int, int]], None] | None = None
) -> _Content:
    """Reads the scans of a file: all of them, or if it `may_end` early those that come before."""
    tables: dict[int, np.ndarray] = {}
    header, scans = Header(data), 0
    coefficients, known = np.zeros(0, np.int16), [[-1]]
    whole = True
    while (scan := _next_scan(header, may_end)) is not None:
        frame = header.found_frame
        if not tables:
            header.check_colours()
            frame.check_subsampling()  # before anything is decoded
            if check_size:
                check_size(frame.size[::-1] if _is_on_its_side(header) else frame.size)
            coefficients, known = np.zeros(frame.offsets[-1] + 64, np.int16), [[-1] * 64 for _ in frame.components]
        before = (coefficients.copy(), [list(bits) for bits in known]) if may_end else None
        _check_progress(frame, scan, known)
        for i in scan.components:
            number = frame.components[i].table
            need(number in header.quantization, f"quantisation table {number} is missing")
            tables.setdefault(i, header.quantization[number])
        end, fault = _decode(header, scan, coefficients)
        if fault != OK and before and len(data) - end < 2:  # bits that were made up after the end can look like any fault
            (coefficients, known), whole = before, False
            break
        need(fault == OK or (fault == LEFT_OVER and not strict), FAULTS.get(fault, ""))
        header.place, scans = end, scans + 1
    else:
        whole = not header.truncated
    return _Content(header, coefficients, known, tables, scans, whole)


def _list(content: _Content, channel_order: ChannelOrder, upright: bool) -> SparseDCT:
    """Returns the list of a file's content."""
    header, frame, tables = content.header, content.header.found_frame, content.tables
    arrays, steps = [content.coefficients[part].reshape(shape) for part, shape in frame.parts], frame.steps
    squares, size = [tables[i].reshape(8, 8) for i in range(len(arrays))], frame.size
    if upright and header.upright in _TURNS:
        arrays, squares, steps, size = _turn(_TURNS[header.upright], arrays, squares, steps, size)
    codec = _codec(b"".join(square.tobytes() for square in squares), steps, channel_order)
    return codec.from_coefficients(arrays, size)


def _missing_bits(content: _Content) -> np.ndarray:
    """Returns how many low bits of each channel are unknown, int32 [C], turned upright."""
    missing = np.empty((len(content.known), 64), np.int32)  # by raster index
    missing[:, zigzag(8)] = content.known
    if _is_on_its_side(content.header):
        missing = missing.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)
    return missing[:, zigzag(8)].reshape(-1)


def _is_on_its_side(header: Header) -> bool:
    """Returns whether the upright picture has the file's rows as its columns."""
    return header.upright in _TURNS and _TURNS[header.upright][0]


def _next_scan(header: Header, may_end: bool) -> Scan | None:
    """Reads up to the next scan, as `Header.next_scan`; None also where a file ends that may."""
    try:
        return header.next_scan() if header.scans else header.first_scan()
    except ValueError:
        if may_end and header.truncated:
            return None
        raise


@lru_cache(maxsize=256)
def _codec(tables: bytes, steps: tuple[tuple[int, int], ...], channel_order: ChannelOrder) -> DCTCodec:
    """Most files of a collection share their tables, so a codec is made once."""
    return DCTCodec(8, None, SUBSAMPLINGS[steps], channel_order, tuple(np.frombuffer(tables, np.int32).tolist()))


def _check_progress(frame: Frame, scan: Scan, known: list[list[int]]) -> None:
    """Checks that this scan may come now; notes for each component how many low bits of its 64
    coefficients are unknown after it, -1 for all of them."""
    if frame.progressive:
        alone = len(scan.components) == 1
        need((scan.first == 0) == (scan.last == 0) and (scan.first == 0 or alone), "a scan has DC and AC, or AC of several")
        most = 13 if scan.first else 11  # a DC has 12 bits with its sign
        need(scan.first <= scan.last <= 63 and scan.low <= most, "a scan's band is not possible")
        need(scan.high in (0, scan.low + 1), "a scan adds other than one bit")
    band, count = slice(scan.first, scan.last + 1), scan.last + 1 - scan.first
    for i in scan.components:
        need(known[i][band] == [scan.high or -1] * count, "its scans do not follow from one another")
        known[i][band] = [scan.low] * count


def _decode(header: Header, scan: Scan, coefficients: np.ndarray) -> tuple[int, int]:
    """Decodes a scan into the coefficients; returns where its data end, and a fault (see
    FAULTS)."""
    layout = _layout(header.found_frame, scan)
    for number in layout.tables - header.huffman_tables:
        need(False, f"Huffman table {number % 4} of {('DC', 'AC')[number // 4]} is missing")
    return decode_scan(
        np.frombuffer(header.data, np.uint8),
        header.place,
        coefficients,
        layout.offsets,
        layout.grids,
        layout.factors,
        header.huffman.reshape(-1),
        layout.numbers,
        zigzag(8),
        (scan.first, scan.last, scan.high, scan.low),
        header.found_frame.progressive,
        header.restart,
    )


class _Layout(NamedTuple):
    """Arguments of `decode_scan` for a scan, and the places in `Header.huffman` that it needs."""

    offsets: np.ndarray
    grids: np.ndarray
    factors: np.ndarray
    numbers: np.ndarray
    tables: frozenset[int]


@lru_cache(maxsize=256)
def _layout(frame: Frame, scan: Scan) -> _Layout:
    """Returns the layout of a scan. Files that begin alike share it, as they share the frame."""
    chosen = list(scan.components)
    tables = {*scan.dc} if scan.first == scan.high == 0 else set()
    tables |= {4 + number for number in scan.ac} if scan.last else set()
    factors = frame.factors[chosen] if len(chosen) > 1 else np.ones((1, 2), np.int64)  # [n, 2]
    numbers = np.array((scan.dc, scan.ac))  # [2, n]
    return _Layout(frame.offsets[chosen], frame.grids[chosen], factors, numbers, frozenset(tables))


def _turn(
    turn: tuple[bool, bool, bool],
    coefficients: list[np.ndarray],
    tables: list[np.ndarray],
    steps: tuple[tuple[int, int], ...],
    size: tuple[int, int],
) -> tuple[list[np.ndarray], list[np.ndarray], tuple[tuple[int, int], ...], tuple[int, int]]:
    """Transposes and mirrors the picture. A mirrored block's odd frequencies change their sign."""
    transpose, *mirrors = turn
    if transpose:
        coefficients, tables = [x.transpose(1, 0, 3, 2) for x in coefficients], [table.T for table in tables]
        steps, size = tuple((cols, rows) for rows, cols in steps), (size[1], size[0])
    sign = np.where(np.arange(8) % 2, -1, 1).astype(np.int16)  # [8]
    for axis, mirror in enumerate(mirrors):
        if mirror:
            whole = 8 * steps[-1][axis]
            if size[axis] % whole:
                side = ("height", "width")[axis]
                raise ValueError(
                    f"the upright picture's {side} is {size[axis]} pixels; to be mirrored without loss it must be a multiple "
                    f"of {whole}. It can be read from its pixels, or as it lies (upright=False)"
                )
            signs = sign[:, None] if axis == 0 else sign[None]  # [8, 1] or [1, 8]
            coefficients = [np.flip(x, 2 + axis) * signs[..., None, None] for x in coefficients]
    return coefficients, tables, steps, size
