"""Cropping and mirroring lists, against the same done to coefficients and to pixels."""

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.codec.cropping import crop, mirror
from tests.toys import random_image


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "4:0:0"])
@pytest.mark.parametrize(("top", "left", "size"), [(0, 0, (48, 64)), (16, 32, (17, 20)), (32, 16, (16, 48)), (0, 48, (1, 16))])
def test_a_crop_is_the_blocks_of_the_dct_image(subsampling: str, top: int, left: int, size: tuple[int, int]) -> None:
    codec = DCTCodec(8, 60, subsampling)
    sparse = codec.encode(random_image(np.random.default_rng(0), 48, 64))
    part = crop(sparse, top, left, size)
    assert part.size == size
    rows, cols = part.grid
    expected = codec.to_dct_image(sparse)[top // 8 : top // 8 + rows, left // 8 : left // 8 + cols]
    np.testing.assert_array_equal(codec.to_dct_image(part), expected)


def test_a_crop_must_begin_at_whole_blocks_inside_the_image() -> None:
    sparse = DCTCodec(8, 60).encode(random_image(np.random.default_rng(0), 48, 64))
    for top, left in ((8, 0), (0, 8), (-16, 0)):
        with pytest.raises(ValueError, match="it must begin at multiples of 16 and 16 pixels"):
            crop(sparse, top, left, (16, 16))
    with pytest.raises(ValueError, match=r"the crop of 33 x 16 pixels at \(16, 0\) leaves the image of \(48, 64\)"):
        crop(sparse, 16, 0, (33, 16))


@pytest.mark.parametrize("block_size", [4, 8, 16])
@pytest.mark.parametrize(("subsampling", "off", "equal"), [("4:2:0", 5, 0.9), ("4:4:4", 1, 0.97), ("4:0:0", 1, 0.97)])
def test_a_mirrored_list_is_the_list_of_the_mirrored_pixels(block_size: int, subsampling: str, off: int, equal: float) -> None:
    """Up to rounding: quality 100 divides by 1, and a coefficient half-way between two integers may
    go either way; and libjpeg's filter that halves chroma rounds odd columns otherwise than even
    ones."""
    codec = DCTCodec(block_size, 100, subsampling)
    image = random_image(np.random.default_rng(0), 32, 64)
    ours = codec.to_dct_image(mirror(codec.encode(image)))
    theirs = codec.to_dct_image(codec.encode(np.ascontiguousarray(image[:, ::-1])))
    assert np.abs(ours - theirs).max() <= off
    assert (ours == theirs).mean() > equal
    assert mirror(mirror(codec.encode(image))) == codec.encode(image)


def test_a_picture_that_ends_within_a_block_cannot_be_mirrored() -> None:
    with pytest.raises(ValueError, match="width is 40 pixels; to be mirrored it must be a multiple of 16"):
        mirror(DCTCodec(8, 60).encode(random_image(np.random.default_rng(0), 16, 40)))
