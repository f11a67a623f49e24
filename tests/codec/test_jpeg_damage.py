"""JPEG files that are damaged, or forged: each gives a list or a line."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import SparseDCT
from tests.codec.jpegs import FILES, KINDS, photograph, saved, segment


@pytest.mark.parametrize("progressive", [False, True])
def test_data_after_the_last_block_are_refused_unless_that_is_asked_for(progressive: bool) -> None:
    """Of 2,400 single flipped bits, 236 showed in nothing else, and were read without a word."""
    data = saved(photograph(40, 40), progressive=progressive)
    plain = SparseDCT.from_jpeg(data)
    ends = [data.rindex(b"\xff\xd9")]
    ends += [data.index(b"\xff\xc4", data.index(b"\xff\xda"))] if progressive else []  # a table follows the first scan
    for end, left_over in itertools.product(ends, (b"\0", b"ab", b"\xff\0", bytes(9))):
        longer = data[:end] + left_over + data[end:]
        with pytest.raises(ValueError, match="the data of a scan go on after its last block"):
            SparseDCT.from_jpeg(longer)
        assert SparseDCT.from_jpeg(longer, strict=False) == plain
    with pytest.raises(ValueError, match="a second picture begins before its end"):
        SparseDCT.from_jpeg(data[:2] + data)


PLAIN = saved(Image.new("RGB", (16, 16), "olive"))
PROGRESSIVE = saved(Image.new("RGB", (16, 16), "olive"), progressive=True)
FRAME = PLAIN.index(b"\xff\xc0")
EMPTY = segment(0xC4, b"\0" + bytes(16)) + b"\xff\xda"  # table 0 of DC without codes, and the scan


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(photograph(16, 16).convert("CMYK")), r"has four components \(CMYK or YCCK\); only grey and YCbCr"),
        (saved(photograph(16, 16), keep_rgb=True), "components are RGB; only grey and YCbCr"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc9"), "uses arithmetic coding"),
        ((FILES / "arithmetic.jpg").read_bytes(), "uses arithmetic coding"),
        (PROGRESSIVE.replace(b"\xff\xc4", b"\xff\xe5"), "Huffman table . of .C is missing"),
        (PLAIN.replace(b"\xff\xc4", b"\xff\xe5").replace(b"\xff\xda", EMPTY), "a Huffman code is not in its table"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc3"), "uses lossless coding"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc5"), "uses hierarchical coding"),
        (PLAIN[: FRAME + 4] + b"\x0c" + PLAIN[FRAME + 5 :], "has 12-bit samples; only 8 bits"),
        (PLAIN[: FRAME + 11] + b"\x41" + PLAIN[FRAME + 12 :], "sampling factors are 4x1, 1x1, 1x1; supported are"),
        (PLAIN[: FRAME + 5] + b"\0\0" + PLAIN[FRAME + 7 :], r"height after the first scan \(DNL\)"),
        (PLAIN[: FRAME + 5] + b"\xff\xff\xff\xff" + PLAIN[FRAME + 9 :], "65535 x 65535 pixels; at most"),
        (PLAIN[: FRAME + 5] + b"\x0f\xff\x0f\xff" + PLAIN[FRAME + 9 :], "4095 x 4095 pixels cannot be coded in a file of"),
        (PLAIN[:-2], "ends without its end-of-image marker: it is truncated"),
        (PLAIN[:-6] + PLAIN[-2:], "the data of a scan end early"),
        (b"", "this is no JPEG file"),
        (saved(photograph(8, 8))[2:], "this is no JPEG file"),
        (b"\xff\xd8\xff\xd9", "it ends before there is a picture$"),
        (b"\xff\xd8\xff\xd9" + PLAIN, "it ends before there is a picture; another JPEG file follows at byte 4"),
        (b"\xff\xd8" + segment(0xDB, b"\0" + bytes(64)), "a divisor of 0"),
        (b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 63), "a quantisation table is too short"),
        (b"\xff\xd8" + segment(0xC4, b"\0" + b"\3" + bytes(15) + b"abc"), "more codes than there are"),
        (b"\xff\xd8" + segment(0xDA, b"\1\1\0\0\77\0"), "a scan comes before the frame"),
        (PLAIN[:FRAME] + PLAIN[FRAME:FRAME + 19] + PLAIN[FRAME:], "several frames"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        SparseDCT.from_jpeg(data)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.jpg: the file cannot be read \(No such file"):
        SparseDCT.from_jpeg(tmp_path / "nothing.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.jpg: this is no JPEG file"):
        SparseDCT.from_jpeg(tmp_path / "empty.jpg")


def mutations(count: int, seed: int):
    """Damaged files: changed, removed, doubled and exchanged bytes, and cuts, of all kinds of small
    files."""
    rng = np.random.default_rng(seed)
    files = [
        saved(photograph(*size), subsampling=s, **KINDS[kind])
        for size in ((40, 24), (23, 50))
        for s in ("4:2:0", "4:4:4")
        for kind in ("baseline", "progressive", "progressive with restarts", "three tables")
    ]
    files += [saved(photograph(33, 20).convert("L"), progressive=p) for p in (False, True)]
    for _ in range(count):
        data = bytearray(files[rng.integers(len(files))])
        for _ in range(rng.integers(1, 5)):
            place, kind = int(rng.integers(len(data))), rng.integers(6)
            if kind == 0:
                data[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                data[place] = int(rng.choice([0, 1, 0x11, 0x7F, 0x80, 0xFF, 0xC4, 0xD9, 0xDA]))
            elif kind == 2:
                data[place] = int(rng.integers(256))
            elif kind == 3:
                del data[place : place + int(rng.integers(1, 20))]
            elif kind == 4:
                data[place:place] = data[place : place + int(rng.integers(1, 200))]
            elif rng.random() < 0.3:
                del data[place:]
            if not data:
                data = bytearray(b"\xff")
        yield bytes(data)


@pytest.mark.parametrize("count", [5_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_files_give_a_list_or_an_error_and_nothing_else(count: int) -> None:
    read = 0
    for data in mutations(count, seed=0):
        began = time.process_time()
        try:
            sparse = SparseDCT.from_jpeg(data)
        except ValueError:
            pass
        else:
            read += 1
            sparse.codec.check(sparse)
        assert time.process_time() - began < 5, "a small file must not take long"  # a hang, not a benchmark
    assert 0.05 < read / count < 0.75


@pytest.mark.slow
def test_no_damaged_file_makes_compiled_code_leave_its_arrays(tmp_path: Path) -> None:
    """Compiled code does not check indices, unless Numba is told to: then leaving an array is an
    IndexError."""
    program = (
        "from tests.codec.test_jpeg_damage import SparseDCT, mutations\n"
        "for data in mutations(3000, seed=1):\n"
        "    try: SparseDCT.from_jpeg(data)\n"
        "    except ValueError: pass\n"
    )
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=checked, cwd=Path(__file__).parents[2])


def test_more_scans_than_anyone_writes_are_refused() -> None:
    """Every scan walks over all blocks, however short it is: a small file could ask for hours of
    work."""
    data = saved(photograph(16, 16).convert("L"), progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    tables = data[:first] + segment(0xC4, b"\x10" + b"\1" + bytes(15) + b"\0")  # one code, a bit long: the band is empty
    empty = [b"\xff\xda\0\x08\1\1\0" + bytes((k, k, 13)) + b"\x0f" for k in range(1, 64)]  # 4 blocks, a bit each
    finer = [b"\xff\xda\0\x08\1\1\0" + bytes((k, k, (low + 1) << 4 | low)) + b"\x0f" for low in (12, 11) for k in range(1, 64)]
    dc = data[first:second].split(b"\xff\xc4")[0]
    SparseDCT.from_jpeg(tables + dc + b"".join(empty) + b"\xff\xd9")
    with pytest.raises(ValueError, match="more than 100 scans"):
        SparseDCT.from_jpeg(tables + dc + b"".join(empty + finer) + b"\xff\xd9")


@pytest.mark.parametrize(("low", "message"), [(11, "a coefficient is out of range"), (12, "a scan's band is not possible")])
def test_a_dc_without_its_twelve_lowest_bits_is_refused_by_its_header(low: int, message: str) -> None:
    """Every such scan was refused in the data, as damaged."""
    place = PROGRESSIVE.index(b"\xff\xda") + 13
    assert PROGRESSIVE[place] == 1  # the first scan lacks one bit
    with pytest.raises(ValueError, match=message):
        SparseDCT.from_jpeg(PROGRESSIVE[:place] + bytes([low]) + PROGRESSIVE[place + 1 :])


def test_a_scan_that_comes_twice_is_refused() -> None:
    """Every scan walks over all blocks, whatever its length: a small file could ask for hours of
    work."""
    data = saved(photograph(16, 16), progressive=True)
    place = data.index(b"\xff\xda")
    with pytest.raises(ValueError, match="do not follow from one another"):
        SparseDCT.from_jpeg(data[:place] + data[place:-2] * 2)
