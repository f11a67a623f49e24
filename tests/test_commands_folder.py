"""A folder's files: what cannot be read or written is listed, and all others are done."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dct_jax.commands import folder as folders
from dct_jax.commands.folder import Folder


def copy_all(folder: Folder) -> int:
    """Makes of each .jpg file a .dct file with its bytes, as a command would. Returns the exit
    code."""
    for file in folder.files(lambda suffix: suffix == ".jpg"):
        folder.take(file, ".dct")
    folder.check()
    return folder.report(folder.write(enumerate(folder.contents(bytes)), bytes))


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"picture")


def results(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.dct"))


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, place: Path) -> None:
    """Lets a function of `os` fail at a place, as the tests' user may be root, who may do all."""
    function = getattr(os, name)

    def refusing(path: Any, *args: Any, **settings: Any) -> Any:
        if Path(path) == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return function(path, *args, **settings)

    monkeypatch.setattr(os, name, refusing)


def test_files_are_found_in_order_and_hidden_ones_are_not(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a/z.jpg", "a.jpg", "a/b/c.jpg", ".hidden.jpg", ".hidden/a.jpg", "a/.b.jpg", "a.png")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path)
    found = Folder(tmp_path, None, "copied").files(lambda suffix: suffix == ".jpg")
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a/b/c.jpg", "a/z.jpg", "a.jpg", "b.JPG"]


def test_what_cannot_be_looked_at_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "a.jpg", "locked/b.jpg", "c.jpg")
    refuse(monkeypatch, "scandir", tmp_path / "locked")
    refuse(monkeypatch, "stat", tmp_path / "c.jpg")
    assert copy_all(Folder(tmp_path, None, "copied")) == 2
    said = capsys.readouterr()
    assert said.out.startswith("1 file copied: ") and results(tmp_path) == ["a.dct"]
    assert "1 folder was left out (locked): what is in it cannot be listed (Permission denied)" in said.err
    assert "1 file was left out (c.jpg): this file cannot be looked at (Permission denied)" in said.err


def test_what_cannot_be_written_is_listed_and_the_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    make(before, "a.jpg", "b/1.jpg", "b/2.jpg", "c.jpg", "d.jpg", f"{'e' * 251}.jpg")
    make(after, "b")  # a file, in which nothing can be written
    (after / "c.dct").mkdir()
    assert copy_all(Folder(before, after, "copied")) == 2
    said = capsys.readouterr()
    assert said.out.startswith("3 files copied: ")
    assert results(after) == ["a.dct", "c.dct", "d.dct", f"{'e' * 251}.dct"]
    assert "2 files were left out (b/1.jpg, b/2.jpg): its result cannot be written (" in said.err
    assert "1 file was left out (c.jpg): its result is a folder; name a file" in said.err
    assert not [path for path in after.rglob(".*")]


def test_a_full_disk_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b.jpg")
    asked = []

    def fail(path: Path) -> Iterator[Path]:
        asked.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "replacing", fail)
    with pytest.raises(OSError, match="No space left"):
        copy_all(Folder(tmp_path, None, "copied"))
    assert asked == [tmp_path / "a.dct"]


def test_nothing_begins_where_nothing_can_be_written(tmp_path: Path) -> None:
    make(tmp_path, "before/a.jpg", "file")
    with pytest.raises(ValueError, match=r"file/after cannot be written; name another --out$"):
        copy_all(Folder(tmp_path / "before", tmp_path / "file" / "after", "copied"))
    assert copy_all(Folder(tmp_path / "before", tmp_path / "new" / "after", "copied")) == 0
