"""Benchmarks are run by people, long after what they measure has changed."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_what_they_import_is_still_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """codec.py could not start: what it imports had moved, and nothing else ran it."""
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(file))
