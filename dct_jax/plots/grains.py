"""Where a DQ-VAE's codes lie: grain maps, the squares of codes, and their growth.

Axes: H x W pixels, h x w regions, n x m cells of the finest grid, G grains. A region has F x F
pixels; the last ones may reach beyond the picture. See `dct_jax.dq.grains`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dct_jax.codec import SparseDCT
from dct_jax.plots.samples import block_counts, remove_ticks

GRAIN_NAMES = {2: ("coarse", "fine"), 3: ("coarse", "median", "fine")}
"""Of the grains, by their number."""
GRAIN_COLORS = {2: ("#0072b2", "#d55e00"), 3: ("#0072b2", "#f0e442", "#d55e00")}
"""Of the grains, by their number; people who confuse red and green can tell them apart (Okabe and
Ito, 2008)."""
_TINT = 0.5  # how much of an overlay is the colour of a grain
_DARKEST = 48  # the level of an overlay's black, so that its colour is seen
_FADE = 0.45  # how much of the picture under lines is white
_LINE = 25  # the level of a line
_GREY = 128  # the level of what is not sampled yet
_TILE = 1.7  # inches


class Grains(NamedTuple):
    """The grains of a picture's regions.

    Attributes:
        map: int [h, w], from 0, the coarsest, to G - 1.
        number: G.
        side: F, pixels of a region's side.
    """

    map: np.ndarray
    number: int
    side: int

    @property
    def codes(self) -> np.ndarray:
        """How many codes each region has, int [h, w]."""
        return 4 ** np.asarray(self.map)

    def to_pixels(self, values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Repeats what regions, or cells, have for their pixels: [., ., ...] -> [H, W, ...]."""
        side = self.side * len(self.map) // len(values)
        return values.repeat(side, axis=0).repeat(side, axis=1)[: size[0], : size[1]]

    def squares(self) -> np.ndarray:
        """Numbers codes from coarse to fine, and those of a grain in raster order of its grid.
        Returns the number of each cell's code, int [n, m]."""
        finest = 2 ** (self.number - 1)
        grain = np.asarray(self.map).repeat(finest, axis=0).repeat(finest, axis=1)  # [n, m]
        cells = 2 ** (self.number - 1 - grain)  # of a side of the code's square
        row, column = np.indices(grain.shape)
        keys = (grain * grain.shape[0] + row - row % cells) * grain.shape[1] + column - column % cells
        return np.unique(keys, return_inverse=True)[1].reshape(grain.shape)


def grain_overlay(picture: np.ndarray, grains: Grains) -> np.ndarray:
    """Colours each region of a picture by its grain.

    Args:
        picture: uint8 [H, W, 3].
        grains: of its regions.

    Returns:
        uint8 [H, W, 3], the picture's grey levels in the colours.
    """
    grey = _DARKEST + (1 - _DARKEST / 255) * picture @ np.array([0.2989, 0.5870, 0.1140])  # [H, W]
    tints = grains.to_pixels(255 * to_rgba_array(GRAIN_COLORS[grains.number])[grains.map, :3], picture.shape)  # [H, W, 3]
    return ((1 - _TINT) * grey[..., None] + _TINT * tints).round().astype(np.uint8)


def grain_lines(picture: np.ndarray, grains: Grains, scale: int = 1) -> np.ndarray:
    """Outlines the square of each code on a paler picture.

    Args:
        picture: uint8 [H, W, 3].
        grains: of its regions.
        scale: every pixel becomes a square of that side; lines are a pixel wide.

    Returns:
        uint8 [scale H, scale W, 3].
    """
    size = (scale * picture.shape[0], scale * picture.shape[1])
    squares = grains._replace(side=scale * grains.side).to_pixels(grains.squares(), size)
    is_line = np.ones(size, bool)
    is_line[1:-1, 1:-1] = False
    is_line[1:] |= squares[1:] != squares[:-1]
    is_line[:, 1:] |= squares[:, 1:] != squares[:, :-1]
    pale = (1 - _FADE) * picture + _FADE * 255
    enlarged = pale.round().astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    return np.where(is_line[..., None], np.uint8(_LINE), enlarged)


def growth(pictures: Sequence[np.ndarray], grains: Sequence[Grains], stages: int = 2) -> Figure:
    """Plots a row for each picture: what its codes cover while they come from coarse to fine; the
    rest is grey. All panels show the picture as it is in the end.

    Args:
        pictures: uint8 [H, W, 3] each.
        grains: of each picture; all have as many grains.
        stages: of each grain.
    """
    number = grains[0].number
    aspect = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    size = (_TILE * stages * number, (_TILE * aspect + 0.1) * len(pictures) + 0.1)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots(len(pictures), stages * number, squeeze=False)
    for row, picture, one in zip(axes, pictures, grains):
        squares = one.to_pixels(one.squares(), picture.shape)  # [H, W]
        before = 0
        for grain, name in enumerate(GRAIN_NAMES[number]):
            codes = int(one.codes[one.map == grain].sum())
            for stage, axis in enumerate(row[grain * stages : (grain + 1) * stages], start=1):
                shown = codes * stage // stages
                is_there = squares < before + shown
                axis.imshow(np.where(is_there[..., None], picture, np.uint8(_GREY)), interpolation="nearest")
                axis.set_title(f"{shown} of {codes} {name} codes", fontsize=8)
            before += codes
    remove_ticks(axes.flat)
    return figure


def symbols_beside(pictures: Sequence[np.ndarray], grains: Sequence[Grains], lists: Sequence[SparseDCT]) -> Figure:
    """Plots where a DQ-VAE puts its codes and where a DCTransformer's list has its triples: a row
    for each picture, with the picture, its grains, its codes and its triples, the latter two on one
    scale of symbols per area.

    Args:
        pictures: uint8 [H, W, 3] each.
        grains: of each picture; all have as many grains and regions as large.
        lists: of each picture.
    """
    number, side = grains[0].number, grains[0].side
    maps = []
    for picture, one, sparse in zip(pictures, grains, lists):
        block = sparse.codec.block_size
        triples = block_counts(sparse) * (side / block) ** 2  # [h', w'] of blocks, per area of a region
        of_blocks = triples.repeat(block, axis=0).repeat(block, axis=1)[: picture.shape[0], : picture.shape[1]]
        maps.append((one.to_pixels(one.codes, picture.shape), of_blocks))
    most = max(4.0 ** (number - 1), *(float(triples.max()) for _, triples in maps))
    scale = LogNorm(0.5, most, clip=True)
    aspect = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(11, (2.4 * aspect + 0.3) * len(pictures) + 0.5), dpi=110, layout="constrained")
    axes = figure.subplots(len(pictures), 4, squeeze=False)
    for row, picture, one, sparse, pair in zip(axes, pictures, grains, lists, maps):
        row[0].imshow(picture, interpolation="nearest")
        row[0].set_title(f"{picture.shape[0]} x {picture.shape[1]} pixels", fontsize=9)
        row[1].imshow(grain_overlay(picture, one), interpolation="nearest")
        shares = [f"{name} {(one.map == grain).mean():.0%}" for grain, name in enumerate(GRAIN_NAMES[number])]
        row[1].set_title("grains: " + ", ".join(shares), fontsize=9)
        titles = (f"DQ-VAE: {one.codes.sum()} codes", f"DCTransformer: {len(sparse)} triples")
        for axis, values, title in zip(row[2:], pair, titles):
            heat = axis.imshow(values, norm=scale, cmap="magma", interpolation="nearest")
            axis.set_title(title, fontsize=9)
    bar = figure.colorbar(heat, ax=axes[:, 2:], shrink=0.9, pad=0.01)
    ticks = [tick for tick in (1, 4, 16, 64, 256, 1024, 4096) if tick <= most]
    bar.set_ticks([0.5, *ticks], labels=["0.5 or less", *map(str, ticks)])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    bar.set_label(f"symbols per {side} x {side} pixels", fontsize=9)
    colors = [Patch(color=to_rgb(color), label=name) for name, color in zip(GRAIN_NAMES[number], GRAIN_COLORS[number])]
    figure.legend(handles=colors, loc="outside lower left", ncols=number, fontsize=8, frameon=False)
    remove_ticks(axes.flat)
    return figure
