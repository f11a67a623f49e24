"""Grain maps and grids with holes, by loops over regions."""

import tracemalloc

import jax
import numpy as np
import pytest

from dct_jax.dq.grains import fill, has_code, map_of, punch
from dct_jax.dq.holes import AT_ONCE, check_holes

K = 7


def random_maps(grains: int, number: int = 5, rows: int = 3, columns: int = 2) -> np.ndarray:
    """Grain maps, int32 [N, h, w]; the first is all coarse and the second all fine."""
    maps = np.random.default_rng(grains).integers(0, grains, (number, rows, columns)).astype(np.int32)
    maps[0], maps[1] = 0, grains - 1
    return maps


def make_grids(maps: np.ndarray, grains: int) -> tuple[np.ndarray, np.ndarray]:
    """Random codes of grain maps, square by square: with holes, and without, int32 [N, n, m]."""
    rng, side = np.random.default_rng(9), 2 ** (grains - 1)
    with_holes = np.full((len(maps), side * maps.shape[1], side * maps.shape[2]), K, np.int32)
    filled = with_holes.copy()
    for (i, y, x), grain in np.ndenumerate(maps):
        size = side // 2**grain
        for top in range(side * y, side * (y + 1), size):
            for left in range(side * x, side * (x + 1), size):
                filled[i, top : top + size, left : left + size] = with_holes[i, top, left] = rng.integers(K)
    return with_holes, filled


@pytest.mark.parametrize("grains", [2, 3])
def test_a_grid_with_holes_says_the_codes_and_the_grains(grains: int) -> None:
    maps = random_maps(grains)
    with_holes, filled = make_grids(maps, grains)

    @jax.jit
    def run(with_holes: jax.Array, filled: jax.Array, maps: jax.Array) -> tuple[jax.Array, ...]:
        of_holes = fill(with_holes, grains, K), map_of(with_holes, grains, K)
        return punch(filled, maps, grains, K), *of_holes, has_code(maps, grains)

    for found, expected in zip(run(with_holes, filled, maps), (with_holes, filled, maps, with_holes != K), strict=True):
        np.testing.assert_array_equal(found, expected)
    check_holes(with_holes, grains, K)


@pytest.mark.parametrize("grains", [2, 3])
def test_holes_of_no_grain_are_refused(grains: int) -> None:
    """A code in a hole, and a hole in the place of a code, anywhere."""
    grids, _ = make_grids(random_maps(grains), grains)
    for index, code in np.ndenumerate(grids[:3]):
        wrong = grids.copy()
        wrong[index] = 1 if code == K else K
        with pytest.raises(ValueError, match=r"row \d and column \d of picture \d"):
            check_holes(wrong, grains, K)


def test_many_grids_are_checked_part_by_part() -> None:
    """A large file of codes once took the memory of all of its grids at once."""
    number = 3 * AT_ONCE
    grids = np.zeros((number, 4, 4), np.uint16)
    grids[number - 2, 2, 3] = K  # one code of four is missing
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"row 1 and column 1 of picture {number - 2} has codes of no grain"):
        check_holes(grids, 2, K)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 16 * AT_ONCE
