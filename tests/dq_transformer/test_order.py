"""Sequences of grids with holes, and which position symbols can come next."""

import itertools
from typing import Any, Literal

import jax
import numpy as np
import pytest

from dct_jax.dq_transformer import order as under_test
from dct_jax.dq_transformer.order import Order, start_map
from tests.dq_transformer.toys import CODES, all_grids, grid_of, random_grids, sequences_of

unpack = jax.jit(under_test.unpack, static_argnums=(0, 2))
support, say, lengths = (jax.jit(one, static_argnums=0) for one in (under_test.support, under_test.say, under_test.lengths))
ORDERS = [Order((2, 3), grains, within) for grains in (2, 3) for within in ("rows", "regions")]  # type: ignore[arg-type]


def name(order: Order) -> str:
    return f"{order.grains} {order.within}"


@pytest.mark.parametrize("order", ORDERS, ids=name)
def test_round_trip(order: Order) -> None:
    """All-coarse and all-fine ones too. What follows the last symbol is padding."""
    grids = random_grids(order, 20)
    positions, codes = sequences = sequences_of(order, grids)
    np.testing.assert_array_equal(unpack(order, sequences, CODES), grids)
    assert positions.shape == codes.shape == (20, order.longest)
    number = (grids < CODES).sum(axis=(1, 2)) + order.grains - 1
    regions, finest = 6, 4 ** (order.grains - 1)
    assert number[0] == regions + order.grains - 1 and number[-1] == regions * finest + order.grains - 1 == order.longest
    for its_positions, its_codes, length in zip(positions, codes, number):
        assert (np.diff(its_positions[:length]) > 0).all()
        is_end = order.symbols.is_end[its_positions[:length]]
        np.testing.assert_array_equal(its_codes[:length] == CODES, is_end)
        assert is_end.sum() == order.grains - 1
        assert (its_positions[length:] == order.number).all() and (its_codes[length:] == CODES).all()


@pytest.mark.parametrize(
    ("within", "fine"), [("rows", [0, 1, 2, 3, 4, 5, 6, 7]), ("regions", [0, 1, 4, 5, 2, 3, 6, 7])], ids=["rows", "regions"]
)
def test_worked_sequences(within: Literal["rows", "regions"], fine: list[int]) -> None:
    """Coarse regions 2 and 3, and the cells of fine ones by their number."""
    order = Order((2, 2), 2, within)
    cells = np.arange(16).reshape(4, 4)
    grid = grid_of(np.array([[1, 1], [0, 0]]), [0, 1, 4, 5, 2, 3, 6, 7, 8, 10], 2, 16)
    np.testing.assert_array_equal(np.where(grid < 16, grid, cells), cells)  # a code is the number of its cell
    positions, codes = (x[0].tolist() for x in sequences_of(order, grid[None], 16))
    assert positions[:3] == [2, 3, 4] and codes[:3] == [8, 10, 16]
    assert codes[3:11] == fine and order.symbols.cell[positions[3:11]].tolist() == fine
    assert positions[11:] == [order.number] * 6 and codes[11:] == [16] * 6 and order.number == 4 + 1 + 16
    # The symbols of the finest grain stand in the order within it.
    if within == "rows":
        assert positions[3:11] == [5 + cell for cell in fine]
    else:
        assert positions[3:11] == list(range(5, 13))


@pytest.mark.parametrize("order", ORDERS, ids=name)
def test_the_support_of_whole_sequences_is_that_of_steps(order: Order) -> None:
    """Each position is possible, and a step, which knows of what comes before it alone, finds as
    many as the whole sequence."""
    grids = random_grids(order, 8, seed=1)
    positions, _ = sequences_of(order, grids)
    before = np.pad(positions, ((0, 0), (1, 0)), constant_values=-1)  # [8, L + 1]
    grain_map = np.array([maps(order, grid) for grid in grids], np.int32)  # [8, N]
    whole = np.asarray(support(order, before, grain_map))
    current, number = start_map(order, 8), np.asarray(lengths(order, grain_map))
    np.testing.assert_array_equal(number, (positions < order.number).sum(axis=1))
    for t in range(order.longest + 1):
        np.testing.assert_array_equal(support(order, before[:, t : t + 1], current), whole[:, t : t + 1])
        is_over = np.asarray(lengths(order, current)) <= t
        np.testing.assert_array_equal(is_over, number <= t)
        np.testing.assert_array_equal(whole[:, t].any(axis=1), ~is_over)
        if t < order.longest:
            at = positions[:, t]
            assert all(whole[b, t, at[b]] for b in range(8) if at[b] < order.number)
            current = say(order, current, at)
    np.testing.assert_array_equal(current, grain_map)


def maps(order: Order, grid: np.ndarray) -> list[int]:
    """The grains of regions, by how many codes each has."""
    side = 2 ** (order.grains - 1)
    rows, columns = order.regions
    counts = (grid < CODES).reshape(rows, side, columns, side).sum(axis=(1, 3)).reshape(-1)
    return [{1: 0, 4: 1, 16: 2}[int(count)] for count in counts]


def possible(order: Order, last: int, grain_map: Any, known: Any = None) -> list[int]:
    """The symbols that can follow the last one of one sequence."""
    return np.flatnonzero(np.asarray(support(order, np.array([[last]], np.int32), grain_map, known))).tolist()


def say_one(order: Order, grain_map: Any, symbol: int) -> jax.Array:
    return say(order, grain_map, np.array([symbol], np.int32))


def all_sequences(order: Order, known: Any = None) -> list[list[int]]:
    """Every sequence of positions that the support allows, found step by step."""
    found: list[list[int]] = []

    def go_on(path: list[int], grain_map: jax.Array) -> None:
        symbols = possible(order, path[-1] if path else -1, grain_map, known)
        for symbol in symbols:
            go_on([*path, symbol], say_one(order, grain_map, symbol))
        if not symbols:
            found.append(path)

    go_on([], start_map(order, 1))
    return found


@pytest.mark.parametrize(
    ("order", "number"),
    [(Order((2, 2), 2), 16), (Order((1, 2), 3), 9), (Order((1, 2), 3, "regions"), 9)],
    ids=["dual", "triple", "triple by regions"],
)
def test_there_is_one_sequence_of_positions_of_each_grain_map(order: Order, number: int) -> None:
    """So every region can have every grain (in the authors' program one cannot), and none is
    covered twice."""
    sequences = all_sequences(order)
    grids = [
        grid_of(np.array(one).reshape(order.regions), itertools.repeat(0), order.grains, 1)
        for one in itertools.product(range(order.grains), repeat=order.regions[0] * order.regions[1])
    ]
    packed = sequences_of(order, np.array(grids), 1)
    expected = {tuple(row[row < order.number].tolist()) for row in packed.positions}
    assert len(sequences) == len(expected) == number
    assert {tuple(one) for one in sequences} == expected


def test_every_region_of_a_large_grid_is_reachable() -> None:
    """At the start, and after the last region but one (the authors' program never reaches the
    last)."""
    order = Order((16, 16), 2)
    nothing = start_map(order, 1)
    assert possible(order, -1, nothing) == list(range(256 + 1))  # and the end: all are fine
    assert possible(order, 254, nothing) == [255, 256]


def test_what_is_known_is_in_all_sequences_and_the_rest_is_free() -> None:
    order = Order((1, 3), 3)
    grains = set()
    for path in all_sequences(order, np.array([[-1, 1, -1]], np.int32)):
        current = start_map(order, 1)
        for symbol in path:
            current = say_one(order, current, symbol)
        grains.add(tuple(current[0].tolist()))
    assert grains == {(a, 1, b) for a in range(3) for b in range(3)}
    for one in itertools.product(range(3), repeat=3):
        assert len(all_sequences(order, np.array([one], np.int32))) == 1


def test_all_grids_are_different() -> None:
    grids = all_grids(Order((1, 2), 2), 2)
    assert len(grids) == (2 + 2**4) ** 2 == len(np.unique(grids, axis=0))
