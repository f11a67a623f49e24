"""Cuts the list of a large picture into those of tiles that fit on a model's canvas, and back.

A tile has whole MCUs, the smallest squares in which blocks of all components begin together, so
every coefficient belongs to one tile and nothing is lost. A model that was trained on crops alone
knows one size: its tiles have that size, and blocks beyond the picture are empty.

Axes: T tiles, row by row; L triples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut.

    Attributes:
        picture: (H, W) in pixels.
        blocks: the rows and columns of blocks from one tile to the next.
        heights, widths: of the lists of a column of tiles and of a row, in pixels.
    """

    picture: tuple[int, int]
    blocks: tuple[int, int]
    heights: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def count(self) -> int:
        """Returns T."""
        return len(self.heights) * len(self.widths)

    def size(self, number: int) -> tuple[int, int]:
        """Returns (H, W) of a tile's list in pixels."""
        down, along = divmod(number, len(self.widths))
        return self.heights[down], self.widths[along]


def tile_picture(picture: tuple[int, int], canvas: tuple[int, int], codec: DCTCodec, one_size: bool) -> Tiling:
    """Finds the tiles of a picture.

    Args:
        picture: (H, W) in pixels.
        canvas: (H, W) of the model's, in pixels.
        codec: of the picture's list.
        one_size: whether all tiles get the canvas's size, as the model knows no other.

    Raises:
        ValueError: if the picture does not fit on the canvas, and the canvas has no whole MCU.
    """
    grid, ours, steps = codec.grid(picture), codec.grid(canvas), codec.component_steps[-1]
    if grid[0] <= ours[0] and grid[1] <= ours[1]:
        height, width = canvas if one_size else picture
        return Tiling(picture, grid, (height,), (width,))
    rows, cols = (most // step * step for most, step in zip(ours, steps))
    if not (rows and cols):
        least = " x ".join(str(step * codec.block_size) for step in steps)
        raise ValueError(
            f"the picture has {picture[0]} x {picture[1]} pixels, and the model's canvas {canvas[0]} x {canvas[1]}; to cut it "
            f"into tiles the canvas must have {least} or more"
        )
    heights, widths = (
        [min(blocks * codec.block_size, side - first) for first in range(0, side, blocks * codec.block_size)]
        for side, blocks in zip(picture, (rows, cols))
    )
    if one_size:
        heights, widths = ([side] * len(parts) for side, parts in zip(canvas, (heights, widths)))
    return Tiling(picture, (rows, cols), tuple(heights), tuple(widths))


def cut(sparse: SparseDCT, tiling: Tiling) -> list[SparseDCT]:
    """Returns the lists of the T tiles of a valid list's picture."""
    row, col = np.divmod(sparse.positions, sparse.grid[1])  # [L] each
    (down, row), (along, col) = (np.divmod(x, blocks) for x, blocks in zip((row, col), tiling.blocks))
    tile = down * len(tiling.widths) + along  # [L]
    sizes = [tiling.size(number) for number in range(tiling.count)]
    widths = np.array([sparse.codec.grid(size)[1] for size in sizes])  # [T]
    order = np.argsort(tile, kind="stable")  # within a tile it is that of the list
    ends = np.cumsum(np.bincount(tile, minlength=len(sizes)))[:-1]
    positions = (row * widths[tile] + col).astype(np.int32)
    channels, positions, values = (np.split(x[order], ends) for x in (sparse.channels, positions, sparse.values))
    return [SparseDCT(*parts, sparse.codec) for parts in zip(channels, positions, values, sizes)]


def join(tiles: Sequence[SparseDCT], tiling: Tiling) -> SparseDCT:
    """Returns the list of the picture whose tiles these are.

    Raises:
        ValueError: if a tile has a coefficient beyond the picture.
    """
    codec = tiles[0].codec
    grid, parts = codec.grid(tiling.picture), []
    for number, tile in enumerate(tiles):
        down, along = divmod(number, len(tiling.widths))
        row, col = np.divmod(tile.positions, tile.grid[1])
        row, col = row + down * tiling.blocks[0], col + along * tiling.blocks[1]
        if len(row) and (row.max() >= grid[0] or col.max() >= grid[1]):
            raise ValueError(f"tile {number} has a coefficient beyond the picture of {tiling.picture[0]} x {tiling.picture[1]}")
        parts.append(row * grid[1] + col)
    positions = np.concatenate(parts).astype(np.int32)  # [L]
    channels = np.concatenate([tile.channels for tile in tiles])
    order = np.lexsort((positions, codec.vocabulary(tiling.picture).rank[channels]))
    values = np.concatenate([tile.values for tile in tiles])
    return SparseDCT(channels[order], positions[order], values[order], tiling.picture, codec)
