"""Programs that take many rows, some at a time."""

from typing import Any

import numpy as np
import pytest

from dct_jax.training.batches import pictures_at_a_time, run_in_batches


@pytest.mark.parametrize(
    ("number", "side", "expected"), [(999, 28, 64), (999, 256, 16), (999, 1024, 1), (999, 4096, 1), (5, 28, 5), (0, 28, 1)]
)
def test_large_pictures_are_few_at_a_time(number: int, side: int, expected: int) -> None:
    assert pictures_at_a_time(number, side, side) == expected


@pytest.mark.parametrize("number", [0, 1, 4, 7])
def test_rows_keep_their_order_and_a_program_sees_one_shape(number: int) -> None:
    """Of a tree of two arrays; no row that only fills up a batch is returned."""
    rows, shapes = (np.arange(number), np.arange(3 * number).reshape(number, 3)), []

    def program(batch: Any) -> dict[str, np.ndarray]:
        shapes.append([x.shape for x in batch])
        return {"sum": batch[0] + batch[1].sum(axis=1), "first": batch[0]}

    found = list(run_in_batches(program, rows, 4))
    assert [len(part["first"]) for part in found] == [4] * (number // 4) + [number % 4] * (number % 4 > 0)
    assert shapes == [[(4,), (4, 3)]] * len(found)
    assert [x for part in found for x in part["first"]] == list(range(number))
    assert [x for part in found for x in part["sum"]] == [k + 9 * k + 3 for k in range(number)]
