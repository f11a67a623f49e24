"""Grids and figures, as far as numbers can tell; their looks are for eyes."""

import numpy as np

from dct_jax import DCTCodec, plots
from tests.toys import random_image


def test_a_grid_places_every_image() -> None:
    images = [np.full((2, 3, 3), i, np.uint8) for i in range(5)]
    grid = plots.image_grid(images, columns=2, scale=2, gap=1)
    assert grid.shape == (3 * 5 + 1, 2 * 7 + 1, 3)
    assert [grid[1 + 5 * (i // 2), 1 + 7 * (i % 2), 0] for i in range(5)] == [0, 1, 2, 3, 4]
    assert (grid[5 * 2 + 1 :, 8:] == 255).all()  # the empty place


def test_figures_of_lists_that_are_short_or_empty() -> None:
    codec = DCTCodec()
    empty = codec.encode(np.full((8, 8, 3), 128, np.uint8))
    assert len(empty) == 0
    lists = [codec.encode(random_image(np.random.default_rng(0), 32, 32)), empty]
    assert len(plots.progressive(lists, stages=4).axes) == 8
    for sparse in lists:
        figure = plots.show(sparse)
        figure.canvas.draw()
        assert len(figure.findobj(lambda artist: hasattr(artist, "get_xlabel"))) == 6 + 3
