"""JPEG files that begin alike: what is remembered of one is no more than what the others say
too."""

from pathlib import Path

import pytest
from PIL import Image

from dct_jax.codec import SparseDCT, jpeg_header
from dct_jax.codec.jpeg import read_partial_jpeg
from tests.codec.test_jpeg import assert_libjpegs, photograph, saved


@pytest.fixture
def beginnings(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What is remembered, with nothing in it yet."""
    known = {}
    monkeypatch.setattr(jpeg_header, "_BEGINNINGS", known)
    return known


def until_the_scans_data(data: bytes) -> bytes:
    """The file up to its first scan's data."""
    scan = data.index(b"\xff\xda") + 2
    return data[: scan + int.from_bytes(data[scan : scan + 2], "big")]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_too_short_for_its_size_is_refused_though_its_beginning_is_known(beginnings: dict, progressive: bool) -> None:
    whole = saved(Image.new("RGB", (640, 640), "olive"), progressive=progressive)
    beginning = until_the_scans_data(whole)
    short = beginning + b"\xff\xd9"  # 9,600 blocks, and fewer bits
    message = f"640 x 640 pixels cannot be coded in a file of {len(short)} bytes"
    for read in (SparseDCT.from_jpeg, read_partial_jpeg):
        beginnings.clear()
        with pytest.raises(ValueError, match=message):
            read(short)
        assert not beginnings  # what is refused is not remembered
        SparseDCT.from_jpeg(whole)
        assert list(beginnings) == [beginning]
        with pytest.raises(ValueError, match=message):
            read(short)


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"subsampling": "4:4:4"}], ids=str)
def test_files_that_begin_alike_have_their_own_coefficients(beginnings: dict, options: dict, tmp_path: Path) -> None:
    picture = photograph(61, 93)
    files = [saved(x, **options) for x in (picture, picture.transpose(Image.Transpose.ROTATE_180), picture)]
    for data in files:
        assert_libjpegs(data, tmp_path, SparseDCT.from_jpeg(data))
    assert list(beginnings) == [until_the_scans_data(files[0])]
    assert SparseDCT.from_jpeg(files[0]) != SparseDCT.from_jpeg(files[1])


def test_tables_of_later_scans_leave_the_remembered_beginning_as_it_was(beginnings: dict, tmp_path: Path) -> None:
    """A progressive file defines Huffman tables between its scans."""
    data = saved(photograph(61, 93), progressive=True)
    assert b"\xff\xc4" in data[len(until_the_scans_data(data)) :]
    for _ in range(2):
        assert_libjpegs(data, tmp_path, SparseDCT.from_jpeg(data))
    (header, _), *others = beginnings.values()
    assert not others and header["scans"] == 1
