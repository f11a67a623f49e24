"""The yardsticks: the size of files with exactly the list's coefficients, and of the scans in
them."""

import io
import shutil
import subprocess
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.color import ChromaSubsampling
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES
from dct_jax.dct.coders import (
    ARITHMETIC,
    HUFFMAN,
    JPEG_XL,
    LEPTON,
    PROGRESSIVE,
    Coder,
    available_coders,
    coded_sizes,
    scan_bytes,
)
from dct_jax.dct.findings import _measure_coders

IMAGE = read_image(LANDSCAPES / "canyon4.jpg")


def test_scan_bytes_leave_out_every_header() -> None:
    """Files of one picture with and without comments have the same scan, and markers inside the
    data are data."""
    image = Image.fromarray(IMAGE)
    plain, commented = io.BytesIO(), io.BytesIO()
    image.save(plain, "JPEG")
    image.save(commented, "JPEG", comment=b"x" * 500)
    assert len(commented.getvalue()) == len(plain.getvalue()) + 504
    assert scan_bytes(commented.getvalue()) == scan_bytes(plain.getvalue())
    segments = b"\xff\xd8" + b"\xff\xda\x00\x04ab" + b"12345" + b"\xff\xd9"
    assert scan_bytes(segments) == 5
    scans = b"\xff\xda\x00\x02" + b"1\xff\x0023" + b"\xff\xc4\x00\x03c" + b"\xff\xda\x00\x02" + b"4\xff\xd05"
    assert scan_bytes(b"\xff\xd8" + scans + b"\xff\xd9") == 5 + 4


@pytest.mark.parametrize("progressive", [False, True])
def test_scan_bytes_of_pillows_files(progressive: bool) -> None:
    """A file is its scans, its segments (of which the marker is followed by a length) and its two
    markers without."""
    data = io.BytesIO()
    Image.fromarray(IMAGE).save(data, "JPEG", progressive=progressive, restart_marker_blocks=0 if progressive else 7)
    file, headers, place = data.getvalue(), 4, 2
    markers = b"\xe0\xdb\xc0\xc2\xc4\xda\xdd"
    while (place := file.find(b"\xff", place)) >= 0:
        if file[place + 1] in markers:
            length = 2 + int.from_bytes(file[place + 2 : place + 4], "big")
            headers, place = headers + length, place + length
        else:
            place += 1
    assert scan_bytes(file) == len(file) - headers


def test_established_coders_come_in_their_known_order() -> None:
    codec = DCTCodec()
    sparse = codec.encode(IMAGE)
    sizes = {coder.name: coded_sizes(coder, [sparse, sparse]) for coder in available_coders(codec)}
    huffman = sizes[HUFFMAN.name]
    assert huffman.files.tolist() == [len(sparse.to_jpeg())] * 2
    for better, worse, least in ((ARITHMETIC, HUFFMAN, 0.85), (PROGRESSIVE, ARITHMETIC, 0.95)):
        if better.name in sizes:
            assert least < sizes[better.name].scans[0] / sizes[worse.name].scans[0] < 1
    if LEPTON.name in sizes:
        assert sizes[LEPTON.name].scans is None
        assert 0.8 < sizes[LEPTON.name].files[0] / huffman.files[0] < 1
    if JPEG_XL.name in sizes:
        assert sizes[JPEG_XL.name].scans is None
        assert 0.7 < sizes[JPEG_XL.name].files[0] / huffman.files[0] < 1
        # A bare code stream: a container around it would hold what only makes the same file again.
        assert JPEG_XL.code(sparse.to_jpeg())[:2] == b"\xff\x0a"


@pytest.mark.skipif(not ARITHMETIC.is_installed, reason="jpegtran is not installed")
def test_arithmetic_coding_keeps_the_coefficients() -> None:
    sparse = DCTCodec().encode(IMAGE)
    huffman = subprocess.run(["jpegtran"], input=PROGRESSIVE.code(sparse.to_jpeg()), capture_output=True).stdout
    assert SparseDCT.from_jpeg(huffman).values.tolist() == sparse.values.tolist()


def test_what_cannot_be_coded_has_no_coders() -> None:
    assert available_coders(DCTCodec(block_size=16)) == []


def test_a_program_or_a_module_may_be_missing() -> None:
    for find in (partial(shutil.which, "no-such-program"), partial(find_spec, "no_such_module")):
        assert not Coder("missing", bytes, find).is_installed
    for find in (partial(shutil.which, "sh"), partial(find_spec, "json"), None):
        assert Coder("here", bytes, find).is_installed


@pytest.mark.skipif(not LEPTON.is_installed, reason="lepton_jpeg_python is not installed")
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_lepton_keeps_the_file(subsampling: ChromaSubsampling) -> None:
    from lepton_jpeg_python import decompress_bytes

    jpeg = DCTCodec(chroma_subsampling=subsampling).encode(IMAGE[:50, :77]).to_jpeg()
    assert decompress_bytes(LEPTON.code(jpeg)) == jpeg


@pytest.mark.skipif(not LEPTON.is_installed, reason="lepton_jpeg_python is not installed")
@pytest.mark.parametrize("file", [b"", b"no JPEG file", DCTCodec().encode(IMAGE).to_jpeg()[:100]])
def test_lepton_refuses_other_files_in_one_line(file: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Lepton failed: [^\n]+$"):
        LEPTON.code(file)


@pytest.mark.skipif(not ARITHMETIC.is_installed, reason="jpegtran is not installed")
def test_a_failing_program_is_named_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^jpegtran failed: [^\n]+$"):
        ARITHMETIC.code(b"no JPEG file")


def test_sizes_are_whole_numbers_of_bytes() -> None:
    sizes = coded_sizes(HUFFMAN, [SparseDCT.empty((8, 8), DCTCodec())])
    assert np.issubdtype(sizes.files.dtype, np.integer)
    assert 0 < sizes.scans[0] < 8 < sizes.files[0]


def test_a_coder_that_fails_is_named_and_the_others_stay() -> None:
    """Lepton refuses very small pictures; all of evaluate once ended with that."""

    def fail(jpeg: bytes) -> bytes:
        raise ValueError("no scan data")

    lists = [DCTCodec(quality=50).encode(IMAGE)]
    good = Coder("good", lambda jpeg: jpeg, has_scans=False)
    sizes, failed = _measure_coders([Coder("bad", fail), good], lists)
    assert [one.files.tolist() for one in sizes] == [[len(lists[0].to_jpeg())]]
    assert failed == ["not in the table: bad (no scan data)"]
