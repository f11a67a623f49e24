"""Lists <-> JPEG files: every kind of file against jpeglib's reading and Pillow's decoding."""

import dataclasses
import io
import itertools
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image, ImageOps

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.channel_order import CHANNEL_ORDERS
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS
from tests.codec.jpegs import FILES, KINDS, photograph, saved, segment


def assert_libjpegs(data: bytes, tmp_path: Path, sparse: SparseDCT) -> None:
    """The list has exactly the coefficients and tables that jpeglib finds in the file, and Pillow's
    pixels."""
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    theirs = jpeglib.read_dct(str(path))
    ours = sparse.codec.to_coefficients(sparse)
    for component, blocks in enumerate((theirs.Y, theirs.Cb, theirs.Cr)[: len(ours)]):
        np.testing.assert_array_equal(ours[component].transpose(2, 3, 0, 1), blocks)
        np.testing.assert_array_equal(sparse.codec.quantization_tables[component], theirs.get_component_qt(component))
    assert sparse.size == (theirs.height, theirs.width)
    np.testing.assert_array_equal(sparse.codec.decode(sparse), np.array(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("size", [(64, 96), (61, 93), (9, 17), (1, 1)], ids=str)
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "grey"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(kind: str, subsampling: str, size: tuple[int, int], tmp_path: Path) -> None:
    image, options = photograph(*size), KINDS[kind] | {"subsampling": subsampling}
    if subsampling == "grey":
        image, options = image.convert("L"), KINDS[kind]
    data = saved(image, **options)
    sparse = SparseDCT.from_jpeg(data)
    assert sparse.codec.chroma_subsampling == {"grey": "4:0:0"}.get(subsampling, subsampling)
    assert_libjpegs(data, tmp_path, sparse)
    (tmp_path / "named.jpg").write_bytes(data)
    assert SparseDCT.from_jpeg(str(tmp_path / "named.jpg")) == sparse
    assert SparseDCT.from_jpeg(bytearray(data), channel_order="luma_first").channels.tolist() == sorted(
        sparse.channels.tolist(), key=DCTCodec(channel_order="luma_first").vocabulary((8, 8)).rank.__getitem__
    )


@pytest.mark.parametrize(
    ("name", "subsampling"),
    [
        ("sampling_2x2_2x2_2x2", "4:4:4"),
        ("sampling_2x2_1x2_1x2", "4:2:2"),
        ("sampling_2x2_2x1_2x1", "4:4:0"),
        ("sampling_1x2_1x1_1x1", "4:4:0"),
        ("sampling_4x1_2x1_2x1", "4:2:2"),
        ("scans_separate", "4:2:0"),
        ("scans_of_chroma_together", "4:2:0"),
        ("scans_progressive_in_odd_order", "4:2:0"),
    ],
)
def test_files_that_pillow_does_not_write(name: str, subsampling: str, tmp_path: Path) -> None:
    data = (FILES / f"{name}.jpg").read_bytes()
    sparse = SparseDCT.from_jpeg(data)
    assert (sparse.codec.chroma_subsampling, sparse.size) == (subsampling, (29, 43))
    assert_libjpegs(data, tmp_path, sparse)
    assert SparseDCT.from_jpeg(sparse.to_jpeg()) == sparse


def joined(data: bytes, marker: int) -> bytes:
    """The file with all of its segments of this kind in one."""
    parts, rest, place = b"", b"", 2
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == marker:
            parts += data[place + 4 : end]
        else:
            rest += data[place:end]
        place = end
    return data[:2] + segment(marker, parts) + rest + data[place:]


def test_tables_and_markers_in_unusual_places() -> None:
    """Several tables in a segment, fill bytes, bytes after the end, and a table that changes its
    meaning after its use."""
    data = saved(photograph(40, 40), restart_marker_blocks=1)
    plain = SparseDCT.from_jpeg(data)
    assert data.count(b"\xff\xdb") == 2 and data.count(b"\xff\xc4") == 4
    assert SparseDCT.from_jpeg(joined(data, 0xDB)) == plain
    assert SparseDCT.from_jpeg(joined(data, 0xC4)) == plain
    scan = data.index(b"\xff\xda") + 14
    filled = data[:scan] + data[scan:].replace(b"\xff\xd3", b"\xff\xff\xff\xd3").replace(b"\xff\xd9", b"\xff\xff\xd9")
    assert SparseDCT.from_jpeg(filled) == plain
    assert SparseDCT.from_jpeg(data + b"\xff\xd8 another picture") == plain
    scans = (FILES / "scans_separate.jpg").read_bytes()
    second = scans.index(b"\xff\xda", scans.index(b"\xff\xda") + 2)
    changed = scans[:second] + segment(0xDB, b"\0" + b"\7" * 64) + scans[second:]  # after luma's scan, which used table 0
    assert SparseDCT.from_jpeg(changed) == SparseDCT.from_jpeg(scans)


def test_files_without_tables_of_their_own_have_those_of_the_standard() -> None:
    """Motion JPEG frames of cameras."""
    data = saved(photograph(40, 40))
    bare = data
    while (place := bare.find(b"\xff\xc4")) >= 0:
        bare = bare[:place] + bare[place + 2 + int.from_bytes(bare[place + 2 : place + 4], "big") :]
    assert len(bare) < len(data) - 400
    assert SparseDCT.from_jpeg(bare) == SparseDCT.from_jpeg(data)


def test_a_table_without_codes_and_fill_bytes_in_the_data_change_nothing() -> None:
    data = saved(photograph(80, 80), quality=95)
    scan, end = data.index(b"\xff\xda") + 14, len(data) - 2
    assert data.count(b"\xff\x00", scan) > 5
    for bytes_of_fill in (1, 2, 5):
        filled = data[:scan] + data[scan:].replace(b"\xff\x00", b"\xff" * bytes_of_fill + b"\xff\x00")
        assert SparseDCT.from_jpeg(filled) == SparseDCT.from_jpeg(data)
    unused = segment(0xC4, b"\x13" + bytes(16))
    assert SparseDCT.from_jpeg(data[:2] + unused + data[2:]) == SparseDCT.from_jpeg(data)
    fill = b"\xff" * 1_000_000  # each byte is looked at once, not once a block
    with pytest.raises(ValueError, match="the data of a scan end early"):
        SparseDCT.from_jpeg(data[: end - 400] + fill + b"\xd9")


def test_coefficients_that_no_picture_needs_are_kept_and_limited_for_models(tmp_path: Path) -> None:
    """mozjpeg writes some beside black and white, where what is beyond the range is cut off
    anyway."""
    codec, one = DCTCodec(8, None, "4:0:0", tables=(5,) * 64), np.ones(1, np.int32)
    largest = codec.vocabulary((8, 8)).largest_value
    for value in (largest + 12, -largest - 12, 1000):
        sparse = SparseDCT(5 * one, 0 * one, value * one, (8, 8), codec)
        data = sparse.to_jpeg()
        assert_libjpegs(data, tmp_path, SparseDCT.from_jpeg(data))
        assert SparseDCT.from_jpeg(data) == sparse
        assert codec.requantize(sparse).values.tolist() == [np.sign(value) * largest]
        with pytest.raises(ValueError, match=rf"triple 0 is \(5, 0, {value}\): values are -{largest}..{largest} and not 0"):
            sparse.validate(codec.vocabulary((8, 8)))
    with pytest.raises(ValueError, match=r"values are -2047..2047 and not 0"):
        codec.decode(SparseDCT(5 * one, 0 * one, 2048 * one, (8, 8), codec))


def exif_segment(order: str, value: int, kind: int = 3, count: int = 1) -> bytes:
    """Two entries, the second of which is the orientation, a whole number of TIFF's type `kind`."""

    def number(x: int, size: int) -> bytes:
        return x.to_bytes(size, order, signed=x < 0)

    size = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4}[kind]
    other = number(0x0100, 2) + number(3, 2) + number(1, 4) + number(9, 2) + b"\0\0"
    entry = number(0x0112, 2) + number(kind, 2) + number(count, 4) + (number(value, size) * count)[:4].ljust(4, b"\0")
    start = {"little": b"II", "big": b"MM"}[order] + number(42, 2) + number(8, 4)
    return segment(0xE1, b"Exif\0\0" + start + number(2, 2) + other + entry + bytes(4))


def xmp_segment(text: str) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text.encode())


def test_the_first_exif_orientation_counts_in_either_byte_order() -> None:
    data = saved(photograph(32, 48))
    exif = exif_segment
    for segments in (exif("little", 6), exif("big", 6), exif("big", 6, 4), exif("little", 6) + exif("little", 1)):
        assert SparseDCT.from_jpeg(data[:2] + segments + data[2:]).size == (48, 32)
    for damaged in (exif("little", 6)[:-20], exif("little", 9)):
        body = damaged[4:]
        assert SparseDCT.from_jpeg(data[:2] + segment(0xE1, body) + data[2:]).size == (32, 48)


XMP = {
    "attribute": '<rdf:Description tiff:Orientation="8"/>',
    "element": "<tiff:Orientation>3</tiff:Orientation>",
    "upright": '<rdf:Description tiff:Orientation="1"/>',
    "nonsense": '<rdf:Description tiff:Orientation="9"/>',
    "none": "<rdf:Description/>",
}
ORIENTED = [
    *(pytest.param(exif_segment("little", 6, kind), id=f"little {kind}") for kind in (1, 2, 3, 4, 6, 7, 8, 9)),
    *(pytest.param(exif_segment("big", 6, kind), id=f"big {kind}") for kind in (1, 2, 3, 4, 6, 7, 8, 9)),
    pytest.param(exif_segment("little", 6, 3, count=2), id="two numbers"),
    pytest.param(exif_segment("little", -6, 8), id="negative"),
    *(pytest.param(xmp_segment(text), id=f"XMP {name}") for name, text in XMP.items()),
    pytest.param(exif_segment("big", 2) + xmp_segment(XMP["attribute"]), id="Exif before XMP"),
    pytest.param(exif_segment("big", 9) + xmp_segment(XMP["attribute"]), id="Exif's nonsense before XMP"),
    pytest.param(xmp_segment(XMP["attribute"]) + xmp_segment(XMP["element"]), id="two of XMP"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Metadata Warning")
@pytest.mark.parametrize("segments", ORIENTED)
def test_orientations_are_those_that_pillow_finds(segments: bytes) -> None:
    data = saved(photograph(32, 48))
    turned = data[:2] + segments + data[2:]
    theirs = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))))
    ours = SparseDCT.from_jpeg(turned)
    assert ours.size == theirs.shape[:2]
    # Turning coefficients and turning pixels round differently, by little; another turn differs by
    # much.
    assert np.abs(ours.codec.decode(ours).astype(int) - theirs).mean() < 2


def test_colours_are_libjpegs() -> None:
    """Components named R, G, B are RGB unless a JFIF or Adobe segment says otherwise."""
    data = saved(photograph(16, 16))
    jfif = data.index(b"\xff\xe0")
    bare = data[:jfif] + data[jfif + 18 :]
    frame, scan = bare.index(b"\xff\xc0"), bare.index(b"\xff\xda")
    named = bytearray(bare)
    for i, name in enumerate(b"RGB"):
        named[frame + 10 + 3 * i], named[scan + 5 + 2 * i] = name, name
    named = bytes(named)
    plain = SparseDCT.from_jpeg(data)
    assert SparseDCT.from_jpeg(bare) == plain
    with pytest.raises(ValueError, match="components are RGB"):
        SparseDCT.from_jpeg(named)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + b"\1")
    assert SparseDCT.from_jpeg(named[:2] + adobe + named[2:]) == plain
    assert SparseDCT.from_jpeg(named[:2] + data[jfif : jfif + 18] + named[2:]) == plain


def test_files_of_standard_tables_have_the_codec_of_their_quality() -> None:
    image = photograph(40, 40)
    for quality in range(1, 101):
        assert SparseDCT.from_jpeg(saved(image, quality=quality)).codec == DCTCodec(8, quality)
    assert SparseDCT.from_jpeg(saved(image, quality=50)) == DCTCodec(8, 50).encode(np.array(image))


WIDE = tuple(range(1, 193))
CODECS = [
    *(DCTCodec(8, q, s, o) for q, s, o in itertools.product((10, 100), CHROMA_SUBSAMPLINGS, CHANNEL_ORDERS)),
    DCTCodec(8, None, "4:2:0", tables=WIDE),
    DCTCodec(8, None, "4:4:4", tables=(*WIDE[:64], *WIDE[:64], *WIDE[:64])),
    DCTCodec(8, None, "4:2:2", tables=(300, *WIDE[1:])),  # more than 8 bits
    DCTCodec(8, None, "4:0:0", tables=WIDE[:64]),
]


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize("size", [(48, 64), (45, 35), (1, 9)], ids=str)
def test_a_file_has_exactly_the_lists_coefficients(codec: DCTCodec, size: tuple[int, int], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for sparse in (codec.encode(noise), codec.encode(np.array(photograph(*size))), SparseDCT.empty(size, codec)):
        data = sparse.to_jpeg()
        assert SparseDCT.from_jpeg(data, codec.channel_order) == sparse
        assert_libjpegs(data, tmp_path, sparse)


def test_a_prefix_of_a_list_is_a_file_too() -> None:
    sparse = DCTCodec(8, 75).encode(np.array(photograph(64, 64)))
    sizes = [len(sparse[: len(sparse) * part // 4].to_jpeg()) for part in range(5)]
    assert sizes == sorted(sizes)


def test_lists_that_no_file_can_hold() -> None:
    with pytest.raises(ValueError, match="the list's blocks are 16 x 16; a JPEG file's are 8 x 8"):
        DCTCodec(16).encode(np.zeros((16, 16, 3), np.uint8)).to_jpeg()
    with pytest.raises(ValueError, match="the image has 1 x 65501 pixels; a JPEG file has at most 65500 on a side"):
        SparseDCT.empty((1, 65501), DCTCodec()).to_jpeg()
    one = np.ones(1, np.int32)
    sample = SparseDCT(3 * one, 0 * one, 1024 * one, (8, 8), DCTCodec(8, 100))
    with pytest.raises(ValueError, match=r"triple 0 is \(3, 0, 1024\): values in a JPEG file are -1023..1023"):
        sample.to_jpeg()
    black = dataclasses.replace(sample, channels=0 * one, values=-1024 * one)
    assert SparseDCT.from_jpeg(black.to_jpeg()) == black


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "grey"])
def test_pictures_are_turned_upright_without_loss(orientation: int, subsampling: str) -> None:
    """Against Pillow, which turns the pixels. Rounding and the phase of enlarged chroma are not
    symmetric, so pixels differ a little; twice a quarter turn too far or a mirror would not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photograph(64, 96)
    data = saved(image.convert("L"), exif=exif) if subsampling == "grey" else saved(image, subsampling=subsampling, exif=exif)
    upright = SparseDCT.from_jpeg(data)
    theirs = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    ours = upright.codec.decode(upright)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 0.5
    as_it_is = SparseDCT.from_jpeg(data, upright=False)
    np.testing.assert_array_equal(as_it_is.codec.decode(as_it_is), np.array(Image.open(io.BytesIO(data)).convert("RGB")))
    assert len(upright) == len(as_it_is)
    assert sorted(np.abs(upright.values)) == sorted(np.abs(as_it_is.values))
    turned = subsampling == "4:2:2" and orientation >= 5
    assert upright.codec.chroma_subsampling == ("4:4:0" if turned else as_it_is.codec.chroma_subsampling)


def test_edges_of_part_of_a_block_are_not_mirrored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = saved(photograph(64, 90), exif=exif)
    with pytest.raises(ValueError, match=r"width is 90 pixels; .* a multiple of 16. It can be read from its pixels"):
        SparseDCT.from_jpeg(data)
    assert SparseDCT.from_jpeg(data, upright=False).size == (64, 90)
    with pytest.raises(ValueError, match=r"height is 60 pixels; .* a multiple of 16"):
        SparseDCT.from_jpeg(saved(photograph(60, 96), exif=exif))
    exif[0x0112] = 5  # transposed: no edge moves to the other side
    assert SparseDCT.from_jpeg(saved(photograph(64, 90), exif=exif)).size == (90, 64)
