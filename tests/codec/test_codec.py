"""Images <-> lists: equal to libjpeg, there and back for every codec, and what is refused."""

import dataclasses
import itertools
import pickle
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dct_jax.codec import BLOCK_SIZES, DCTCodec, SparseDCT
from dct_jax.codec.channel_order import CHANNEL_ORDERS
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES

CODECS = [DCTCodec(b, 50, s, o) for b, s, o in itertools.product(BLOCK_SIZES, CHROMA_SUBSAMPLINGS, CHANNEL_ORDERS)]


def landscapes(count: int, size: tuple[int, int] = (101, 133)) -> list[np.ndarray]:
    return [read_image(path)[: size[0], : size[1]] for path in sorted(LANDSCAPES.glob("*.jpg"))[::20][:count]]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", [(96, 128), (101, 133), (17, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 90, 100])
def test_coefficients_and_pixels_are_libjpegs(quality: int, subsampling: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Every coefficient that Pillow's libjpeg writes, and every pixel that it decodes: photographs
    of even and odd sizes, and noise, whose blocks reach beyond black and white."""
    codec, path = DCTCodec(8, quality, subsampling), tmp_path / "image.jpg"
    for image in [*landscapes(4, size), noise(*size, 3)]:
        Image.fromarray(image).save(path, "JPEG", quality=quality, subsampling=subsampling)
        file, sparse = jpeglib.read_dct(str(path)), codec.encode(image)
        for ours, theirs in zip(codec.to_coefficients(sparse), (file.Y, file.Cb, file.Cr), strict=True):
            np.testing.assert_array_equal(ours.transpose(2, 3, 0, 1), theirs)
        np.testing.assert_array_equal(codec.decode(sparse), read_image(path))


def test_grey_is_the_luma_of_a_colour_file() -> None:
    image = landscapes(1)[0]
    colour, grey = DCTCodec(8, 75, "4:2:0"), DCTCodec(8, 75, "4:0:0")
    luma = grey.to_coefficients(grey.encode(image))
    assert len(luma) == 1
    np.testing.assert_array_equal(luma[0], colour.to_coefficients(colour.encode(image))[0])
    decoded = grey.decode(grey.encode(image))
    assert (decoded == decoded[..., :1]).all()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    codec=st.sampled_from(CODECS),
    quality=st.integers(1, 100),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_any_image_makes_a_valid_list_that_comes_back(
    codec: DCTCodec, quality: int, height: int, width: int, seed: int
) -> None:
    codec, size = dataclasses.replace(codec, quality=quality), (height, width)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    if seed % 2:  # black and white alone, the extremes
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    sparse = codec.encode(image)
    assert (sparse.size, sparse.codec) == (size, codec)
    assert sparse.grid == (-(-height // codec.block_size), -(-width // codec.block_size))
    assert {x.dtype for x in (sparse.channels, sparse.positions, sparse.values)} == {np.dtype(np.int32)}
    vocabulary = codec.vocabulary(size)
    sparse.validate(vocabulary)
    dense, coefficients = codec.to_dct_image(sparse), codec.to_coefficients(sparse)
    assert dense.shape == (*sparse.grid, vocabulary.num_channels)
    assert np.count_nonzero(dense) == len(sparse) == sum(map(np.count_nonzero, coefficients)) <= vocabulary.longest_list
    assert codec.from_dct_image(dense, size) == sparse
    assert codec.from_coefficients(coefficients, size) == sparse
    decoded = codec.decode(sparse)
    assert (decoded.shape, decoded.dtype) == (image.shape, np.uint8)
    if quality == 100 and codec.chroma_subsampling == "4:4:4":
        assert np.abs(decoded.astype(int) - image).max() <= 5


@pytest.mark.parametrize(
    "codec", [DCTCodec(), DCTCodec(8, 90, "4:4:0"), DCTCodec(16, 30, "4:0:0"), DCTCodec(4, 50, "4:4:4")], ids=str
)
@pytest.mark.parametrize("shape", [(5, 64, 64, 3), (3, 33, 70, 3), (2, 1, 1, 3), (40, 70, 65, 3)], ids=str)
def test_a_batch_is_its_images(codec: DCTCodec, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    assert codec.encode_batch(images) == [codec.encode(image) for image in images]


def test_a_batch_of_no_images_is_no_lists() -> None:
    assert DCTCodec().encode_batch(noise(0, 8, 8, 3)) == []


def test_views_of_images_are_images() -> None:
    image = noise(40, 60, 3)
    frozen = image.copy()
    frozen.flags.writeable = False
    assert DCTCodec().encode(frozen) == DCTCodec().encode(image)
    assert DCTCodec().encode(image[::-2, 3::3]) == DCTCodec().encode(image[::-2, 3::3].copy())


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_the_best_quality_is_nearly_lossless(size: int) -> None:
    codec, image = DCTCodec(size, 100, "4:4:4"), noise(50, 70, 3)
    assert np.abs(codec.decode(codec.encode(image)).astype(int) - image).max() <= 5


@pytest.mark.parametrize("order", CHANNEL_ORDERS)
def test_a_longer_prefix_is_a_finer_image(order: str) -> None:
    codec, image = DCTCodec(8, 50, "4:2:0", order), landscapes(1)[0]
    sparse = codec.encode(image)
    prefixes = [codec.decode(sparse[: len(sparse) * part // 4]) for part in range(5)]
    assert np.all(prefixes[0] == 128)
    errors = [np.square(prefix.astype(float) - image).mean() for prefix in prefixes]
    assert errors == sorted(errors, reverse=True) and errors[0] > 5 * errors[-1]


def test_lists_of_plain_images() -> None:
    codec = DCTCodec(8, 50, "4:2:0")
    assert len(codec.encode(np.full((9, 17, 3), 128, np.uint8))) == 0
    pale = codec.encode(np.full((9, 17, 3), 254, np.uint8))
    assert pale.channels.tolist() == [0] * 6
    assert pale.positions.tolist() == [0, 1, 2, 3, 4, 5]
    assert pale.values.tolist() == [63] * 6  # 126 * 8 / 16


@pytest.mark.parametrize(("subsampling", "rows", "cols"), [("4:2:0", 2, 2), ("4:2:2", 1, 2), ("4:4:0", 2, 1), ("4:4:4", 1, 1)])
def test_chroma_stands_at_every_nth_row_and_column(subsampling: str, rows: int, cols: int) -> None:
    sparse = DCTCodec(8, 50, subsampling).encode(noise(40, 56, 3))
    chroma = sparse.positions[sparse.channels >= 64]
    assert sorted(set(chroma.tolist())) == [row * 7 + col for row in range(0, 5, rows) for col in range(0, 7, cols)]


def test_tables_of_ones_own() -> None:
    """A divisor for every frequency, and equality: tables that are a quality's are that quality."""
    standard = DCTCodec(8, 35, "4:2:0").quantization_tables
    assert DCTCodec(8, None, "4:2:0", tables=tuple(standard.ravel().tolist())) == DCTCodec(8, 35, "4:2:0")
    own = DCTCodec(8, None, "4:4:4", tables=(16, *[255] * 63, *[99] * 128))
    assert own.quantization_tables.shape == (3, 8, 8)
    assert own.encode(np.full((8, 8, 3), 254, np.uint8)).values.tolist() == [63]
    assert own != DCTCodec(8, None, "4:4:4", tables=(17, *[255] * 63, *[99] * 128))
    assert own.vocabulary((8, 8)).largest_value == 64  # 128 * 8 / 16


def test_an_encoder_stays_in_its_vocabulary_with_tables_of_ones_own() -> None:
    """libjpeg's rounding between the passes took this block to 838, and the largest value is
    837."""
    codec = DCTCodec(8, None, "4:0:0", tables=(*[255] * 9, 1, *[255] * 54))
    half = np.where(np.arange(8) < 4, 1, -1)
    block = np.where(np.outer(half, half) > 0, 255, 0).astype(np.uint8)
    sparse = codec.encode(np.repeat(block[..., None], 3, axis=2))
    assert codec.vocabulary((8, 8)).largest_value == sparse.values.max() == 837
    sparse.validate(codec.vocabulary((8, 8)))


def test_small_blocks_take_the_lowest_quality_of_their_tables() -> None:
    """Qualities 1 to 3, say, have the same divisors where B is 1."""
    for size, number in ((1, 3), (2, 12)):
        tables = tuple(DCTCodec(size, 2).quantization_tables.ravel().tolist())
        own = DCTCodec(size, None, tables=tables)
        assert len(tables) == number and own.quality == 1
        assert own != DCTCodec(size, 2)


def test_requantizing_rounds_every_coefficient_once() -> None:
    fine, coarse = DCTCodec(8, 90, "4:2:0", "interleaved"), DCTCodec(8, 40, "4:2:0", "banded")
    sparse = fine.encode(landscapes(1)[0])
    moved = coarse.requantize(sparse)
    moved.validate(coarse.vocabulary(sparse.size))
    assert moved.codec == coarse
    tables = zip(fine.quantization_tables, coarse.quantization_tables)
    for old, new, (before, after) in zip(fine.to_coefficients(sparse), coarse.to_coefficients(moved), tables):
        exact = old * before[..., None, None] / after[..., None, None]
        assert (np.abs(new - exact) <= 0.5).all()
        ties = np.abs(exact - np.trunc(exact)) == 0.5
        assert ties.any() and (np.abs(new[ties]) > np.abs(exact[ties])).all()  # away from zero
    assert fine.requantize(sparse) == sparse
    with pytest.raises(ValueError, match="the list's block size is 8; it must be 16"):
        DCTCodec(16).requantize(sparse)
    with pytest.raises(ValueError, match="subsampled 4:2:0; for a codec of 4:4:4 it must be encoded from pixels"):
        DCTCodec(8, 50, "4:4:4").requantize(sparse)
    grey = DCTCodec(8, 90, "4:0:0").encode(landscapes(1)[0])
    in_colour = DCTCodec(8, 90, "4:2:0").requantize(grey)
    assert in_colour.values.tolist() == grey.values.tolist()


@pytest.mark.parametrize("level", [0, 255])
def test_requantizing_black_and_white_stays_in_range(level: int) -> None:
    """An old divisor's rounding may go beyond what the new one can have: black at quality 6 is
    -1040 at quality 100."""
    plain = np.full((8, 8, 3), level, np.uint8)
    for old, new in itertools.product(range(1, 101, 5), (1, 30, 99, 100)):
        codec = DCTCodec(8, new)
        moved = codec.requantize(DCTCodec(8, old).encode(plain))
        assert abs(codec.decode(moved).astype(int) - plain).max() <= max(16, 128 // old)
    one = np.ones(1, np.int32)
    wide = SparseDCT(3 * one, 0 * one, one, (8, 8), DCTCodec(8, None, tables=(1,) + (65535,) * 191))
    assert DCTCodec(8, 100).requantize(wide).values.tolist() == [DCTCodec(8, 100).vocabulary((8, 8)).largest_value]


def test_a_list_of_another_codec_is_refused() -> None:
    sparse = DCTCodec(8, 75).encode(noise(8, 8, 3))
    with pytest.raises(ValueError, match=r"codec is B = 8, quality 75, .* here it must be B = 8, quality 50.*requantize"):
        DCTCodec(8, 50).decode(sparse)


def test_an_array_is_no_list() -> None:
    codec = DCTCodec(8, 50)
    for method in (codec.decode, codec.to_coefficients, codec.to_dct_image):
        with pytest.raises(ValueError, match=r"the list is int32 \[2, 192\]; it must be a SparseDCT"):
            method(np.zeros((2, 192), np.int32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"the image is float32 \[8, 8, 3\]; it must be a uint8 array \[H, W, 3\]"),
        (np.zeros((8, 8), np.uint8), r"the image is uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"the image is uint8 \[8, 8, 4\]"),
        ([[[0, 0, 0]]], "the image is list"),
        (np.zeros((0, 8, 3), np.uint8), r"image has shape \(0, 8, 3\); it must have at least one pixel"),
    ],
)
def test_what_is_no_image_is_refused(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCTCodec().encode(image)


GOOD = SparseDCT(np.array([0, 0, 128, 64, 1]), np.array([0, 5, 2, 8, 3]), np.array([3, -2, 1, 1, -1]), (32, 32), DCTCodec())
DAMAGE = [
    ({"channels": [0, 0, 192, 64, 1]}, r"triple 2 is \(192, 2, 1\): channels are 0\.\.191"),
    ({"channels": [0, 0, 128, 64, -1]}, r"triple 4 is \(-1, 3, -1\): channels are"),
    ({"positions": [0, 16, 2, 16, 3]}, r"triple 1 is \(0, 16, -2\): positions are 0\.\.15"),
    ({"positions": [0, 5, 2, 8, -1]}, r"triple 4 is \(1, -1, -1\): positions are"),
    ({"positions": [0, 5, 1, 8, 3]}, r"triple 2 is \(128, 1, 1\): this channel has no coefficient at this position"),
    ({"positions": [0, 5, 2, 4, 3]}, r"triple 3 is \(64, 4, 1\): this channel has no coefficient at this position"),
    ({"values": [3, 0, 1, 0, -1]}, r"triple 1 is \(0, 5, 0\): values are -\d+\.\.\d+ and not 0"),
    ({"values": [3, -2, 1, 1, 9999]}, r"triple 4 is \(1, 3, 9999\): values are"),
    ({"values": [3, -2, 1, -(2**63), -1]}, r"triple 3 is \(64, 8, -9223372036854775808\): values are"),
    ({"positions": [5, 0, 2, 8, 3]}, r"triple 1 is \(0, 0, -2\): it does not come after the triple before it"),
    ({"positions": [5, 5, 2, 8, 3]}, r"triple 1 is \(0, 5, -2\): it does not come after the triple before it"),
    ({"channels": [0, 0, 64, 128, 1]}, r"triple 3 is \(128, 8, 1\): it does not come after the triple before it"),
    ({"channels": [0, 0, 128, 64, 0]}, r"triple 4 is \(0, 3, -1\): it does not come after the triple before it"),
    ({"values": [3.0, -2.0, 1.0, 1.0, -1.0]}, "values must be a one-dimensional array of integers"),
    ({"channels": [[0, 0, 128, 64, 1]]}, "channels must be a one-dimensional array of integers"),
    ({"positions": [0, 5, 2, 8]}, "positions has 4 elements, channels has 5; they must agree"),
    ({"positions": np.array([0, 5, 2, 8, 3], np.uint64)}, "positions are uint64; they must be int32"),
]


@pytest.mark.parametrize(
    "use", [DCTCodec().decode, DCTCodec().to_dct_image, SparseDCT.to_jpeg], ids=["decode", "dense", "jpeg"]
)
@pytest.mark.parametrize(("change", "message"), DAMAGE)
def test_a_damaged_list_is_refused(change: dict, message: str, use) -> None:
    assert DCTCodec().decode(GOOD).shape == (32, 32, 3)  # without the damage it is fine
    damaged = dataclasses.replace(
        GOOD, **{name: x if isinstance(x, (tuple, np.ndarray)) else np.array(x) for name, x in change.items()}
    )
    with pytest.raises(ValueError, match=message):
        use(damaged)


@pytest.mark.parametrize("size", [(24, 40), [24, 40], np.array([24, 40]), tuple(np.array([24, 40], np.uint8))], ids=repr)
def test_sizes_are_two_plain_integers(size) -> None:
    """NumPy's small integers wrapped around when the grid was computed, and compiled code wrote
    outside of its arrays."""
    codec = DCTCodec()
    sparse = codec.encode(noise(24, 40, 3))
    assert dataclasses.replace(sparse, size=size) == sparse
    assert codec.from_coefficients(codec.to_coefficients(sparse), size) == sparse
    assert codec.from_dct_image(codec.to_dct_image(sparse), size) == sparse
    assert codec.decode(dataclasses.replace(sparse, size=size)).shape == (24, 40, 3)


@pytest.mark.parametrize("size", [(24, 40, 1), (24,), 24, (24.0, 40.0), (0, 40), (24, -1), "24x40", None], ids=repr)
def test_what_is_no_size_is_refused(size) -> None:
    codec = DCTCodec()
    for use in (
        lambda: dataclasses.replace(GOOD, size=size),
        lambda: codec.vocabulary(size),
        lambda: codec.from_coefficients(codec.to_coefficients(GOOD), size),
        lambda: codec.from_dct_image(codec.to_dct_image(GOOD), size),
        lambda: SparseDCT.empty(size, codec),
    ):
        with pytest.raises(ValueError, match=r"^the size is .*; it must be (two integers|positive)"):
            use()


def test_a_list_is_cut_with_slices() -> None:
    with pytest.raises(TypeError, match=r"a list is cut with slices, as in sparse\[:100\], not with 3"):
        GOOD[3]


def test_codecs_and_lists_can_be_sent_to_other_processes() -> None:
    """Without what is cached: a list of few triples must not weigh kilobytes."""
    for codec in (DCTCodec(32, 40), DCTCodec(8, None, "4:0:0", "luma_first", tuple(range(1, 65)))):
        sparse = codec.encode(np.full((8, 8, 3), 200, np.uint8))
        codec.vocabulary((64, 64)), codec.decode(sparse)
        data = pickle.dumps(sparse)
        assert len(data) < 1200
        again = pickle.loads(data)
        assert again == sparse and hash(again.codec) == hash(codec)


def test_numbers_of_other_types_make_the_same_codec() -> None:
    tables = np.arange(1, 193, dtype=np.uint16)
    own = DCTCodec(8, None, tables=tuple(range(1, 193)))
    for form in (tables, tables.reshape(3, 8, 8), tables.tolist(), tables.reshape(3, 8, 8).tolist()):
        assert DCTCodec(8, None, tables=form) == own
    for number in (np.uint8, np.int8, np.int64):
        codec = DCTCodec(number(8), number(75))
        assert codec == DCTCodec(8, 75) and codec.encode(noise(9, 9, 3)) == DCTCodec(8, 75).encode(noise(9, 9, 3))


def test_what_a_codec_shares_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        DCTCodec().quantization_tables[0] = 1


def test_a_list_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the list's grid is \(4, 4\) blocks; it must fit into \(2, 8\)"):
        GOOD.validate(DCTCodec().vocabulary((16, 64)))


def test_a_dct_image_that_no_encoder_writes_is_refused() -> None:
    codec = DCTCodec()
    with pytest.raises(ValueError, match=r"is int32 \[4, 4, 48\]; \(32, 32\) pixels need integers \[4, 4, 192\]"):
        codec.from_dct_image(np.zeros((4, 4, 48), np.int32), (32, 32))
    with pytest.raises(ValueError, match=r"the DCT image is list; \(8, 8\) pixels need integers \[1, 1, 192\]"):
        codec.from_dct_image([[1]], (8, 8))  # which had no shape
    with pytest.raises(ValueError, match=r"is float64 \[4, 4, 192\]; \(32, 32\) pixels need integers"):
        codec.from_dct_image(np.zeros((4, 4, 192)), (32, 32))
    dense = np.zeros((4, 4, 192), np.int64)
    dense[0, 1, 64] = 5
    with pytest.raises(ValueError, match=r"triple 0 is \(64, 1, 5\): this channel has no coefficient at this position"):
        codec.from_dct_image(dense, (32, 32))
    dense[0, 1, 64], dense[0, 0, 0] = 0, 2**32 + 1
    with pytest.raises(ValueError, match=r"triple 0 is \(0, 0, 2147483647\): values are"):
        codec.from_dct_image(dense, (32, 32))
    coefficients = codec.to_coefficients(GOOD)
    with pytest.raises(ValueError, match=r"have shapes .*; \(32, 40\) pixels need"):
        codec.from_coefficients(coefficients, (32, 40))
    with pytest.raises(ValueError, match=r"have shapes .*, \(1,\)\]; \(32, 32\) pixels need"):
        codec.from_coefficients([*coefficients, [1]], (32, 32))
    with pytest.raises(ValueError, match=r"a component's coefficients are float64 \[8, 8, 4, 4\]; they must be integers"):
        codec.from_coefficients([x.astype(float) for x in coefficients], (32, 32))
    with pytest.raises(ValueError, match=r"a component's coefficients are list; they must be integers"):
        codec.from_coefficients([x.tolist() for x in coefficients], (32, 32))
    wide = [x.astype(np.int32) for x in coefficients]
    assert codec.from_coefficients(wide, (32, 32)) == codec.from_coefficients(coefficients, (32, 32))
    wide[0][0, 1, 0, 3] = 65537
    with pytest.raises(ValueError, match=r"triple 4 is \(1, 3, 32767\): values are -2047\.\.2047 and not 0"):
        codec.from_coefficients(wide, (32, 32))
    coefficients[0][0, 1, 0, 3] = 95  # more than any picture needs, but JPEG files may have it
    with pytest.raises(ValueError, match=r"triple 4 is \(1, 3, 95\): values are -94\.\.94 and not 0"):
        codec.from_coefficients(coefficients, (32, 32)).validate(codec.vocabulary((32, 32)))
    coefficients[0][0, 1, 0, 3] = 2048
    with pytest.raises(ValueError, match=r"triple 4 is \(1, 3, 2048\): values are -2047\.\.2047 and not 0"):
        codec.from_coefficients(coefficients, (32, 32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block_size": 3}, "block_size is 3; it must be one of 1, 2, 4, 8, 16, 32"),
        ({"quality": 0}, "quality is 0; it must be from 1 to 100"),
        ({"quality": 101}, "quality is 101; it must be from 1 to 100"),
        ({"chroma_subsampling": "4:1:1"}, "chroma_subsampling is '4:1:1'; it must be one of 4:2:0, 4:2:2, 4:4:0, 4:4:4, 4:0:0"),
        ({"channel_order": "spiral"}, "channel_order is 'spiral'; it must be one of banded, interleaved, luma_first"),
        ({"quality": 50.0}, "quality is 50.0; it must be an integer"),
        ({"quality": "50"}, "quality is '50'; it must be an integer"),
        ({"block_size": 8.0}, "block_size is 8.0; it must be an integer"),
        ({"quality": None, "tables": (1.5,) * 192}, "tables is 1.5; it must be an integer"),
        ({"quality": None}, "quality is None and tables has 0 numbers; give one of the two"),
        ({"tables": (1,) * 192}, "quality is 50 and tables has 192 numbers; give one of the two"),
        ({"quality": None, "tables": (1,) * 64}, "tables has 64 numbers; it must have 192"),
        ({"quality": None, "tables": (1, 0) * 96}, r"tables\[1\] is 0; it must be from 1 to 65535"),
    ],
)
def test_a_bad_field_is_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DCTCodec(**fields)
