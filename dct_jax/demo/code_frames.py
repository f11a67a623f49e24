"""Samples of a prior over codes as frames of a page, from nothing or around a marked region.

Axes: N samples, H x W pixels, h x w codes, f pixels of a code's side.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dct_jax.codes.masks import GREY, hide, known_codes, paste
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.codes.random_keys import sample_keys
from dct_jax.demo.layout import SAMPLES, Frame
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.plots import image_grid
from dct_jax.sundae.network import SundaeNetwork
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.sampler import Denoised, Schedule, denoise, sample_start, schedule_of
from dct_jax.sundae.stage import TrainedSundae
from dct_jax.window.stage import TrainedWindow

MOST_STEPS = 100
"""The states of so many steps have room in the program, so fewer steps need no other program."""

MOST_STATES = 25
"""So many states of a request are shown, at even distances."""

State = tuple[np.ndarray, str]
"""Pictures, uint8 [N, H, W, 3], and a line about them."""


class Known(NamedTuple):
    """Codes that stay as they are: int32 [N, h, w], and where, bool [N, h, w]."""

    codes: np.ndarray
    cells: np.ndarray


class Region(NamedTuple):
    """What is redrawn of a picture.

    Attributes:
        picture: uint8 [H, W, 3].
        mask: bool [H, W], the pixels that are redrawn.
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
    cells, codes = known_codes(region.mask, model.block_size), model.encode(region.picture[None])[0]
    return Known(*(np.broadcast_to(x, (SAMPLES, *x.shape)) for x in (codes, cells)))


def sampled_rows(model: TrainedWindow, seed: int, labels: Sequence[int], policy: SymbolPolicy, known: Known) -> Iterator[State]:
    """Samples grids, and uncovers the pictures row by row. A picture is decoded once, of the whole
    grid, as an autoencoder mixes a code with those around it."""
    grid = model.config.grid
    codes = model.sample_grids(range(SAMPLES), seed, labels, grid, policy, known)
    pictures = model.decode(codes)
    (height, width), f = model.config.data.image_size, model.block_size
    for row in evenly(grid[0] - 1):
        cells = known.cells[0] | (np.arange(grid[0]) <= row)[:, None]  # [h, w]
        pixels = cells.repeat(f, axis=0).repeat(f, axis=1)[:height, :width, None]
        yield np.where(pixels, pictures, np.uint8(GREY)), f"row {row + 1} of {grid[0]} (uncovered after all were sampled)"
    yield pictures, f"complete: {(~known.cells[0]).sum()} codes sampled in each, seed {seed}"


def sampled_steps(
    model: TrainedSundae, seed: int, labels: Sequence[int], policy: SundaePolicy, known: Known
) -> Iterator[State]:
    """Samples grids, and then decodes the states that they went through, beginning with noise."""
    found = denoise_with_states(model, seed, labels, policy, known)
    states, steps = np.asarray(found.history), np.asarray(found.steps)
    for n in evenly(int(steps.max())):
        yield model.decode(states[n]), f"after step {n} of at most {policy.steps} (shown after the last)"
    yield model.decode(np.asarray(found.codes)), f"complete: {', '.join(map(str, steps))} steps, seed {seed}"


def denoise_with_states(model: TrainedSundae, seed: int, labels: Sequence[int], policy: SundaePolicy, known: Known) -> Denoised:
    """Samples as `TrainedSundae.denoise` does, with the states of `MOST_STEPS`: those after the
    policy's steps repeat the last. One program serves all policies."""
    keys = sample_keys(seed, range(SAMPLES))
    start = np.where(known.cells, known.codes, sample_start(keys, model.config.grid, model.config.num_codes))
    params, of = {"params": model.variables["params"]}, np.asarray(labels, np.int32)
    return _denoise(model.network, params, keys, of, start, known.cells, schedule_of(policy))


@partial(jax.jit, static_argnums=0)
def _denoise(
    network: SundaeNetwork,
    params: Any,
    keys: jax.Array,
    labels: jax.Array,
    start: jax.Array,
    known: jax.Array,
    schedule: Schedule,
) -> Denoised:
    return denoise(lambda codes: network.apply(params, codes, labels), start, known, keys, schedule, MOST_STEPS + 1)


def evenly(last: int) -> list[int]:
    """Returns at most `MOST_STATES` of 0 .. last, at even distances, the last one included."""
    return sorted({round(float(x)) for x in np.linspace(0, last, MOST_STATES)})


def frames(model: TrainedCodePrior, seed: int, label: int | None, policy: Any, region: Region | None) -> Iterator[Frame]:
    """Yields the states of samples, side by side, after the original and what is known of it.

    Args:
        model: what is sampled from.
        seed: of the samples.
        label: their class; None chooses one for each.
        policy: of the model's kind.
        region: what is redrawn; None samples from nothing.

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
    sample = sampled_rows if isinstance(model, TrainedWindow) else sampled_steps
    for pictures, line in sample(model, seed, labels, policy, known):  # type: ignore[arg-type]
        yield frame(pictures, line)
