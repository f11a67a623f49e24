"""Which earlier cells are seen when a code is predicted, built once.

The codes of a grid are predicted in raster order. Cell (i, j) sees cell (a, b) before it if

    a = i          and  j - w <= b <= j - 1        (its own row: w columns to the left), or
    i - w < a < i  and  j - w <= b <= j + w - 1    (w - 1 rows above: 2 w columns),

so at most w + 2 w (w - 1) cells, in coordinates of cells. Nothing wraps around the ends of rows.

**Tokens.** A row of n cells has n + 1 tokens: one for the row's start, which has no code, then one
for the code of each cell 0 .. n - 1. Token j predicts cell j; the last token of a row predicts
nothing and is only read. If tokens were in plain raster order, the token that predicts the first
cell of a row would hold the code at the end of the row above, which its window may not contain. As
it is, a token's own code is that of its left neighbour, which is always in the window, so that one
layer sees exactly the window. Before all rows stands one token more, SOS or the class, which all
tokens see, and which sees itself alone.

A token also sees itself. For a row's start this says nothing of any code; for other tokens it is
one of the w cells to the left. With SOS a token reads at most 1 + w + 2 w (w - 1) keys.

Axes: h x n cells; T = 1 + h (n + 1) tokens.
"""

from typing import Any

import numpy as np


def is_in_window(up: Any, left: Any, window: int) -> Any:
    """Tells whether a cell sees another one that lies so many rows above it and so many columns to
    its left: int arrays of NumPy or JAX, whose shapes are broadcast; bool."""
    own_row = (up == 0) & (left >= 1) & (left <= window)
    rows_above = (up >= 1) & (up < window) & (left > -window) & (left <= window)
    return own_row | rows_above


def is_seen(up: Any, left: Any, column: Any, window: int) -> Any:
    """Tells whether a token sees another one of a grid's rows: bool, of int arrays of NumPy or JAX,
    whose shapes are broadcast.

    Args:
        up, left: how many rows above it and how many columns to its left the other token lies.
        column: the other token's column. It holds the code of the cell one column to the left;
            there is none if it is below 1.
        window: w.
    """
    return is_in_window(up, left + 1, window) & (column >= 1) | (up == 0) & (left == 0)


def seen_tokens(grid: tuple[int, int], window: int) -> np.ndarray:
    """Returns which tokens each token sees, bool [T, T]; token 0 is SOS."""
    row, column = np.divmod(np.arange(grid[0] * (grid[1] + 1)), grid[1] + 1)  # [T - 1] each
    seen = is_seen(row[:, None] - row, column[:, None] - column, column, window)  # [T - 1, T - 1]
    whole = np.pad(seen, ((1, 0), (1, 0)))  # [T, T]
    whole[:, 0] = True
    return whole
