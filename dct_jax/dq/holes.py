"""Checks grids with holes that come from outside, without JAX: readers use it. See `dq.grains`."""

import numpy as np

AT_ONCE = 4096
"""Grids that are checked at a time: a file on the disk may have more than the memory holds."""


def check_grid(grid: tuple[int, ...], expected: tuple[int, int]) -> None:
    """Raises ValueError if a grid's rows and columns are others than those of training's pictures,
    which the decoder's positions are of."""
    if grid != expected:
        (rows, columns), (height, width) = grid, expected
        raise ValueError(f"the grid has {rows} x {columns} cells; it must have {height} x {width}, those of training")


def check_holes(codes: np.ndarray, grains: int, num_codes: int) -> None:
    """Checks grids from outside, int [B, n, m].

    Raises:
        ValueError: if the regions do not nest into a grid, a number is no code and no hole, or the
            holes of a region are those of no grain.
    """
    side, (_, rows, columns) = 2 ** (grains - 1), codes.shape
    if rows % side or columns % side:
        raise ValueError(f"the grid has {rows} x {columns} cells; {side}, the cells of a region's side, must divide both sides")
    if codes.size and not (0 <= codes.min() and codes.max() <= num_codes):
        raise ValueError(f"the codes go from {codes.min()} to {codes.max()}; this model has 0 to {num_codes}, which is a hole")
    for first in range(0, len(codes), AT_ONCE):
        fits = _fits(codes[first : first + AT_ONCE], grains, num_codes)
        if not fits.all():
            picture, row, column = np.argwhere(~fits)[0]
            raise ValueError(f"the region in row {row} and column {column} of picture {first + picture} has codes of no grain")


def _fits(codes: np.ndarray, grains: int, num_codes: int) -> np.ndarray:
    """Tells whether each region has the holes of some grain: int [B, n, m] -> bool [B, h, w]."""
    side, (_, rows, columns) = 2 ** (grains - 1), codes.shape
    is_code = (codes != num_codes).reshape(-1, rows // side, side, columns // side, side)
    fits = np.zeros((len(is_code), rows // side, columns // side), bool)
    for grain in range(grains):
        step, its_codes = 2 ** (grains - 1 - grain), np.zeros((side, 1, side), bool)
        its_codes[::step, :, ::step] = True
        fits |= (is_code == its_codes).all(axis=(2, 4))
    return fits
