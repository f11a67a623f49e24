"""Grids and figures, as far as numbers can tell; their looks are for eyes."""

import numpy as np
import pytest
import scipy.fft
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from dct_jax import DCTCodec, plots
from tests.toys import random_image


def test_a_grid_places_every_image() -> None:
    images = [np.full((2, 3, 3), i, np.uint8) for i in range(5)]
    grid = plots.image_grid(images, columns=2, scale=2, gap=1)
    assert grid.shape == (3 * 5 + 1, 2 * 7 + 1, 3)
    assert [grid[1 + 5 * (i // 2), 1 + 7 * (i % 2), 0] for i in range(5)] == [0, 1, 2, 3, 4]
    assert (grid[5 * 2 + 1 :, 8:] == 255).all()  # the empty place


def test_few_states_of_many_are_shown() -> None:
    assert plots.even_places(1, 25).tolist() == [0] and plots.even_places(4, 25).tolist() == [0, 1, 2, 3]
    shown = plots.even_places(101, 25).tolist()
    assert shown[:2] == [0, 4] and shown[-1] == 100 and len(shown) == 25


def test_progressive_stages_of_lists_that_are_short_or_empty() -> None:
    codec = DCTCodec()
    empty = codec.encode(np.full((8, 8, 3), 128, np.uint8))
    assert len(empty) == 0
    lists = [codec.encode(random_image(np.random.default_rng(0), 32, 32)), empty]
    assert len(plots.progressive(lists, stages=4).axes) == 8


@pytest.mark.parametrize(
    ("codec", "size"),
    [
        (DCTCodec(), (1, 1)),
        (DCTCodec(1), (40, 300)),
        (DCTCodec(32), (20, 30)),
        (DCTCodec(chroma_subsampling="4:0:0"), (300, 40)),
    ],
    ids=str,
)
@pytest.mark.parametrize("flat", [False, True])
def test_show_draws_images_of_every_size(codec: DCTCodec, size: tuple[int, int], flat: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    if flat:
        image[...] = 128
    sparse = codec.encode(image)
    assert (len(sparse) == 0) == flat
    figure = plots.show(sparse, image)
    figure.canvas.draw()
    axes = figure.findobj(Axes)
    assert len(axes) == 3 + 2 + 3 + 6  # the image and blocks, their scales, traces, stages
    assert [len(text.get_texts()) for text in figure.findobj(Legend)] == [len(codec.component_steps)]


def test_show_draws_the_blocks_of_a_frame_in_the_middle() -> None:
    """Of 40 x 8 blocks it shows rows 12 to 27; each coefficient is 8 times as large as the value
    that is left of it."""
    image = np.full((40 * 8, 8 * 8, 3), 128, np.uint8)
    image[12 * 8 : 13 * 8] += 16  # the frame's first row: DC 8 * 16 = 128, and 128 / 16 = 8 remains
    image[28 * 8 :] += 100  # below the frame
    figure = plots.show(DCTCodec(channel_order="luma_first").encode(image), image)
    panels = {axis.get_title(): axis for axis in figure.findobj(Axes)}
    exact = panels["magnitudes of the luma DCT\n16 x 8 blocks (the frame)"].images[0].get_array()
    quantised = panels["the same, quantised; zeros are blank\n16 x 8 blocks (the frame)"].images[0].get_array()
    assert exact.shape == quantised.shape == (128, 64)
    expected = np.zeros((128, 64))
    expected[0, ::8] = 128
    np.testing.assert_allclose(exact, np.maximum(expected, 0.5))
    np.testing.assert_array_equal(quantised.filled(0), expected / 16)
    np.testing.assert_array_equal(np.ma.getmaskarray(quantised), expected == 0)
    (frame,) = panels["image"].patches
    assert frame.get_bbox().bounds == (-0.5, 12 * 8 - 0.5, 64, 128)


def test_show_refuses_another_image() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    with pytest.raises(ValueError, match=r"the image has \(16, 8\) pixels; the list is one of \(8, 16\)"):
        plots.show(DCTCodec().encode(image), image.transpose(1, 0, 2))


def test_the_luma_dct_is_scipys() -> None:
    """Of JFIF's luma; the last block repeats the edge."""
    image = random_image(np.random.default_rng(1), 12, 8)
    luma = np.round(image @ [0.299, 0.587, 0.114])  # [12, 8]
    below = np.concatenate([luma[8:], luma[11:].repeat(4, axis=0)])
    blocks = plots.luma_dct(image, 8)  # [2, 8, 1, 8]
    assert blocks.shape == (2, 8, 1, 8)
    np.testing.assert_allclose(blocks[0, :, 0], scipy.fft.dctn(luma[:8] - 128, norm="ortho"), atol=1e-9)
    np.testing.assert_allclose(blocks[1, :, 0], scipy.fft.dctn(below - 128, norm="ortho"), atol=1e-9)
