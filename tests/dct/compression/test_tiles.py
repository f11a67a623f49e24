"""Tiles hold every coefficient of a picture once, and make the picture again."""

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.codec.cropping import crop
from dct_jax.dct.compression.tiles import cut, join, tile_picture
from tests.toys import random_image

CODECS = [DCTCodec(block_size=4, chroma_subsampling=one, channel_order="luma_first") for one in ("4:2:0", "4:2:2", "4:4:4")]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.chroma_subsampling)
@pytest.mark.parametrize("size", [(41, 59), (16, 33), (9, 13), (16, 16), (64, 8)])
def test_tiles_are_crops_of_whole_blocks(codec: DCTCodec, size: tuple[int, int]) -> None:
    """Against the crops that training takes, which decode to parts of the picture."""
    sparse = codec.encode(random_image(np.random.default_rng(0), *size))
    tiling = tile_picture(size, (16, 16), codec, one_size=False)
    tiles = cut(sparse, tiling)
    places = [(top, left) for top in range(0, size[0], 16) for left in range(0, size[1], 16)]
    assert tiles == [crop(sparse, *place, tile.size) for place, tile in zip(places, tiles)]
    assert sum(tile.size[0] * tile.size[1] for tile in tiles) == size[0] * size[1]
    assert join(tiles, tiling) == sparse


@pytest.mark.parametrize("size", [(41, 59), (9, 13), (15, 16)])
def test_tiles_of_one_size_are_padded_with_empty_blocks(size: tuple[int, int]) -> None:
    codec = CODECS[0]
    sparse = codec.encode(random_image(np.random.default_rng(0), *size))
    tiling = tile_picture(size, (16, 16), codec, one_size=True)
    tiles = cut(sparse, tiling)
    assert {tile.size for tile in tiles} == {(16, 16)}
    (rows, cols), columns = codec.grid(size), len(tiling.widths)
    images = np.block([[codec.to_dct_image(x).transpose(2, 0, 1) for x in tiles[i : i + columns]]
                       for i in range(0, len(tiles), columns)])  # fmt: skip
    np.testing.assert_array_equal(images[:, :rows, :cols], codec.to_dct_image(sparse).transpose(2, 0, 1))
    assert not images[:, rows:].any() and not images[:, :, cols:].any()
    assert join(tiles, tiling) == sparse


@pytest.mark.parametrize("size", [(9, 16), (16, 9)])
def test_a_coefficient_beyond_the_picture_is_refused(size: tuple[int, int]) -> None:
    codec, rng = CODECS[0], np.random.default_rng(0)
    tiling = tile_picture(size, (16, 16), codec, one_size=True)
    with pytest.raises(ValueError, match=f"tile 0 has a coefficient beyond the picture of {size[0]} x {size[1]}"):
        join([codec.encode(random_image(rng))], tiling)


def test_tiles_of_a_canvas_that_mcus_do_not_divide_are_smaller() -> None:
    codec = CODECS[0]
    sparse = codec.encode(random_image(np.random.default_rng(0), 41, 59))
    for one_size in (False, True):
        tiling = tile_picture((41, 59), (20, 12), codec, one_size)  # 5 x 3 blocks, so 4 x 2
        assert tiling.blocks == (4, 2)
        assert join(cut(sparse, tiling), tiling) == sparse


def test_a_canvas_without_a_whole_mcu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"24 x 24 pixels, and the model's canvas 20 x 4; .* 8 x 8 or more"):
        tile_picture((24, 24), (20, 4), CODECS[0], one_size=False)
