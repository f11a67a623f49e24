"""The table of sizes, against sums over the files that were written."""

import numpy as np
import pytest

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.commands import sizes
from dct_jax.commands.sizes import SizeTable
from dct_jax.dct.coders import CODERS, Coder

CODEC = DCTCodec()
GREY = [SparseDCT.empty((side, 16), CODEC) for side in (8, 16, 24)]
JPEG = [bytes(1000), bytes(2000), bytes(4000)]


def fail(jpeg: bytes, error: Exception) -> bytes:
    raise error


def measured(*coders: Coder, missing: tuple[Coder, ...] = ()) -> SizeTable:
    table = SizeTable(coders, missing)
    for jpeg, sparse in zip(JPEG, GREY):
        table.measure(jpeg, sparse)
    return table


def test_the_table_sums_over_the_files_that_were_written() -> None:
    bare = [len(sparse.to_jpeg()) for sparse in GREY]
    whole = Coder("whole", bytes)
    half = Coder("half", lambda jpeg: jpeg[: len(jpeg) // 2])
    lines = measured(whole, half).lines({2: 500, 0: 700})  # the second file was left out
    pixels = 8 * 16 + 24 * 16
    rows = {
        "JPEG files before": 5000,
        "whole": bare[0] + bare[2],
        "half": bare[0] // 2 + bare[2] // 2,
        "this model": 1200,
    }
    assert lines[0].split("  ")[0] == "lossless coding of these"
    assert len(lines) == 1 + len(rows)
    for line, (name, size) in zip(lines[1:], rows.items()):
        cells = [cell.strip() for cell in line.split("  ") if cell]
        percent = 100 * size / 5000
        assert cells == [name, f"{size:,}", f"{8 * size / pixels:.3f}", f"{percent:.1f} %", f"{100 - percent:.1f} %"]


@pytest.mark.parametrize("error", [ValueError("no such luck"), OSError("no such luck"), FileNotFoundError("no such luck")])
def test_a_coder_that_fails_stops_nothing_and_has_no_row(error: Exception) -> None:
    seldom = Coder("seldom", lambda jpeg: fail(jpeg, error) if jpeg == GREY[1].to_jpeg() else jpeg)
    assert not [line for line in measured(seldom).lines({0: 1, 2: 1}) if line.startswith("not in the table")]
    *table, note = measured(seldom).lines({0: 1, 1: 1, 2: 1})
    assert [line.split("  ")[0] for line in table] == ["lossless coding of these", "JPEG files before", "this model"]
    assert note == "not in the table: seldom, for 1 of the files (no such luck)"


def test_what_is_not_installed_is_named_and_nothing_written_has_no_table() -> None:
    missing = (Coder("this", bytes), Coder("that", bytes))
    assert measured(missing=missing).lines({0: 1})[-1] == "not installed: this, that"
    assert measured(missing=missing).lines({}) == []


def test_the_coders_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "available_coders", lambda codec: [CODERS[0]])
    monkeypatch.setattr(sizes, "CODERS", (CODERS[0], Coder("missing", bytes, lambda: None)))
    table = SizeTable.of_installed(CODEC)
    table.measure(JPEG[0], CODEC.encode(np.zeros((8, 8, 3), np.uint8)))
    assert [line.split("  ")[0] for line in table.lines({0: 10})[1:]] == [
        "JPEG files before",
        CODERS[0].name,
        "this model",
        "not installed: missing",
    ]
