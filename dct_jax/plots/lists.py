"""The pictures that explain a list of triples, and grids of samples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import ScalarFormatter

from dct_jax.codec import SparseDCT
from dct_jax.codec.color import rgb_to_planes
from dct_jax.codec.transform import dct_matrix

COLORS = {"Y": "#4d4d4d", "Cb": "#2b6cb0", "Cr": "#c53030"}
_SIDE = 128  # pixels, at most, that the panels of blocks show in each direction
_OUTLINE = withStroke(linewidth=2.4, foreground="black")


def image_grid(images: Sequence[np.ndarray], columns: int, scale: int = 1, gap: int = 4) -> np.ndarray:
    """Puts images side by side on white, each in the middle of a tile of the largest size.

    Args:
        images: uint8 [H, W, 3] each.
        columns: how many in a row.
        scale: every pixel becomes a square of that side.
        gap: pixels between images.

    Returns:
        uint8 [H', W', 3].
    """
    tiles = [image.repeat(scale, axis=0).repeat(scale, axis=1) for image in images]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in range(2))
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        tall, wide = tile.shape[:2]
        top = gap + row * (height + gap) + (height - tall) // 2
        left = gap + column * (width + gap) + (width - wide) // 2
        grid[top : top + tall, left : left + wide] = tile
    return grid


def progressive(lists: Sequence[SparseDCT], stages: int = 6) -> Figure:
    """Plots a row for each list: its image after 1/stages, 2/stages ... of its triples (the paper's
    figure of progressive samples)."""
    figure = Figure(figsize=(1.6 * stages, 1.85 * len(lists) + 0.2), dpi=120, layout="constrained")
    axes = figure.subplots(len(lists), stages, squeeze=False)
    for row, sparse in zip(axes, lists):
        for stage, axis in enumerate(row, start=1):
            triples = len(sparse) * stage // stages
            axis.imshow(sparse.codec.decode(sparse[:triples]), interpolation="nearest")
            axis.set_title(f"{stage}/{stages}: {triples} triples", fontsize=8)
            axis.set_axis_off()
    return figure


def show(sparse: SparseDCT, image: np.ndarray, stages: int = 6) -> Figure:
    """Plots an image as a list (the paper's figure of that name), in three rows: the image, its
    luma DCT and what quantisation leaves of it; the traces of the list, channel, position and value
    against the index; its progressive stages, marked in the traces.

    Args:
        sparse: the image's list.
        image: uint8 [H, W, 3].
        stages: how many.

    Raises:
        ValueError: if the list is one of an image of another size.
    """
    if image.shape[:2] != tuple(sparse.size):
        raise ValueError(f"the image has {image.shape[:2]} pixels; the list is one of {tuple(sparse.size)}")
    figure = Figure(figsize=(12, 12.5), dpi=110, layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, squeeze=False, height_ratios=(1.5, 2.2, 0.75)).flat
    ends = [len(sparse) * stage // stages for stage in range(1, stages + 1)]
    _plot_blocks(top, sparse, image)
    _plot_traces(middle, sparse, ends[:-1])
    for end, axis in zip(ends, bottom.subplots(1, stages)):
        axis.imshow(sparse.codec.decode(sparse[:end]), interpolation="nearest")
        axis.set_title(f"the first {end} triples", fontsize=9)
        axis.set_axis_off()
    (rows, cols), (height, width), codec = sparse.grid, sparse.size, sparse.codec
    size = f"{height} x {width} pixels, {rows} x {cols} blocks"
    figure.suptitle(f"{size}; {codec}: {len(sparse)} triples", fontsize=11)
    return figure


def luma_dct(image: np.ndarray, block_size: int) -> np.ndarray:
    """Returns the DCT coefficients of luma before quantisation, laid out block by block.

    Args:
        image: uint8 [H, W, 3].
        block_size: B.

    Returns:
        float64 [h, B, w, B]: row of blocks, vertical frequency, column of blocks, horizontal
        frequency.
    """
    rows, cols = (-(-side // block_size) for side in image.shape[:2])
    luma, none = np.empty((1, rows * block_size, cols * block_size), np.uint8), np.empty((1, 0, 0), np.uint8)
    rgb_to_planes(np.ascontiguousarray(image[None]), 1, 1, luma, none, none)
    blocks = luma.reshape(rows, block_size, cols, block_size) - 128.0
    basis = dct_matrix(block_size)  # [B, B]
    return np.einsum("kr,hrwc,lc->hkwl", basis, blocks, basis, optimize=True)


def _plot_blocks(figure: SubFigure, sparse: SparseDCT, image: np.ndarray) -> None:
    codec, block_size = sparse.codec, sparse.codec.block_size
    grid = [min(side, max(1, _SIDE // block_size)) for side in sparse.grid]
    (top, left), (rows, cols) = ((side - part) // 2 for side, part in zip(sparse.grid, grid)), grid
    y, x, tall, wide = (block_size * number for number in (top, left, rows, cols))
    exact = luma_dct(image[y : y + tall, x : x + wide], block_size)  # [h, B, w, B] of the frame
    quantised = codec.to_coefficients(sparse)[0].transpose(2, 0, 3, 1)[top : top + rows, :, left : left + cols]
    axes = figure.subplots(1, 3)
    axes[0].imshow(image, interpolation="nearest")
    axes[0].set_title("image", fontsize=9)
    if grid != list(sparse.grid):
        axes[0].add_patch(
            Rectangle((x - 0.5, y - 0.5), wide, tall, fill=False, color="white", linewidth=1.2, path_effects=[_OUTLINE])
        )
    which = f"{rows} x {cols} blocks" + (" (the frame)" if grid != list(sparse.grid) else "")
    panels = (("magnitudes of the luma DCT", exact, 0.5), ("the same, quantised; zeros are blank", quantised, 1))
    for axis, (name, blocks, smallest) in zip(axes[1:], panels):
        tiles = np.abs(blocks.astype(np.float64)).reshape(tall, wide)
        shown = np.ma.masked_equal(tiles, 0) if blocks is quantised else np.maximum(tiles, smallest)
        largest = max(tiles.max(), 2)
        panel = axis.imshow(shown, norm=LogNorm(smallest, largest), cmap="viridis", interpolation="nearest")
        bar = figure.colorbar(panel, ax=axis, shrink=0.8, pad=0.02)
        ticks = [tick for tick in (1, 10, 100, 1000, 10000) if tick <= largest]
        bar.set_ticks(ticks, labels=[str(tick) for tick in ticks])
        bar.ax.minorticks_off()
        bar.ax.tick_params(labelsize=8)
        axis.set_title(f"{name}\n{which}", fontsize=9)
        if block_size >= 4:
            for lines, side in ((axis.axhline, rows), (axis.axvline, cols)):
                for i in range(1, side):
                    lines(i * block_size - 0.5, color="0.8", linewidth=0.5)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])


def _plot_traces(figure: SubFigure, sparse: SparseDCT, marks: Sequence[int]) -> None:
    codec = sparse.codec
    vocabulary = codec.vocabulary(sparse.size)
    index = np.arange(len(sparse))
    component = sparse.channels // codec.block_size**2
    traces = {
        f"channel\n({codec.channel_order} order)": vocabulary.rank[sparse.channels],
        "position\n(raster index)": sparse.positions,
        "value": sparse.values,
    }
    axes = figure.subplots(len(traces), 1, sharex=True)
    for axis, (name, trace) in zip(axes, traces.items()):
        for number, (label, color) in enumerate(list(COLORS.items())[: len(codec.component_steps)]):
            chosen = component == number
            axis.plot(index[chosen], trace[chosen], ".", markersize=2, color=color, label=label)
        for mark in marks:
            axis.axvline(mark, color="0.75", linewidth=0.8, zorder=0)
        axis.set_ylabel(name)
        axis.margins(x=0.01)
    axes[-1].set_yscale("symlog", linthresh=4)
    largest = np.abs(sparse.values).max(initial=1)
    ticks = [tick for tick in (0, 4, 16, 64, 256, 1024) if tick <= largest]
    axes[-1].set_yticks([-tick for tick in reversed(ticks[1:])] + ticks, minor=False)
    axes[-1].yaxis.set_major_formatter(ScalarFormatter())
    axes[-1].minorticks_off()
    axes[-1].set_xlabel("index in the list")
    axes[0].legend(loc="lower right", markerscale=5, ncols=3)
