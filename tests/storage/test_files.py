"""Nothing half-written stays behind."""

from pathlib import Path

import pytest

from dct_jax.storage.files import replacing


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.txt"
    with replacing(out) as path:
        assert path.suffix == ".txt"
        path.write_text("whole")
        assert not out.exists()
        number = path.stat().st_ino
    assert out.read_text() == "whole"
    assert out.stat().st_ino == number  # renamed: a copy could be seen half-written
    plain = tmp_path / "plain"
    plain.touch()
    assert out.stat().st_mode == plain.stat().st_mode  # temporary files are their owner's alone
    assert list(out.parent.iterdir()) == [out]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    out.write_text("old")
    with pytest.raises(RuntimeError), replacing(out) as path:
        path.write_text("ha")
        raise RuntimeError
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/a.txt cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is a folder; name a file"), replacing(tmp_path / "folder"):
        pass
