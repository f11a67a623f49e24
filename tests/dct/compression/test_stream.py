"""The format of compressed files, against literal bytes."""

import zlib

import numpy as np
import pytest

from dct_jax.codec import SparseDCT
from dct_jax.dct.compression.stream import Stream, list_check
from tests.toys import TINY_CODEC

HEADER = b"\xdc\x02" + bytes.fromhex("001122") + bytes.fromhex("0000abcd")


def checked(rest: bytes, header: bytes = HEADER) -> bytes:
    return header + zlib.crc32(header + rest).to_bytes(4, "big")[:2] + rest


@pytest.mark.parametrize(
    ("size", "label", "rest"),
    [
        (None, 0, b"\x00"),
        ((64, 300), 0, b"\x01\x40\xac\x02"),
        ((64, 300), 3, b"\x03\x40\xac\x02\x03"),
        (None, 128, b"\x02\x80\x01"),
    ],
)
def test_the_bytes_are_the_documented_ones(size: tuple[int, int] | None, label: int, rest: bytes) -> None:
    words = np.array([0x01020304, 0x05060000], np.uint32)
    data = checked(rest + b"\x01\x02\x03\x04\x05\x06")
    assert Stream(bytes.fromhex("001122"), size, label, 0xABCD, words).to_bytes() == data
    read = Stream.from_bytes(data)
    assert (read.fingerprint.hex(), read.size, read.label, read.list_check) == ("001122", size, label, 0xABCD)
    assert (read.words.tolist(), read.version) == (words.tolist(), 2)
    assert Stream.from_bytes(checked(rest, b"\xdc\x01" + HEADER[2:])).version == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with the byte 0xdc"),
        (b"\xff\xd8\xff", "does not begin with the byte 0xdc"),
        (b"\xdc", "version is missing"),
        (b"\xdc\x03" + bytes(20), "version is 3; this version of dct_jax reads 1 and 2"),
        (HEADER, "damaged or truncated"),
        (checked(b""), "checksum is wrong"),
        (checked(b"\x04"), "says that 4 follows"),
        (checked(b"\x01"), "has no end"),
        (checked(b"\x01\x40\x80"), "has no end"),
        (checked(b"\x02\xff\xff\xff\xff\xff\x01\x01"), "has no end"),
        (checked(b"\x00\x00")[:-1], "checksum is wrong"),
        (checked(b"\x00\x00") + b"\x00", "checksum is wrong"),
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
