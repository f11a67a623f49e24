"""The window against sets that were worked out by hand, and a plain search, in coordinates of
cells."""

import numpy as np
import pytest

from dct_jax.window.neighbours import seen_tokens
from tests.window.toys import seen_cells


def search(grid: tuple[int, int], window: int, number: int) -> set[int]:
    """The cells that a cell sees, and itself, one pair after the other."""
    i, j = divmod(number, grid[1])
    found = {number}
    for a in range(max(0, i - window + 1), i + 1):
        right = j - 1 if a == i else j + window - 1
        found |= {a * grid[1] + b for b in range(max(0, j - window), min(right, grid[1] - 1) + 1)}
    return found


@pytest.mark.parametrize(
    ("side", "window", "number", "cells"),
    [
        (4, 2, 9, {4, 5, 6, 8, 9}),
        (4, 2, 4, {0, 1, 4}),
        (7, 3, 27, {*range(10, 14), *range(17, 21), *range(24, 28)}),
        (4, 1, 9, {8, 9}),
    ],
)
def test_worked_sets(side: int, window: int, number: int, cells: set[int]) -> None:
    assert set(np.flatnonzero(seen_cells((side, side), window)[number])) == cells


@pytest.mark.parametrize(("grid", "window"), [((3, 5), 2), ((5, 3), 4), ((1, 6), 2), ((6, 1), 3), ((4, 4), 9)])
def test_each_cell_sees_what_a_search_finds(grid: tuple[int, int], window: int) -> None:
    for number, seen in enumerate(seen_cells(grid, window)):
        assert set(np.flatnonzero(seen)) == search(grid, window, number)


def test_no_more_keys_than_the_window_has() -> None:
    assert seen_cells((16, 16), 8).sum(axis=1).max() == 121  # the cell itself and 120 before it
    assert seen_tokens((16, 16), 8).sum(axis=1).max() == 121  # SOS and 120 codes


@pytest.mark.parametrize(("grid", "window"), [((3, 5), 2), ((5, 3), 4), ((1, 4), 1), ((4, 1), 2)])
def test_tokens_hold_the_codes_of_the_cells(grid: tuple[int, int], window: int) -> None:
    """A token sees SOS, itself, and the tokens whose codes are those of its cell's window."""
    cells, tokens, length = seen_cells(grid, window), seen_tokens(grid, window), grid[1] + 1
    assert tokens[:, 0].all() and not tokens[0, 1:].any() and tokens.diagonal().all()
    holds = [None] + [None if t % length == 0 else t // length * grid[1] + t % length - 1 for t in range(grid[0] * length)]
    for number in range(grid[0] * grid[1]):
        token = 1 + number // grid[1] * length + number % grid[1]
        codes = [holds[other] for other in np.flatnonzero(tokens[token]) if other not in (0, token) or holds[other] is not None]
        assert None not in codes
        assert set(codes) == set(np.flatnonzero(cells[number])) - {number}
