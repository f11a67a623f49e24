"""The pictures that explain a list of triples, and grids of samples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from dct_jax.codec import SparseDCT
from dct_jax.codec.channel_order import CB, CR, Y

_COLORS = {"Y": "#4d4d4d", "Cb": "#2b6cb0", "Cr": "#c53030"}


def image_grid(images: Sequence[np.ndarray], columns: int, scale: int = 1, gap: int = 4) -> np.ndarray:
    """Images of one size side by side on white.

    Args:
        images: uint8 [H, W, 3] each.
        columns: how many in a row.
        scale: every pixel becomes a square of that side.
        gap: pixels between images.

    Returns:
        uint8 [H', W', 3].
    """
    tiles = [image.repeat(scale, axis=0).repeat(scale, axis=1) for image in images]
    height, width, _ = tiles[0].shape
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (gap + n * step for n, step in zip(divmod(i, columns), (height + gap, width + gap)))
        grid[top : top + height, left : left + width] = tile
    return grid


def progressive(lists: Sequence[SparseDCT], stages: int = 6) -> Figure:
    """One row a list: its image after 1/stages, 2/stages ... of its triples (the paper's figure of progressive samples)."""
    figure = Figure(figsize=(1.6 * stages, 1.85 * len(lists) + 0.2), dpi=120, layout="constrained")
    axes = figure.subplots(len(lists), stages, squeeze=False)
    for row, sparse in zip(axes, lists):
        for stage, axis in enumerate(row, start=1):
            triples = len(sparse) * stage // stages
            axis.imshow(sparse.codec.decode(sparse[:triples]), interpolation="nearest")
            axis.set_title(f"{stage}/{stages}: {triples} triples", fontsize=8)
            axis.set_axis_off()
    return figure


def show(sparse: SparseDCT, stages: int = 6) -> Figure:
    """An image's progressive stages above the traces of its list: channel, position and value against the index, with the
    stages marked (the paper's figure of an image as a list)."""
    codec = sparse.codec
    figure = Figure(figsize=(12, 8), dpi=110, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.6))
    ends = [len(sparse) * stage // stages for stage in range(1, stages + 1)]
    for end, axis in zip(ends, above.subplots(1, stages)):
        axis.imshow(codec.decode(sparse[:end]), interpolation="nearest")
        axis.set_title(f"{end} triples", fontsize=9)
        axis.set_axis_off()

    vocabulary = codec.vocabulary(sparse.size)
    index = np.arange(len(sparse))
    component = sparse.channels // codec.block_size**2
    traces = {
        f"channel\n({codec.channel_order} order)": vocabulary.rank[sparse.channels],
        "position\n(raster index)": sparse.positions,
        "value": sparse.values,
    }
    axes = below.subplots(len(traces), 1, sharex=True)
    for axis, (name, trace) in zip(axes, traces.items()):
        for label, number in (("Y", Y), ("Cb", CB), ("Cr", CR)):
            chosen = component == number
            axis.plot(index[chosen], trace[chosen], ".", markersize=2, color=_COLORS[label], label=label)
        for end in ends[:-1]:
            axis.axvline(end, color="0.75", linewidth=0.8, zorder=0)
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
    blocks, (height, width) = sparse.grid, sparse.size
    figure.suptitle(
        f"{height} x {width} pixels, {blocks[0]} x {blocks[1]} blocks of {codec.block_size}, {codec}: {len(sparse)} triples",
        fontsize=11,
    )
    return figure
