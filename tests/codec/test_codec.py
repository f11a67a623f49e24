"""Images <-> lists: against libjpeg, there and back for every codec, and what is refused."""

import dataclasses
import itertools
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dct_jax.codec import BLOCK_SIZES, DCTCodec, SparseDCT
from dct_jax.codec.channel_order import CHANNEL_ORDERS, zigzag
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS
from dct_jax.data.sources import LANDSCAPES, read_image

CODECS = [DCTCodec(b, 50, s, o) for b, s, o in itertools.product(BLOCK_SIZES, CHROMA_SUBSAMPLINGS, CHANNEL_ORDERS)]


def landscapes(count: int) -> list[np.ndarray]:
    """Odd-sized crops, so that both edges need padding and chroma is cut in half a sample."""
    return [read_image(path)[:101, :133] for path in sorted(LANDSCAPES.glob("*.jpg"))[::20][:count]]


def libjpegs_dct_image(image: np.ndarray, codec: DCTCodec, path: Path) -> np.ndarray:
    """The coefficients that Pillow's libjpeg writes to `path`, int32 [h, w, 192]."""
    Image.fromarray(image).save(path, "JPEG", quality=codec.quality, subsampling=codec.chroma_subsampling)
    file = jpeglib.read_dct(str(path))
    dense = np.zeros((*file.Y.shape[:2], 3, 64), np.int32)
    step = 2 if codec.chroma_subsampling == "4:2:0" else 1
    for component, (blocks, stride) in enumerate([(file.Y, 1), (file.Cb, step), (file.Cr, step)]):
        dense[::stride, ::stride, component] = blocks.reshape(*blocks.shape[:2], 64)[..., zigzag(8)]
    return dense.reshape(*file.Y.shape[:2], 192)


@pytest.mark.parametrize("subsampling", CHROMA_SUBSAMPLINGS)
@pytest.mark.parametrize("quality", [10, 50])
def test_coefficients_and_pixels_are_libjpegs(quality: int, subsampling: str, tmp_path: Path) -> None:
    codec, same, path = DCTCodec(8, quality, subsampling), [], tmp_path / "image.jpg"
    for image in landscapes(8):
        theirs, ours = libjpegs_dct_image(image, codec, path), codec.to_dct_image(codec.encode(image))
        vocabulary = codec.vocabulary((101, 133))
        listed = vocabulary.on_grid[vocabulary.is_chroma].T.reshape(ours.shape)
        assert np.abs(theirs - ours).max() <= 1
        same.append((theirs == ours)[listed])
        pixels = codec.decode(codec.from_dct_image(theirs, (101, 133)))
        assert np.abs(pixels.astype(int) - read_image(path)).max() <= 4
    assert np.concatenate(same).mean() >= 0.999


@pytest.mark.parametrize("subsampling", CHROMA_SUBSAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 19), (24, 33)])
def test_every_dc_is_libjpegs_at_the_best_quality(size: tuple[int, int], subsampling: str, tmp_path: Path) -> None:
    """libjpeg's DC is exact, so nothing excuses a difference: not padding at the edges, halved chroma, or rounding."""
    codec, image = DCTCodec(8, 100, subsampling), np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs, ours = libjpegs_dct_image(image, codec, tmp_path / "image.jpg"), codec.to_dct_image(codec.encode(image))
    np.testing.assert_array_equal(ours[..., [0, 64, 128]], theirs[..., [0, 64, 128]])
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.block_size}-{c.chroma_subsampling}-{c.channel_order}")
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(image=st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.uint8, (*size, 3))))
def test_any_image_makes_a_valid_list_that_comes_back(codec: DCTCodec, image: np.ndarray) -> None:
    size = image.shape[:2]
    sparse = codec.encode(image)
    assert (sparse.size, sparse.grid) == (size, (-(-size[0] // codec.block_size), -(-size[1] // codec.block_size)))
    sparse.validate(codec.vocabulary(size))
    dense = codec.to_dct_image(sparse)
    assert dense.shape == (*sparse.grid, 3 * codec.block_size**2)
    assert np.count_nonzero(dense) == len(sparse) <= codec.vocabulary(size).longest_list
    assert codec.from_dct_image(dense, size) == sparse
    decoded = codec.decode(sparse)
    assert (decoded.shape, decoded.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_the_best_quality_is_nearly_lossless(size: int) -> None:
    codec, noise = DCTCodec(size, 100, "4:4:4"), np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert np.abs(codec.decode(codec.encode(noise)).astype(int) - noise).max() <= 5


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


def test_halved_chroma_stands_at_even_rows_and_columns() -> None:
    sparse = DCTCodec(8, 50, "4:2:0").encode(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    chroma = sparse.positions[sparse.channels >= 64]
    assert sorted(set(chroma.tolist())) == [row * 7 + col for row in (0, 2, 4) for col in (0, 2, 4, 6)]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"the image is float32 \[8, 8, 3\]; it must be a uint8 array \[H, W, 3\]"),
        (np.zeros((8, 8), np.uint8), r"the image is uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"the image is uint8 \[8, 8, 4\]"),
        ([[[0, 0, 0]]], "the image is list"),
        (np.zeros((0, 8, 3), np.uint8), r"the image has shape \(0, 8, 3\); it must have at least one pixel"),
    ],
)
def test_what_is_no_image_is_refused(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCTCodec().encode(image)


GOOD = SparseDCT(np.array([0, 0, 128, 64, 1]), np.array([0, 5, 2, 8, 3]), np.array([3, -2, 1, 1, -1]), (4, 4), (32, 32))
DAMAGE = [
    ({"channels": [0, 0, 192, 64, 1]}, r"triple 2 is \(192, 2, 1\): channels are 0\.\.191"),
    ({"channels": [0, 0, 128, 64, -1]}, r"triple 4 is \(-1, 3, -1\): channels are"),
    ({"positions": [0, 16, 2, 16, 3]}, r"triple 1 is \(0, 16, -2\): positions are 0\.\.15"),
    ({"positions": [0, 5, 2, 8, -1]}, r"triple 4 is \(1, -1, -1\): positions are"),
    ({"positions": [0, 5, 1, 8, 3]}, r"triple 2 is \(128, 1, 1\): this channel has no coefficient at this position"),
    ({"positions": [0, 5, 2, 4, 3]}, r"triple 3 is \(64, 4, 1\): this channel has no coefficient at this position"),
    ({"values": [3, 0, 1, 0, -1]}, r"triple 1 is \(0, 5, 0\): values are -\d+\.\.\d+ and not 0"),
    ({"values": [3, -2, 1, 1, 9999]}, r"triple 4 is \(1, 3, 9999\): values are"),
    ({"positions": [5, 0, 2, 8, 3]}, r"triple 1 is \(0, 0, -2\): it does not come after the triple before it"),
    ({"positions": [5, 5, 2, 8, 3]}, r"triple 1 is \(0, 5, -2\): it does not come after the triple before it"),
    ({"channels": [0, 0, 64, 128, 1]}, r"triple 3 is \(128, 8, 1\): it does not come after the triple before it"),
    ({"channels": [0, 0, 128, 64, 0]}, r"triple 4 is \(0, 3, -1\): it does not come after the triple before it"),
    ({"values": [3.0, -2.0, 1.0, 1.0, -1.0]}, "values must be a one-dimensional array of integers"),
    ({"channels": [[0, 0, 128, 64, 1]]}, "channels must be a one-dimensional array of integers"),
    ({"positions": [0, 5, 2, 8]}, "positions has 4 elements, channels has 5; they must agree"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE)
def test_a_damaged_list_is_refused(change: dict[str, list], message: str) -> None:
    assert DCTCodec().decode(GOOD).shape == (32, 32, 3)  # without the damage it is fine
    damaged = dataclasses.replace(GOOD, **{name: np.array(values) for name, values in change.items()})
    with pytest.raises(ValueError, match=message):
        DCTCodec().decode(damaged)


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"grid is \(4, 5\), but \(32, 32\) pixels make \(4, 4\) blocks"):
        DCTCodec().decode(dataclasses.replace(GOOD, grid=(4, 5)))
    with pytest.raises(ValueError, match=r"the list's grid is \(4, 4\) blocks; it must be \(2, 8\)"):
        GOOD.validate(DCTCodec().vocabulary((16, 64)))


def test_a_dct_image_that_no_encoder_writes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 4, 48\); \(32, 32\) pixels need \(4, 4, 192\)"):
        DCTCodec().from_dct_image(np.zeros((4, 4, 48), np.int32), (32, 32))
    dense = np.zeros((4, 4, 192), np.int32)
    dense[0, 1, 64] = 5
    with pytest.raises(ValueError, match=r"triple 0 is \(64, 1, 5\): this channel has no coefficient at this position"):
        DCTCodec().from_dct_image(dense, (32, 32))


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("block_size", 3, "3; it must be one of 1, 2, 4, 8, 16, 32"),
        ("quality", 0, "0; it must be from 1 to 100"),
        ("quality", 101, "101; it must be from 1 to 100"),
        ("chroma_subsampling", "4:1:1", "'4:1:1'; it must be one of 4:2:0, 4:4:4"),
        ("channel_order", "spiral", "'spiral'; it must be one of banded, interleaved, luma_first"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object, shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {shown}$"):
        DCTCodec(**{field: value})
