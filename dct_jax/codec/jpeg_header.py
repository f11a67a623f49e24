"""The segments of a JPEG file (ITU-T T.81, annex B): what is in it, how it is coded, and whether a
list can represent it.

Files of one collection have many segments in common, so what a segment says is a function of its
bytes, and is remembered.
"""

import itertools
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from dct_jax.codec.channel_order import zigzag
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS, component_steps
from dct_jax.codec.jpeg_entropy import need
from dct_jax.codec.jpeg_huffman import huffman_tables, standard_tables
from dct_jax.codec.jpeg_orientation import exif_orientation, xmp_orientation
from dct_jax.codec.sparse import MAX_PIXELS

MAX_SCANS = 100
"""The most scans of a progressive file. Encoders write about ten; without a limit a small file
could ask for hours of work."""

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_QUANTIZATION, _HUFFMAN, _RESTART_INTERVAL, _JFIF, _APPLICATION_1, _ADOBE = 0xDB, 0xC4, 0xDD, 0xE0, 0xE1, 0xEE
_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_OTHER_FRAMES = {
    0xC3: "lossless coding",
    0xC5: "hierarchical coding",
    0xC6: "hierarchical coding",
    0xC7: "hierarchical coding",
    0xC8: "JPEG extensions",
    0xC9: "arithmetic coding",
    0xCA: "arithmetic coding",
    0xCB: "lossless arithmetic coding",
    0xCC: "arithmetic coding",
    0xCD: "hierarchical arithmetic coding",
    0xCE: "hierarchical arithmetic coding",
    0xCF: "hierarchical arithmetic coding",
    0xF7: "JPEG-LS",
    0xDE: "hierarchical coding",
    0xDF: "hierarchical coding",
}
SUBSAMPLINGS = {component_steps(name): name for name in CHROMA_SUBSAMPLINGS}
"""The names of those component steps that have one."""
_START = bytes((0xFF, _START_OF_IMAGE))
_SCAN_MARKER = bytes((0xFF, _START_OF_SCAN))
_LONGEST_BEGINNING, _MOST_BEGINNINGS = 2**12, 64  # bytes and files' beginnings that are remembered
_ALONE = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD8)})  # what means nothing between segments: data, restarts, fill bytes


class Component(NamedTuple):
    """One colour component of a frame.

    Attributes:
        name: its identifier in the file.
        rows, cols: its sampling factors, vertical and horizontal.
        table: the number of its quantisation table.
    """

    name: int
    rows: int
    cols: int
    table: int


@dataclass(frozen=True, eq=False)
class Frame:
    """The image's size and components. Frames are equal if they are the same object, which makes
    them quick to look up.

    Attributes:
        progressive: whether it comes in scans of some frequencies or some bits each.
        size: (H, W) in pixels.
        components: Y, or Y, Cb and Cr.
    """

    progressive: bool
    size: tuple[int, int]
    components: tuple[Component, ...]

    @cached_property
    def grids(self) -> np.ndarray:
        """int64 [components, 2]: the (h', w') blocks of each."""
        rows, cols = self._most
        samples = [(-(-self.size[0] * c.rows // rows), -(-self.size[1] * c.cols // cols)) for c in self.components]
        return np.array([(-(-height // 8), -(-width // 8)) for height, width in samples])

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 [components + 1]: where each one's coefficients begin, one after the other."""
        return np.cumsum([0, *(64 * self.grids.prod(axis=1))])

    @cached_property
    def parts(self) -> list[tuple[slice, tuple[int, ...]]]:
        """The slice of all coefficients that are a component's, and their shape, (8, 8, h', w')."""
        bounds = itertools.pairwise(self.offsets.tolist())
        return [(slice(first, end), (8, 8, *grid)) for (first, end), grid in zip(bounds, self.grids.tolist())]

    @cached_property
    def factors(self) -> np.ndarray:
        """int64 [components, 2]: the sampling factors."""
        return np.array([(c.rows, c.cols) for c in self.components])

    @cached_property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """The rows and columns of pixels to each component's sample, after `check_subsampling`."""
        rows, cols = self._most
        return tuple((rows // c.rows, cols // c.cols) for c in self.components)

    def check_subsampling(self) -> None:
        """Raises ValueError if the codec has no name for the components' sampling factors."""
        rows, cols = self._most
        if self.steps not in SUBSAMPLINGS or any((rows % c.rows, cols % c.cols) != (0, 0) for c in self.components):
            factors = ", ".join(f"{c.cols}x{c.rows}" for c in self.components)
            names = ", ".join(CHROMA_SUBSAMPLINGS)
            raise ValueError(f"this JPEG file's sampling factors are {factors}; supported are those of {names}")

    @cached_property
    def _most(self) -> tuple[int, int]:
        return max(c.rows for c in self.components), max(c.cols for c in self.components)


class Scan(NamedTuple):
    """The header of one scan.

    Attributes:
        components: indices of the frame's components.
        dc, ac: the number of the Huffman table of each component.
        first, last: the zigzag indices that it codes.
        high, low: successive approximation, the bits before and after.
    """

    components: tuple[int, ...]
    dc: tuple[int, ...]
    ac: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int


@dataclass
class Header:
    """What has been read so far. `next_scan` goes on to the data of the next scan; the caller
    decodes them, sets `place` to their end and calls it again.

    Attributes:
        data: the file.
        place: the byte to go on at.
        frame: the frame, once it has been read.
        quantization: int32 [64] in raster order, by number.
        huffman: int32 [8, .], the decoding tables 0..3 of DC and 0..3 of AC.
        defined: the places of the tables that the file has defined; others are the standard's.
        restart: MCUs between restarts, or 0.
        exif: the orientation of the first Exif segment that has one, 1..8.
        xmp: the orientation of the last XMP segment that has one, 0..9.
        jfif: whether there is a JFIF segment.
        adobe_transform: the colour transform of an Adobe segment, if there is one.
        scans: how many scans there have been.
        truncated: whether the file was found to end before its end-of-image marker.
    """

    data: bytes
    place: int = 2
    frame: Frame | None = None
    quantization: dict[int, np.ndarray] = field(default_factory=dict)
    huffman: np.ndarray = field(default_factory=lambda: standard_tables()[0])
    defined: frozenset[int] = frozenset()
    restart: int = 0
    exif: int | None = None
    xmp: int | None = None
    jfif: bool = False
    adobe_transform: int | None = None
    scans: int = 0
    truncated: bool = False

    @property
    def found_frame(self) -> Frame:
        """The frame, once it has been read; no scan comes before it."""
        assert self.frame is not None
        return self.frame

    @property
    def upright(self) -> int | None:
        """The orientation to turn the picture by: Exif's, or XMP's where Exif has none."""
        return self.xmp if self.exif is None else self.exif

    @property
    def huffman_tables(self) -> frozenset[int]:
        """The places of usable tables, in sequential files (Motion JPEG) the standard's, too."""
        return self.defined if self.found_frame.progressive else self.defined | standard_tables()[1]

    def first_scan(self) -> Scan | None:
        """Reads up to the first scan's data, as `next_scan`. Files of one collection often have
        everything before their first scan's data in common, so what a file begins with is
        remembered; a known beginning has all the segments of its file."""
        start = self.data.find(_SCAN_MARKER, 2) + 2
        end = start + int.from_bytes(self.data[start : start + 2], "big")
        beginning = self.data[:end] if 2 < end <= _LONGEST_BEGINNING else None
        if beginning is not None and (found := _BEGINNINGS.get(beginning)):
            known, first = found
            self.__dict__.update(known)
            self._check_frame()
            return first
        scan = self.next_scan()
        if scan is not None and self.place == end and beginning is not None:
            if len(_BEGINNINGS) >= _MOST_BEGINNINGS:
                _BEGINNINGS.clear()
            _BEGINNINGS[beginning] = {name: x for name, x in self.__dict__.items() if name != "data"}, scan
        return scan

    def __post_init__(self) -> None:
        if self.data[:2] != _START:
            raise ValueError("this is no JPEG file: it does not begin with the start-of-image marker")

    def next_scan(self) -> Scan | None:
        """Reads segments up to the next scan's data; None at the end of the image.

        Raises:
            ValueError: if a segment is damaged, or uses a feature that lists have no place for.
        """
        while True:
            marker, body = self._segment()
            if marker == _END_OF_IMAGE:
                need(self.frame is not None, "it ends before there is a picture" + self._what_follows())
                return None
            need(marker != _START_OF_IMAGE, "a second picture begins before its end")
            if marker == _START_OF_SCAN:
                need(self.frame is not None, "a scan comes before the frame")
                self.scans += 1
                if self.scans > MAX_SCANS:
                    raise ValueError(f"this JPEG file has more than {MAX_SCANS} scans, which are not read")
                return _scan(body, self.found_frame)
            if marker in _FRAMES:
                need(self.frame is None, "it has several frames")
                self.frame = _frame(marker, body)
                self._check_frame()
            elif marker in _OTHER_FRAMES:
                raise ValueError(f"this JPEG file uses {_OTHER_FRAMES[marker]}, which is not supported")
            elif marker == _QUANTIZATION:
                self.quantization = self.quantization | _quantization(body)
            elif marker == _HUFFMAN:
                tables = huffman_tables(body)
                self.defined = self.defined | tables.keys()
                self.huffman = self.huffman.copy()  # other files may share it
                for number, table in tables.items():
                    self.huffman[number] = table
            elif marker == _RESTART_INTERVAL:
                need(len(body) == 2, "the restart interval's segment is too short or too long")
                self.restart = int.from_bytes(body, "big")
            elif marker == _JFIF:
                self.jfif = self.jfif or body[:5] == b"JFIF\x00"
            elif marker == _APPLICATION_1:
                self.exif = self.exif or exif_orientation(body)
                found = xmp_orientation(body)
                self.xmp = self.xmp if found is None else found
            elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
                self.adobe_transform = body[11]

    def _segment(self) -> tuple[int, bytes]:
        data, place = self.data, self.place
        while True:
            place = data.find(b"\xff", place)
            if place < 0 or place + 1 >= len(data):
                self.truncated = True
                raise ValueError("the JPEG file ends without its end-of-image marker: it is truncated")
            marker = data[place + 1]
            if marker not in _ALONE:
                break
            place += 1 if marker == 0xFF else 2
        self.place = place + 2
        if marker in (_END_OF_IMAGE, _START_OF_IMAGE):
            return marker, b""
        length = int.from_bytes(data[self.place : self.place + 2], "big")
        body = data[self.place + 2 : self.place + length]
        self.truncated = len(data) < self.place + 2 or len(body) < length - 2
        need(length >= 2 and len(body) == length - 2, f"the segment at byte {place} is longer than the file")
        self.place += length
        return marker, body

    def _what_follows(self) -> str:
        return f"; another JPEG file follows at byte {self.place}" if self.data.startswith(_START, self.place) else ""

    def _check_frame(self) -> None:
        # Every block takes a bit at least. So a forged size cannot take more memory than the file's
        # length allows.
        if self.found_frame.offsets[-1] // 64 > 8 * len(self.data):
            height, width = self.found_frame.size
            raise ValueError(f"{height} x {width} pixels cannot be coded in a file of {len(self.data)} bytes")

    def check_colours(self) -> None:
        """Raises ValueError if the components are not grey or YCbCr; the rules are libjpeg's."""
        components = self.found_frame.components
        if len(components) == 3 and not self.jfif:
            named_rgb = bytes(c.name for c in components) == b"RGB"
            if self.adobe_transform == 0 or (self.adobe_transform is None and named_rgb):
                raise ValueError("this JPEG file's components are RGB; only grey and YCbCr are supported")


_BEGINNINGS: dict[bytes, tuple[dict[str, object], Scan]] = {}
"""The fields of `Header` but `data`, and the first scan, by all bytes up to that scan's data.
Nothing of it is ever changed."""


@lru_cache(maxsize=256)
def _frame(marker: int, body: bytes) -> Frame:
    need(len(body) >= 6 and len(body) == 6 + 3 * body[5], "the frame's segment is too short or too long")
    precision, number = body[0], body[5]
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if precision != 8:
        raise ValueError(f"this JPEG file has {precision}-bit samples; only 8 bits are supported")
    if number == 4:
        raise ValueError("this JPEG file has four components (CMYK or YCCK); only grey and YCbCr are supported")
    if number not in (1, 3):
        raise ValueError(f"this JPEG file has {number} components; only grey and YCbCr are supported")
    if height == 0:
        raise ValueError("this JPEG file gives its height after the first scan (DNL), which is not supported")
    need(width > 0, "the frame has no columns")
    if height * width > MAX_PIXELS:
        raise ValueError(f"this JPEG file has {height} x {width} pixels; at most {MAX_PIXELS} in all are read")
    parts = (body[i : i + 3] for i in range(6, len(body), 3))
    components = tuple(Component(name, factors & 15, factors >> 4, table) for name, factors, table in parts)
    for c in components:
        need(1 <= c.rows <= 4 and 1 <= c.cols <= 4 and c.table <= 3, "a component's sampling or table is not possible")
    need(len({c.name for c in components}) == number, "two components have one name")
    if number == 1:  # a single component's blocks follow one another whatever its factors
        components = (Component(components[0].name, 1, 1, components[0].table),)
    return Frame(_FRAMES[marker] == "progressive", (height, width), components)


@lru_cache(maxsize=256)
def _scan(body: bytes, frame: Frame) -> Scan:
    need(len(body) >= 4 and 1 <= body[0] <= len(frame.components), "a scan has no components, or too many")
    need(len(body) == 4 + 2 * body[0], "a scan's header is too short or too long")
    names = [c.name for c in frame.components]
    chosen, tables = body[1:-3:2], body[2:-3:2]
    need(all(name in names for name in chosen), "a scan names a component that the frame has not")
    components = tuple(names.index(name) for name in chosen)
    need(list(components) == sorted(set(components)), "a scan's components are not in the order of the frame")
    need(all(x >> 4 <= 3 and x & 15 <= 3 for x in tables), "a scan names a Huffman table that is not possible")
    band = (body[-3], body[-2], body[-1] >> 4, body[-1] & 15) if frame.progressive else (0, 63, 0, 0)
    return Scan(components, tuple(x >> 4 for x in tables), tuple(x & 15 for x in tables), *band)


@lru_cache(maxsize=256)
def _quantization(body: bytes) -> dict[int, np.ndarray]:
    tables = {}
    while body:
        wide, number = body[0] >> 4, body[0] & 15
        length = 64 * (wide + 1)
        need(wide <= 1 and number <= 3 and len(body) > length, "a quantisation table is too short, or has no such number")
        zigzagged = np.frombuffer(body[1 : 1 + length], ">u2" if wide else np.uint8)
        need(zigzagged.min() > 0, "a quantisation table has a divisor of 0")
        tables[number] = np.empty(64, np.int32)
        tables[number][zigzag(8)] = zigzagged
        body = body[1 + length :]
    return tables
