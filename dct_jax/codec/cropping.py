"""Cropping and mirroring lists, without decoding them and without loss."""

import dataclasses

import numpy as np

from dct_jax.codec.sparse import SparseDCT, image_size


def smallest_steps(sparse: SparseDCT) -> tuple[int, int]:
    """Returns (rows, cols), pixels: at their multiples blocks of all components begin together."""
    rows, cols = sparse.codec.component_steps[-1]
    return rows * sparse.codec.block_size, cols * sparse.codec.block_size


def crop(sparse: SparseDCT, top: int, left: int, size: tuple[int, int]) -> SparseDCT:
    """Returns the list of a part of an image: the coefficients of its blocks.

    Args:
        sparse: a valid list.
        top, left: the first row and column in pixels, multiples of `smallest_steps`.
        size: (H, W) of the part.

    Raises:
        ValueError: if the part does not begin at these multiples, or leaves the image.
    """
    (height, width), steps = image_size(size), smallest_steps(sparse)
    if top % steps[0] or left % steps[1] or min(top, left) < 0:
        raise ValueError(f"the crop begins at ({top}, {left}); it must begin at multiples of {steps[0]} and {steps[1]} pixels")
    if top + height > sparse.size[0] or left + width > sparse.size[1]:
        raise ValueError(f"the crop of {height} x {width} pixels at ({top}, {left}) leaves the image of {sparse.size}")
    part, block = dataclasses.replace(sparse, size=(height, width)), sparse.codec.block_size
    rows, cols = np.divmod(sparse.positions, sparse.grid[1])  # [L]
    rows, cols = rows - top // block, cols - left // block
    inside = (rows >= 0) & (rows < part.grid[0]) & (cols >= 0) & (cols < part.grid[1])
    return dataclasses.replace(
        part,
        channels=sparse.channels[inside],
        positions=(rows * part.grid[1] + cols)[inside].astype(np.int32),
        values=sparse.values[inside],
    )


def mirror(sparse: SparseDCT) -> SparseDCT:
    """Mirrors a valid list left to right: blocks change places, odd horizontal frequencies signs.

    Raises:
        ValueError: if the width is not a whole number of blocks of all components.
    """
    steps, codec = smallest_steps(sparse)[1], sparse.codec
    if sparse.size[1] % steps:
        raise ValueError(f"the image's width is {sparse.size[1]} pixels; to be mirrored it must be a multiple of {steps}")
    arrays = codec.to_coefficients(sparse)
    sign = np.where(np.arange(codec.block_size) % 2, -1, 1).astype(np.int16)[None, :, None, None]  # [1, B, 1, 1]
    return codec.from_coefficients([x[..., ::-1] * sign for x in arrays], sparse.size)
