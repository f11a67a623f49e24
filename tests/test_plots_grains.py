"""Overlays, squares and heat maps of grains, as far as numbers can tell."""

import jax
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from dct_jax import DCTCodec, plots
from dct_jax.dq.grains import fill, punch
from dct_jax.dq_transformer.order import Order, pack
from dct_jax.plots.grains import GRAIN_COLORS
from dct_jax.plots.samples import block_counts
from tests.toys import random_image

TRIPLE = plots.Grains(np.array([[0, 2, 1], [1, 0, 2]]), 3, 8)


def test_codes_have_the_numbers_of_their_sequence() -> None:
    """The order is that of the DQ-Transformer, which also says the ends of grains."""
    order, num_codes = Order((2, 3), 3, "rows"), 99
    squares = TRIPLE.squares()  # [8, 12]
    assert squares.shape == (8, 12) and TRIPLE.codes.tolist() == [[1, 16, 4], [4, 1, 16]]

    @jax.jit
    def run() -> tuple[jax.Array, jax.Array]:
        holes = punch(squares[None], TRIPLE.map[None], 3, num_codes)
        return pack(order, holes, num_codes).codes, fill(holes, 3, num_codes)

    (codes,), (filled,) = jax.device_get(run())
    np.testing.assert_array_equal(codes[codes < num_codes], np.arange(42))
    np.testing.assert_array_equal(filled, squares)


@pytest.mark.parametrize("size", [(16, 24), (13, 18)])
def test_an_overlay_has_the_colour_of_the_grain_and_keeps_what_is_bright(size: tuple[int, int]) -> None:
    for level in (0, 255):
        overlay = plots.grain_overlay(np.full((*size, 3), level, np.uint8), TRIPLE)
        assert overlay.shape == (*size, 3) and overlay.dtype == np.uint8
        for row in range(2):
            for column in range(3):
                region = overlay[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].reshape(-1, 3)
                colour = np.array(to_rgb(GRAIN_COLORS[3][TRIPLE.map[row, column]]))
                assert len(np.unique(region, axis=0)) == 1
                # The colour's own proportions are left above the grey part.
                np.testing.assert_allclose(np.diff(region[0].astype(float)), np.diff(colour) * 127.5, atol=1.1)
    dark, light = (plots.grain_overlay(np.full((*size, 3), level, np.uint8), TRIPLE) for level in (0, 255))
    assert (light.astype(int) - dark > 80).all()


@pytest.mark.parametrize(("size", "scale"), [((16, 24), 1), ((16, 24), 5), ((13, 18), 3)])
def test_lines_are_around_each_square(size: tuple[int, int], scale: int) -> None:
    """Each square is one piece of pixels without lines, which are a pixel wide at every scale."""
    picture = np.full((*size, 3), 200, np.uint8)
    is_line = (plots.grain_lines(picture, TRIPLE, scale) < 100).all(axis=-1)
    assert is_line.shape == (size[0] * scale, size[1] * scale)
    expected = np.zeros_like(is_line)
    expected[[0, -1]] = expected[:, [0, -1]] = True
    for row in range(2):
        for column in range(3):
            side, step = 8 * scale, 8 * scale // 2 ** TRIPLE.map[row, column]
            region = expected[row * side : row * side + side, column * side : column * side + side]
            region[::step] = True
            region[:, ::step] = True
    np.testing.assert_array_equal(is_line, expected)


def test_growth_uncovers_grain_after_grain() -> None:
    picture = random_image(np.random.default_rng(0), 16, 24)
    picture[picture == 128] = 127
    figure = plots.growth([picture], [TRIPLE], stages=2)
    panels = [np.asarray(axis.images[0].get_array()) for axis in figure.findobj(Axes)]
    titles = [axis.get_title() for axis in figure.findobj(Axes)]
    stages = ["1 of 2 coarse", "2 of 2 coarse", "4 of 8 median", "8 of 8 median", "16 of 32 fine", "32 of 32 fine"]
    assert titles == [f"{stage} codes" for stage in stages]
    grain = TRIPLE.map.repeat(8, axis=0).repeat(8, axis=1)
    for stage, panel in enumerate(panels):
        is_there = (panel == picture).all(axis=-1)
        assert (panel[~is_there] == 128).all()
        assert is_there.sum() == (64 * np.array([1, 2, 3, 4, 5, 6]))[stage]
        if stage % 2:
            np.testing.assert_array_equal(is_there, grain <= stage // 2)
    np.testing.assert_array_equal(panels[-1], picture)


def test_codes_and_triples_have_one_scale() -> None:
    """The sum of a map over the pixels, divided by those of a region, is the number of symbols."""
    rng = np.random.default_rng(1)
    pictures = [random_image(rng, 16, 24), np.full((16, 24, 3), 128, np.uint8)]
    lists = DCTCodec(4).encode_batch(np.stack(pictures))
    assert len(lists[1]) == 0
    grains = [TRIPLE, TRIPLE._replace(map=np.zeros((2, 3), int))]
    figure = plots.symbols_beside(pictures, grains, lists)
    figure.canvas.draw()
    panels = {axis.get_title(): axis.images[0] for axis in figure.findobj(Axes) if axis.get_title()}
    of_list = f"DCTransformer: {len(lists[0])} triples"
    assert list(panels) == [
        "16 x 24 pixels", "grains: coarse 33%, median 33%, fine 33%", "DQ-VAE: 42 codes", of_list,
        "grains: coarse 100%, median 0%, fine 0%", "DQ-VAE: 6 codes", "DCTransformer: 0 triples",
    ]  # fmt: skip
    for title, number in (("DQ-VAE: 42 codes", 42), (of_list, len(lists[0]))):
        assert np.asarray(panels[title].get_array()).sum() / 64 == pytest.approx(number)
    triples = np.asarray(panels[of_list].get_array())
    np.testing.assert_allclose(triples[::4, ::4], 4 * block_counts(lists[0]))  # a region has four blocks
    assert len({id(panels[title].norm) for title in panels if "DQ-VAE" in title or "DCT" in title}) == 1
    most = triples.max()
    assert most > 16 and panels[of_list].norm.vmax == most
    plain = plots.symbols_beside(pictures[1:], grains[1:], lists[1:])
    assert [axis.images[0].norm.vmax for axis in plain.findobj(Axes)[2:4]] == [16, 16]  # the most codes of a region
    bar = next(axis for axis in figure.findobj(Axes) if axis.get_ylabel())
    assert bar.get_ylabel() == "symbols per 8 x 8 pixels"
