"""The format of compressed files, against literal bytes."""

import dataclasses
import zlib

import numpy as np
import pytest

from dct_jax.codec import SparseDCT
from dct_jax.dct.compression.stream import Group, Stream, list_check
from tests.toys import TINY_CODEC

HEADER = b"\xdc\x03" + bytes.fromhex("001122") + bytes.fromhex("0000abcd")
OLDER = b"\xdc\x02" + HEADER[2:]
WORDS = np.array([0x01020304, 0x05060000], np.uint32)
CODED = b"\x01\x02\x03\x04\x05\x06"


def checked(rest: bytes, header: bytes = HEADER) -> bytes:
    return header + zlib.crc32(header + rest).to_bytes(4, "big")[:2] + rest


@pytest.mark.parametrize(
    ("fields", "groups", "rest"),
    [
        ((None, 0, None), (Group(WORDS),), b"\x00\x18" + CODED),
        (((64, 300), 0, None), (Group(WORDS),), b"\x01\x18\x40\xac\x02" + CODED),
        (((64, 300), 3, 75), (Group(WORDS),), b"\x07\x18\x40\xac\x02\x03\x4b" + CODED),
        ((None, 128, None), (Group(WORDS),), b"\x02\x18\x80\x01" + CODED),
        ((None, 0, None), (Group(WORDS, (5, 7, 207)),), b"\x08\x18\x03\x05\x02\xc8\x01" + CODED),
        (
            (None, 0, None),
            (Group(WORDS[:1]), Group(WORDS, (0, 1)), Group(WORDS)),
            b"\x18\x18\x03\x04\x06\x00\x02\x00\x01\x00" + CODED[:4] + CODED + CODED,
        ),
    ],
)
def test_the_bytes_are_the_documented_ones(fields: tuple, groups: tuple[Group, ...], rest: bytes) -> None:
    data = checked(rest)
    assert Stream(bytes.fromhex("001122"), *fields, 0xABCD, 24, groups).to_bytes() == data
    read = Stream.from_bytes(data)
    assert (read.fingerprint.hex(), read.list_check, read.tolerance, read.version) == ("001122", 0xABCD, 24, 3)
    assert (read.size, read.label, read.quality) == fields
    assert [(one.words.tolist(), one.hints) for one in read.groups] == [(one.words.tolist(), one.hints) for one in groups]


@pytest.mark.parametrize("words", [[], [0], [0, 0, 0], [1 << 24, 0], [0, 1]])
def test_the_number_of_words_stays(words: list[int]) -> None:
    """It bounds how much can be read from them."""
    data = Stream(b"abc", None, 0, None, 1, 24, (Group(np.array(words, np.uint32)),)).to_bytes()
    assert Stream.from_bytes(data).groups[0].words.tolist() == words
    assert len(data) <= 13 + 4 * len(words)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_are_read_and_written(version: int) -> None:
    data = checked(b"\x03\x40\xac\x02\x03" + CODED, bytes([0xDC, version]) + HEADER[2:])
    read = Stream.from_bytes(data)
    assert (read.size, read.label, read.quality, read.tolerance, read.version) == ((64, 300), 3, None, 0, version)
    assert read.groups[0].words.tolist() == WORDS.tolist()
    assert read.to_bytes() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with the byte 0xdc"),
        (b"\xff\xd8\xff", "does not begin with the byte 0xdc"),
        (b"\xdc", "version is missing"),
        (b"\xdc\x04" + bytes(20), "version is 4; this version of dct_jax reads 1, 2 and 3"),
        (HEADER, "damaged or truncated"),
        (checked(b""), "checksum is wrong"),
        (checked(b"\x20\x18"), "says that 32 follows; it must be 0 to 31"),
        (checked(b"\x04", OLDER), "says that 4 follows; it must be 0 to 3"),
        (checked(b"\x00"), "its header has no end"),
        (checked(b"\x00\x07"), r"tolerance is 2\^-7; this version of dct_jax knows 2\^-48 to 2\^-8"),
        (checked(b"\x00\x31"), r"tolerance is 2\^-49"),
        (checked(b"\x01\x18"), "has no end"),
        (checked(b"\x01\x18\x40\x80"), "has no end"),
        (checked(b"\x02\x18\xff\xff\xff\xff\xff\x01\x01"), "a number in its header has no end"),
        (checked(b"\x08\x18\xff\xff\xff\xff\x07\x01"), "its header has no end"),
        (checked(b"\x10\x18\x02\x09" + CODED), "its groups have 9 bytes, it has 6"),
        (checked(b"\x10\x18\xff\xff\xff\xff\x07\x01"), "its header has no end"),
        (checked(b"\x00\x18\x00")[:-1], "checksum is wrong"),
        (checked(b"\x00\x18\x00") + b"\x00", "checksum is wrong"),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stream.from_bytes(data)


def test_the_check_of_a_list_sees_every_number() -> None:
    def triples(*rows: list[int], size: tuple[int, int] = (16, 16)) -> SparseDCT:
        return SparseDCT(*(np.array(row, np.int32) for row in rows), size, TINY_CODEC)

    different = [
        triples([0, 1], [2, 3], [4, 5]),
        triples([0, 2], [2, 3], [4, 5]),
        triples([0, 1], [2, 2], [4, 5]),
        triples([0, 1], [2, 3], [4, -5]),
        triples([0], [2], [4]),
        triples([0, 1], [2, 3], [4, 5], size=(16, 15)),
    ]
    assert len({list_check(sparse) for sparse in different}) == len(different)
    finer = dataclasses.replace(different[0], codec=dataclasses.replace(TINY_CODEC, quality=31))
    assert list_check(finer) != list_check(different[0])
    assert list_check(finer, 2) == list_check(different[0], 2)  # as older files have it
