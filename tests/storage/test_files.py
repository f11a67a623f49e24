"""Nothing half-written stays behind."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dct_jax.storage.files import replacing, replacing_folder


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


@pytest.mark.parametrize(
    "stem", ["a" * 251, "\N{CAT FACE}" * 62 + "abc", "a." + "\N{CAT FACE}" * 62], ids=["narrow", "wide", "long suffix"]
)
def test_every_legal_name_can_be_written(stem: str, tmp_path: Path) -> None:
    """A name may have 255 bytes, and the temporary name beside it must not have more."""
    out = tmp_path / f"{stem}.txt"
    assert 250 < len(os.fsencode(out.name)) <= 255
    with replacing(out) as path:
        assert path.suffix == ".txt"
        path.write_text("whole")
    with replacing(tmp_path / stem) as path:  # its suffix is long, too
        path.write_text("whole")
    with replacing_folder(tmp_path / f"{stem}.new" / "1") as folder:
        (folder / "a.txt").write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {out.name, stem, f"{stem}.new"}


def test_a_name_that_is_too_long_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"aaa.txt cannot be written \(File name too long\)"):
        with replacing(tmp_path / f"{'a' * 252}.txt") as path:
            path.write_text("whole")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_no_matter_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **settings: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", fail)
    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    with pytest.raises(OSError, match="No space left on device"), replacing(tmp_path / "a.txt"):
        pass
    with pytest.raises(OSError, match="No space left on device"), replacing_folder(tmp_path / "a" / "b"):
        pass
