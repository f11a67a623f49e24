"""Files of every kind of sample, and the RGB pixels that they mean."""

import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from dct_jax.data.formats import FORMATS
from dct_jax.data.pixels import decode_image, image_size, read_image
from dct_jax.data.sources import LANDSCAPES
from dct_jax.storage.files import read_limited

WHITE = [255, 255, 255]

NEEDS_PILLOW_13 = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 12, which Gradio wants, refuses this kind of TIFF file"
)


def pixels(path: Path) -> list[list[int]]:
    """The file's pixels, row by row."""
    image = read_image(path)
    assert image.dtype == np.uint8
    return image.reshape(-1, 3).tolist()


def save(path: Path, mode: str, *row: int | tuple[int, ...], palette: list[int] | None = None, **options: object) -> Path:
    """A file of one row of pixels, as Pillow writes it."""
    image = Image.new(mode, (len(row), 1))
    if palette:
        image.putpalette(palette)
    for x, pixel in enumerate(row):
        image.putpixel((x, 0), pixel)
    image.save(path, **options)
    return path


def png(path: Path, width: int, bits: int, colour_type: int, row: bytes, key: bytes = b"") -> Path:
    """A PNG file of one row, with what Pillow does not write: 16-bit colours, 4-bit grey,
    transparent colours for them."""
    header = struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"tRNS", key)] if key else []), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    coded = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(coded))
    return path


def tiff(path: Path, width: int, bits: int, photometric: int, row: bytes, samples: int = 1, **tags: int) -> Path:
    """An uncompressed little-endian TIFF file of one row."""
    numbers = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 256, 277: samples, 278: 1, 279: len(row)}
    numbers |= {{"extra": 338, "format": 339}[name]: number for name, number in tags.items()}
    entries = b""
    for tag, number in sorted(numbers.items()):
        count = samples if tag == 258 else 1
        number = number * 0x10001 if count == 2 else 240 if count > 2 else number  # three 16-bit numbers lie outside the entry
        entries += struct.pack("<HHII", tag, 3, count, number)
    directory = struct.pack("<2sHIH", b"II", 42, 8, len(numbers)) + entries + bytes(4)
    path.write_bytes(directory.ljust(240, b"\0") + struct.pack(f"<{samples}H", *[bits] * samples).ljust(16, b"\0") + row)
    return path


def test_modes_without_transparency(tmp_path: Path) -> None:
    grey = [[9, 9, 9], [200, 200, 200]]
    for suffix in ("png", "tif", "gif", "bmp"):
        assert pixels(save(tmp_path / f"grey.{suffix}", "L", 9, 200)) == grey
        assert pixels(save(tmp_path / f"bits.{suffix}", "1", 0, 255)) == [[0, 0, 0], WHITE]
        palette = [1, 2, 3, 250, 0, 7]
        assert pixels(save(tmp_path / f"palette.{suffix}", "P", 1, 0, palette=palette)) == [[250, 0, 7], [1, 2, 3]]
    # (1 - 0.2) (1 - 128/255), (1 - 0) (1 - 128/255), (1 - 0.4) (1 - 128/255)
    assert pixels(save(tmp_path / "cmyk.tif", "CMYK", (51, 0, 102, 128))) == [[102, 127, 76]]


@NEEDS_PILLOW_13
def test_ycbcr(tmp_path: Path) -> None:
    """By JFIF: R = 128 + 1.402 * 122, G = 128 + 0.344136 * 118 - 0.714136 * 122, B = 128 - 1.772 *
    118."""
    assert pixels(save(tmp_path / "ycbcr.tif", "YCbCr", (128, 10, 250))) == [[255, 81, 0]]


def test_files_that_lose_a_little(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.jpg", "L", *[120] * 8, quality=95)
    cmyk = save(tmp_path / "cmyk.jpg", "CMYK", *[(51, 0, 102, 128)] * 8, quality=95)
    colour = save(tmp_path / "colour.webp", "RGB", *[(200, 100, 50)] * 8, quality=100)
    for path, expected in ((grey, [120, 120, 120]), (cmyk, [102, 127, 76]), (colour, [200, 100, 50])):
        np.testing.assert_allclose(pixels(path), [expected] * 8, atol=4)


def test_what_is_transparent_is_laid_over_white(tmp_path: Path) -> None:
    """The last pixel of each is invisible, whatever its colour. 100 * 128/255 + 255 * 127/255 =
    177.2, and so on."""
    rgba = [(200, 100, 50, 255), (200, 100, 50, 128), (9, 9, 9, 0)]
    blended = [[200, 100, 50], [227, 177, 152], WHITE]
    assert pixels(save(tmp_path / "rgba.png", "RGBA", *rgba)) == blended
    assert pixels(save(tmp_path / "rgba.tif", "RGBA", *rgba)) == blended
    assert pixels(save(tmp_path / "rgba.webp", "RGBA", *rgba, lossless=True, exact=True)) == blended
    assert pixels(save(tmp_path / "la.png", "LA", (100, 255), (100, 128), (9, 0))) == [[100] * 3, [177] * 3, WHITE]
    pa = save(tmp_path / "pa.tif", "PA", (0, 255), (1, 128), (0, 0), palette=[10, 20, 30, 200, 100, 50])
    assert pixels(pa) == [[10, 20, 30], [227, 177, 152], WHITE]


@NEEDS_PILLOW_13
def test_premultiplied_alpha(tmp_path: Path) -> None:
    """Grey 50 at alpha 128 is 50 + 127; the decoded colour, 100, is rounded."""
    path = tiff(tmp_path / "la.tif", 2, 8, 1, bytes([50, 128, 0, 0]), samples=2, extra=1)
    assert Image.open(path).mode == "La"
    np.testing.assert_allclose(pixels(path), [[177] * 3, WHITE], atol=1)
    path = tiff(tmp_path / "rgba.tif", 2, 8, 2, bytes([100, 50, 25, 128, 0, 0, 0, 0]), samples=4, extra=1)
    np.testing.assert_allclose(pixels(path), [[227, 177, 152], WHITE], atol=1)


def test_transparent_colours_and_palette_entries(tmp_path: Path) -> None:
    assert pixels(save(tmp_path / "l.png", "L", 9, 20, 30, transparency=20)) == [[9, 9, 9], WHITE, [30, 30, 30]]
    rgb = save(tmp_path / "rgb.png", "RGB", (9, 20, 30), (9, 20, 31), transparency=(9, 20, 30))
    assert pixels(rgb) == [WHITE, [9, 20, 31]]
    assert pixels(save(tmp_path / "1.png", "1", 0, 255, transparency=0)) == [WHITE, WHITE]
    palette = [1, 2, 3, 200, 100, 50, 7, 8, 9]
    for suffix in ("png", "gif"):
        path = save(tmp_path / f"p.{suffix}", "P", 0, 1, 2, palette=palette, transparency=1)
        assert pixels(path) == [[1, 2, 3], WHITE, [7, 8, 9]]
    path = save(tmp_path / "alphas.png", "P", 0, 1, 2, palette=palette, transparency=bytes([255, 128, 0]))
    assert pixels(path) == [[1, 2, 3], [227, 177, 152], WHITE]
    # Samples of 2 and 4 bits become 85 and 17 times as large, and so must their transparent colour.
    assert pixels(png(tmp_path / "g2.png", 4, 2, 0, b"\x1b", key=b"\0\2")) == [[0, 0, 0], [85, 85, 85], WHITE, WHITE]
    assert pixels(png(tmp_path / "g4.png", 2, 4, 0, b"\x35", key=b"\0\3")) == [WHITE, [85, 85, 85]]


def test_of_sixteen_bits_the_upper_eight_stay(tmp_path: Path) -> None:
    """Pillow's own conversion of 16-bit grey turns nearly every sample white."""
    ramp = (0x0000, 0x00FF, 0x0100, 0x1234, 0x80FF, 0xFFFF)
    expected = [[x, x, x] for x in (0, 0, 1, 0x12, 0x80, 255)]
    assert pixels(save(tmp_path / "little.tif", "I;16", *ramp)) == expected
    assert pixels(save(tmp_path / "big.tif", "I;16B", *ramp)) == expected
    assert Image.open(tmp_path / "big.tif").mode == "I;16B"
    big = struct.pack(">6H", *ramp)
    assert pixels(png(tmp_path / "grey.png", 6, 16, 0, big)) == expected
    keyed = png(tmp_path / "keyed.png", 6, 16, 0, big, key=b"\x12\x34")
    assert pixels(keyed) == [*expected[:3], WHITE, *expected[4:]]
    assert pixels(png(tmp_path / "near.png", 6, 16, 0, big, key=b"\x12\x35")) == expected
    assert pixels(png(tmp_path / "rgb.png", 2, 16, 2, big)) == [[0, 0, 1], [0x12, 0x80, 255]]
    assert pixels(tiff(tmp_path / "rgb.tif", 2, 16, 2, struct.pack("<6H", *ramp), samples=3)) == [[0, 0, 1], [0x12, 0x80, 255]]
    assert pixels(png(tmp_path / "la.png", 2, 16, 4, struct.pack(">4H", 0x6400, 0x8000, 0x0900, 0))) == [[177] * 3, WHITE]
    colour = struct.pack(">8H", 0xC800, 0x6400, 0x3200, 0x8000, 0x0900, 0, 0, 0)
    assert pixels(png(tmp_path / "rgba.png", 2, 16, 6, colour)) == [[227, 177, 152], WHITE]


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("integers.tif", "I", "its samples are 32-bit numbers of unknown range (mode I); convert it to 8 or 16 bits"),
        ("integers.pgm", "I", "its samples are 32-bit numbers of unknown range (mode I); convert it to 8 or 16 bits"),
        ("floats.tif", "F", "its samples are 32-bit numbers of unknown range (mode F); convert it to 8 or 16 bits"),
        ("lab.tif", "LAB", "its mode is LAB, whose colours are not certain; convert it to RGB"),
    ],
)
def test_modes_without_certain_colours_are_refused(tmp_path: Path, name: str, mode: str, reason: str) -> None:
    Image.new(mode, (2, 1)).save(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        read_image(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {reason}"


def test_files_that_pillow_misreads_are_refused(tmp_path: Path) -> None:
    """Pillow takes each of them for something else, and says nothing."""
    row = struct.pack(">3H", 0x1234, 0x80FF, 0xFFFE)
    for path, reason in (
        (png(tmp_path / "a.png", 1, 16, 2, row, key=row), "its transparent colour has 16 bits a sample"),
        (tiff(tmp_path / "b.tif", 2, 12, 1, bytes(3)), "its samples have 12 bits; convert it to 8 or 16 bits"),
        (tiff(tmp_path / "c.tif", 1, 16, 0, bytes(2)), "its 16-bit samples run from white to black"),
        (tiff(tmp_path / "d.tif", 1, 8, 1, b"\xff", format=2), "its samples are signed numbers"),
    ):
        with pytest.raises(ValueError, match=f"{path}: {reason}"):
            read_image(path)
    assert pixels(tiff(tmp_path / "white.tif", 2, 8, 0, bytes([0, 55]))) == [WHITE, [200, 200, 200]]


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "LA", "RGBA"])
def test_every_kind_is_turned_as_its_exif_orientation_says(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (3, 2))
    levels = {"L": 255, "I;16": 0xFF00, "RGB": (0, 255, 0), "LA": (9, 255), "RGBA": (9, 9, 9, 255)}
    image.putpixel((0, 0), levels[mode])
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned clockwise by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.full((3, 2), 255 if mode in ("LA", "RGBA") else 0)
    expected[0, 1] = 9 if mode in ("LA", "RGBA") else 255
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png")[..., 1], expected)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}/missing.png: there is no such file"):
        read_image(tmp_path / "missing.png")
    jpeg = (LANDSCAPES / "beach0.jpg").read_bytes()
    no_image = "this is no image of a kind that is read"
    for name, content, reason in (
        ("empty.jpg", b"", no_image),
        ("garbage.png", b"garbage", no_image),
        ("truncated.jpg", jpeg[: len(jpeg) // 2], "this image cannot be read"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: {reason}"):
            read_image(path)


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was once read whole, however large it was."""
    monkeypatch.setattr("dct_jax.data.pixels.read_limited", partial(read_limited, largest=2**10))
    with pytest.raises(ValueError, match=r"beach0\.jpg: this file has more than 1 KiB, which is too much"):
        read_image(LANDSCAPES / "beach0.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 8])
def test_sizes_from_headers_are_those_of_the_pixels(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pillow gives a TIFF image's size upright; it was once exchanged a second time."""
    image, exif = Image.new("RGB", (30, 20)), Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert image_size(data) == decode_image(data).shape[:2]
    assert image_size(data, upright=False) == (20, 30)


def test_postscript_under_a_picture_s_name_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow starts Ghostscript for it, whose language can read and write files."""

    def start(*args: object, **_: object) -> None:
        raise AssertionError(f"{args} was started")

    monkeypatch.setattr("subprocess.check_call", start)
    monkeypatch.setattr("subprocess.Popen", start)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (tmp_path / "a.jpg").write_bytes(program)
    assert Image.open(tmp_path / "a.jpg").format == "EPS"
    with pytest.raises(ValueError, match="this is no image of a kind that is read"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="this is no image of a kind that is read"):
        image_size(program)


def test_every_kind_that_is_named_is_one_of_pillow_s() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)
    known = Image.registered_extensions()
    assert {known[suffix] for suffixes in FORMATS.values() for suffix in suffixes if suffix != ".mpo"} == set(FORMATS)
