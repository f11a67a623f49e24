"""Verification calls nothing but `decompress_many`. A counterfeit tells which files it sees."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.compression import verification
from dct_jax.dct.compression.verification import TOGETHER, verified

MODEL: Any = SimpleNamespace()
LIST = SparseDCT.empty((8, 8), DCTCodec())

Results = list[tuple[int, bytes | ValueError]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """The files of each call. They come back from the last to the first, but those that begin with
    b"bad" do not."""
    calls: list[list[bytes]] = []

    def decompress_many(model: object, files: Iterable[bytes]) -> Iterator[tuple[int, SparseDCT | ValueError]]:
        assert model is MODEL
        calls.append(list(files))
        for place, file in reversed(list(enumerate(calls[-1]))):
            yield place, ValueError(f"{file.decode()} is damaged") if file.startswith(b"bad") else LIST

    monkeypatch.setattr(verification, "decompress_many", decompress_many)
    return calls


@pytest.mark.parametrize("count", [0, 1, TOGETHER, 2 * TOGETHER + 3])
def test_each_file_is_decompressed_and_keeps_its_number(batches: list[list[bytes]], count: int) -> None:
    results: Results = [(3 * i + 1, b"file %d" % i) for i in reversed(range(count))]
    assert sorted(verified(MODEL, iter(results))) == sorted(results)
    assert [file for files in batches for file in files] == [file for _, file in results]
    assert all(0 < len(files) <= TOGETHER for files in batches)


def test_files_that_do_not_come_back_become_errors(batches: list[list[bytes]]) -> None:
    known = ValueError("known already")
    results: Results = [(4, b"good"), (0, known), (2, b"bad"), (7, b"fine")]
    checked = dict(verified(MODEL, iter(results)))
    assert batches == [[b"good", b"bad", b"fine"]]
    assert (checked[4], checked[0], checked[7]) == (b"good", known, b"fine")
    assert isinstance(checked[2], ValueError)
    assert str(checked[2]) == "the compressed file does not come back: bad is damaged"
    assert len(checked) == 4


def test_a_batch_is_given_before_the_next_is_made(batches: list[list[bytes]]) -> None:
    """So an interruption loses few files."""
    made: list[int] = []

    def results() -> Iterator[tuple[int, bytes | ValueError]]:
        for number in range(2 * TOGETHER):
            made.append(number)
            yield number, b"file"

    next(verified(MODEL, results()))
    assert len(made) == TOGETHER
