"""Figures of samples: by class, beside what they were given, and where their triples lie."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dct_jax.codec import SparseDCT
from dct_jax.tables import printable

_TILE = 1.35  # inches
_NAME = 0.085  # inches, a letter of a name


class Row(NamedTuple):
    """One row of a comparison.

    Attributes:
        given: what the samples were given, uint8 [H, W, 3].
        samples: uint8 [H, W, 3] each.
        original: what it was made from, if that is known.
    """

    given: np.ndarray
    samples: Sequence[np.ndarray]
    original: np.ndarray | None = None


def class_grid(images: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> Figure:
    """Plots a row of samples for each class, with its name in front.

    Args:
        images: for each class its samples, uint8 [H, W, 3] each.
        names: of the classes.
    """
    names = [printable(name) for name in names]
    columns, margin = max(map(len, images)), 0.2 + _NAME * max(map(len, names))
    figure = Figure(figsize=(margin + _TILE * columns, _TILE * len(images)), dpi=120)
    axes = figure.subplots(len(images), columns, squeeze=False)
    figure.subplots_adjust(left=margin / figure.get_figwidth(), right=1, bottom=0, top=1, wspace=0.05, hspace=0.05)
    for row, tiles, name in zip(axes, images, names):
        for axis in row:
            axis.set_axis_off()
        for axis, tile in zip(row, tiles):
            axis.imshow(tile, interpolation="nearest")
        place = row[0].transAxes
        # Names are of folders: a dollar is a dollar.
        row[0].text(-0.08, 0.5, name, transform=place, ha="right", va="center", fontsize=10, parse_math=False)
    return figure


def comparison(rows: Sequence[Row], given: str) -> Figure:
    """Plots what was given, the samples, and the original where there is one, as in the paper.

    Args:
        rows: one a picture.
        given: the name of the first column.
    """
    samples, has_original = max(len(row.samples) for row in rows), any(row.original is not None for row in rows)
    columns = 1 + samples + has_original
    figure = Figure(figsize=(_TILE * columns, _TILE * len(rows) + 0.3), dpi=120)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.005, top=1 - 0.3 / figure.get_figheight(), wspace=0.05, hspace=0.05
    )
    for row, tiles in zip(axes, rows):
        for axis in row:
            axis.set_axis_off()
        row[0].imshow(tiles.given, interpolation="nearest")
        for axis, tile in zip(row[1:], tiles.samples):
            axis.imshow(tile, interpolation="nearest")
        if tiles.original is not None:
            row[-1].imshow(tiles.original, interpolation="nearest")
    titles = [given] + [f"sample {i + 1}" for i in range(samples)] + ["original"] * has_original
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure


def pairs(rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: int = 10) -> Figure:
    """Plots pictures that belong together, one above the other, in as many bands of `columns` as
    are needed.

    Args:
        rows: for each row of a band its name and its pictures, uint8 [H, W, 3] each, as many in
            every row.
        columns: of a band.
    """
    number = len(rows[0][1])
    bands, margin = -(-number // columns), 0.2 + _NAME * max(len(name) for name, _ in rows)
    figure = Figure(figsize=(margin + _TILE * columns, _TILE * len(rows) * bands + 0.15 * (bands - 1)), dpi=120)
    parts = figure.subfigures(bands, 1, squeeze=False)[:, 0]
    for band, part in enumerate(parts):
        axes = part.subplots(len(rows), columns, squeeze=False)
        part.subplots_adjust(left=margin / figure.get_figwidth(), right=1, bottom=0.03, top=0.97, wspace=0.05, hspace=0.05)
        for row, (name, pictures) in zip(axes, rows):
            for axis in row:
                axis.set_axis_off()
            for axis, picture in zip(row, pictures[band * columns : (band + 1) * columns]):
                axis.imshow(picture, interpolation="nearest")
            row[0].text(-0.08, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=10)
    return figure


def positions(lists: Sequence[SparseDCT], stages: int = 6) -> Figure:
    """Plots where content is put (after the paper's first figure): for each list its image after
    1/stages, 2/stages ... of the triples, and below how many of the triples of that stage lie at
    each block.

    Raises:
        ValueError: if there are no lists.
    """
    if not lists:
        raise ValueError("there are no lists to plot")
    aspect = max(sparse.size[0] / sparse.size[1] for sparse in lists)
    width, height = 1.45 * stages + 1.4, 2 * (1.45 * aspect + 0.32) * len(lists) + 0.1
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots(2 * len(lists), stages, squeeze=False)
    for sparse, images, maps in zip(lists, axes[::2], axes[1::2]):
        ends = [len(sparse) * stage // stages for stage in range(stages + 1)]
        counts = [block_counts(sparse[begin:end]) for begin, end in itertools.pairwise(ends)]
        most = max(1.0, *(count.max() for count in counts))
        for axis, end in zip(images, ends[1:]):
            axis.imshow(sparse.codec.decode(sparse[:end]), interpolation="nearest")
            axis.set_title(f"the first {end}", fontsize=8)
        for axis, count, begin, end in zip(maps, counts, ends, ends[1:]):
            heatmap = axis.imshow(count, vmin=0, vmax=most, cmap="magma", interpolation="nearest")
            axis.set_title(f"{begin + 1} to {end}" if end > begin else "none", fontsize=8)
        bar = figure.colorbar(heatmap, ax=list(maps), shrink=0.9, pad=0.01)
        bar.set_label("triples a block", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        remove_ticks([*images, *maps])
    return figure


def even_places(number: int, most: int) -> np.ndarray:
    """Returns which states of a sample to show, int [S]: `most` of the places 0 .. number - 1, or
    fewer, at even distances, the first and the last included."""
    return np.unique(np.linspace(0, number - 1, most).round().astype(int))


def block_counts(sparse: SparseDCT) -> np.ndarray:
    """Returns how many of a list's triples lie at each block of the luma grid, float64 [h, w]. A
    triple of a chroma block counts in equal parts at the luma blocks that it covers."""
    (height, width), area = sparse.grid, sparse.codec.block_size**2
    counts = np.zeros((height, width))
    row, col = np.divmod(sparse.positions, width)  # [L] each
    component = sparse.channels // area
    for number, (rows, cols) in enumerate(sparse.codec.component_steps):
        own = np.zeros((height, width))
        np.add.at(own, (row[component == number], col[component == number]), 1.0)
        squares = own[::rows, ::cols].repeat(rows, axis=0).repeat(cols, axis=1)[:height, :width]
        covered = np.minimum(rows, height - np.arange(height) // rows * rows)[:, None]
        counts += squares / (covered * np.minimum(cols, width - np.arange(width) // cols * cols))
    return counts


def remove_ticks(axes: Iterable[Axes]) -> None:
    """Leaves the axes of pictures without numbers."""
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
