"""Samples of a prior over codes as frames of a page, from nothing or around a marked region.

Axes: N samples, H x W pixels, h x w codes, f pixels of a code's side.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from dct_jax.codes.masks import GREY, hide, known_codes, paste
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.demo.layout import SAMPLES, Frame
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.pictures import grains_of
from dct_jax.plots import even_places, image_grid

MOST_STEPS = 100
"""A history has room for so many steps, so fewer steps need no other program."""

MOST_STATES = 25
"""So many states of a request are shown, at even distances."""

State = tuple[np.ndarray, str]
"""Pictures, uint8 [N, H, W, 3], and a line about them."""


class Known(NamedTuple):
    """Codes that stay as they are: int32 [N, h, w], and where, bool [N, h, w]."""

    codes: np.ndarray
    cells: np.ndarray


class Region(NamedTuple):
    """The part of a picture that is sampled anew.

    Attributes:
        picture: uint8 [H, W, 3].
        mask: bool [H, W], the pixels that are sampled anew.
        pastes: whether the picture's other pixels replace those of the samples.
    """

    picture: np.ndarray
    mask: np.ndarray
    pastes: bool


def known_of(model: TrainedCodePrior, region: Region | None) -> Known:
    """Returns the codes around a region, for each sample; without a region none is known.

    Raises:
        ValueError: if no code or every code is to be sampled.
    """
    if region is None:
        shape = (SAMPLES, *model.config.grid)
        return Known(np.zeros(shape, np.int32), np.zeros(shape, bool))
    cells = known_codes(region.mask, model.block_size, model.config.region_side)
    codes = model.encode(region.picture[None])[0]
    return Known(*(np.broadcast_to(x, (SAMPLES, *x.shape)) for x in (codes, cells)))


def sample_rows(model: TrainedCodePrior, seed: int, labels: Sequence[int], known: Known) -> Iterator[State]:
    """Samples grids, and uncovers the pictures row by row. A picture is decoded once, of the whole
    grid, as an autoencoder mixes a code with those around it."""
    grid = model.config.grid
    pictures = model.decode(model.sample(range(SAMPLES), seed, labels, grid, known).codes)
    (height, width), f = model.config.data.image_size, model.block_size
    for row in even_places(grid[0], MOST_STATES):
        cells = known.cells[0] | (np.arange(grid[0]) <= row)[:, None]  # [h, w]
        pixels = cells.repeat(f, axis=0).repeat(f, axis=1)[:height, :width, None]
        yield np.where(pixels, pictures, np.uint8(GREY)), f"row {row + 1} of {grid[0]} (uncovered after all were sampled)"
    yield pictures, f"complete: {(~known.cells[0]).sum()} codes sampled in each, seed {seed}"


def sample_squares(
    dq_vae: DQVAEConfig, model: TrainedCodePrior, seed: int, labels: Sequence[int], known: Known
) -> Iterator[State]:
    """Samples grids of the DQ-VAE of a prior, and uncovers the squares of their codes from coarse
    to fine; see `sample_rows`. States are at even distances of each picture's own number of
    codes."""
    shape = known.cells.shape
    codes = model.sample(range(shape[0]), seed, labels, shape[1:], known).codes
    pictures, grains = model.decode(codes), grains_of(dq_vae, codes)
    places = [one.to_pixels(one.squares(), picture.shape) for one, picture in zip(grains, pictures)]
    is_known = [one.to_pixels(cells, picture.shape) for one, cells, picture in zip(grains, known.cells, pictures)]
    numbers = [int(one.codes.sum()) for one in grains]
    for state in range(1, MOST_STATES):
        shown = [number * state // MOST_STATES for number in numbers]
        pixels = np.stack([place < most for place, most in zip(places, shown)]) | np.stack(is_known)  # [N, H, W]
        line = f"{', '.join(map(str, shown))} codes, from coarse to fine (uncovered after all were sampled)"
        yield np.where(pixels[..., None], pictures, np.uint8(GREY)), line
    yield pictures, f"complete: {', '.join(map(str, numbers))} codes, seed {seed}"


def sample_steps(model: TrainedCodePrior, seed: int, labels: Sequence[int], known: Known) -> Iterator[State]:
    """Samples grids of a prior with states, and then decodes these, beginning with noise."""
    codes, steps, history = model.sample(range(SAMPLES), seed, labels, model.config.grid, known, MOST_STEPS + 1)
    assert steps is not None and history is not None
    for n in even_places(int(steps.max()) + 1, MOST_STATES):
        yield model.decode(history[n]), f"after step {n} of at most {model.states - 1} (shown after the last)"
    yield model.decode(codes), f"complete: {', '.join(map(str, steps))} steps, seed {seed}"


def frames(model: TrainedCodePrior, seed: int, label: int | None, region: Region | None) -> Iterator[Frame]:
    """Yields the states of samples, side by side, after the original and what is known of it.

    Args:
        model: what is sampled from, by its policy.
        seed: of the samples.
        label: their class; None chooses one for each.
        region: what is sampled anew; None samples from nothing.

    Raises:
        ValueError: as `known_of`.
    """
    known = known_of(model, region)
    before = []
    if region is not None:
        before = [region.picture, hide(region.picture, region.mask, known.cells[0], model.block_size)]
    labels = [model.random_label(seed, i) if label is None else label for i in range(SAMPLES)]

    def frame(pictures: np.ndarray, line: str) -> Frame:
        pasted = paste(region.picture, pictures, region.mask) if region is not None and region.pastes else pictures
        tiles = [*before, *pasted]
        return image_grid(tiles, columns=3 if before else 2, scale=max(1, 192 // max(tiles[0].shape[:2]))), line

    blank = np.full((SAMPLES, *model.config.data.image_size, 3), GREY, np.uint8)
    yield frame(blank, "starting; the first picture takes longer, as programs are compiled")
    inner = model.config.autoencoder
    if isinstance(inner, DQVAEConfig):
        sample: Callable[..., Iterator[State]] = partial(sample_squares, inner)
    else:
        sample = sample_steps if model.states else sample_rows
    for pictures, line in sample(model, seed, labels, known):
        yield frame(pictures, line)
