"""Records by index, their classes and splits."""

import logging
import os
import pickle
import re
import tarfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax.config import DataConfig
from dct_jax.data.pixels import decode_image
from dct_jax.data.sources import LANDSCAPES, NO_LABEL, hold_out, open_source, open_sources
from dct_jax.data.sources import record as records
from dct_jax.data.sources import tar as tar_files
from dct_jax.storage.files import read_limited


def write(path: Path, level: int = 0, size: tuple[int, int] = (4, 6)) -> Path:
    """A grey picture of (H, W) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (level, level, level)).save(path)
    return path


def test_the_bundled_landscapes() -> None:
    pictures = open_source("landscapes")
    assert len(pictures) == 198
    assert pictures.classes == ()
    path = sorted(LANDSCAPES.glob("*.jpg"))[17]
    assert pictures[17] == (path.read_bytes(), NO_LABEL, str(path), None)
    credited = (LANDSCAPES / "CREDITS.tsv").read_text()
    assert all(path.name in credited for path in pictures.paths)


@pytest.mark.parametrize("every", [2, 10, 198])
def test_a_split_is_disjoint_and_complete(every: int) -> None:
    source = open_source("landscapes")
    keys = [str(path) for path in source.paths]
    training, held_out = ([part[i].key for i in range(len(part))] for part in hold_out(source, every))
    assert held_out == [key for i, key in enumerate(keys, 1) if i % every == 0]
    assert training == [key for i, key in enumerate(keys, 1) if i % every]
    assert len(held_out) == 198 // every
    with pytest.raises(IndexError, match="there is no record"):
        hold_out(source, every)[1][len(held_out)]


def test_a_split_that_leaves_a_part_empty_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"has 1 pictures and one in 2 is held out"):
        hold_out(open_source(f"folder:{tmp_path}"), 2)


def test_classes_are_the_first_sub_folders(tmp_path: Path) -> None:
    for name, level in (("owl/deep/b.png", 10), ("cat/a.PNG", 20), ("owl/a.jpg", 30), ("top.bmp", 40)):
        write(tmp_path / name, level)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    write(tmp_path / "cat" / ".hidden.png")
    write(tmp_path / ".ipynb_checkpoints" / "a.png")
    (tmp_path / "cat" / "circle").symlink_to(tmp_path)
    pictures = open_source(f"folder:{tmp_path}")
    assert pictures.classes == ("cat", "owl")
    assert [path.relative_to(tmp_path).as_posix() for path in pictures.paths] == [
        *["cat/a.PNG", "owl/a.jpg", "owl/deep/b.png", "top.bmp"]
    ]
    assert [pictures[i].label for i in range(4)] == [0, 1, 1, NO_LABEL]
    assert [int(decode_image(pictures[i].image)[0, 0, 0]) for i in range(4)] == [20, 30, 10, 40]


def test_a_split_of_a_folder_is_a_sub_folder(tmp_path: Path) -> None:
    for name in ("train/owl/1.png", "train/cat/2.png", "test/cat/3.png", "test/owl/4.png", "test/owl/5.png"):
        write(tmp_path / name)
    test = open_source(f"folder:{tmp_path}", "test")
    assert (len(test), test.classes) == (3, ("cat", "owl"))
    assert [test[i].label for i in range(3)] == [0, 1, 1]
    with pytest.raises(ValueError, match=r"there is no sub-folder 'val' \(data.split\); there are test, train"):
        open_source(f"folder:{tmp_path}", "val")


def test_a_linked_folder_is_a_class(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png")
    write(tmp_path / "pictures" / "cat" / "2.png")
    (tmp_path / "pictures" / "owl").symlink_to(tmp_path / "elsewhere")
    pictures = open_source(f"folder:{tmp_path}/pictures")
    assert (len(pictures), pictures.classes) == (2, ("cat", "owl"))


class Listing:
    """What `os.scandir` gives, in an order of our own."""

    def __init__(self, entries: Iterable[os.DirEntry]) -> None:
        self._entries = iter(entries)

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __next__(self) -> os.DirEntry:
        return next(self._entries)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_classes_do_not_depend_on_the_order_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_reversed: bool
) -> None:
    """A folder's own name counts, however deep; of two links to a folder elsewhere, the first."""
    write(tmp_path / "L" / "real" / "1.png")
    write(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "L" / "a").mkdir()
    for link, to in (("also", "real"), ("z", "real"), ("a/deep", "../real"), ("y", "../elsewhere"), ("x", "../elsewhere")):
        (tmp_path / "L" / link).symlink_to(to)
    scandir = os.scandir

    def listed(place: Any) -> Listing:
        with scandir(place) as entries:
            return Listing(sorted(entries, key=lambda entry: entry.name, reverse=is_reversed))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", listed)
        source = open_source(f"folder:{tmp_path}/L")
    assert [path.relative_to(tmp_path / "L").as_posix() for path in source.paths] == ["real/1.png", "x/2.png"]
    assert source.classes == ("real", "x")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures, perhaps a whole class, were left out without a word."""
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "owl" / "2.png")
    scandir, is_file = os.scandir, Path.is_file

    def closed(place: Any) -> Any:
        if str(place).endswith("owl"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    def hidden(path: Path) -> bool:  # of a folder whose names can be read, but nothing else
        if path.parent.name == "owl":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    for owner, name, function, what in ((os, "scandir", closed, "owl"), (Path, "is_file", hidden, "owl/2.png")):
        with monkeypatch.context() as patch, pytest.raises(ValueError) as error:
            patch.setattr(owner, name, function)
            open_source(f"folder:{tmp_path}")
        assert str(error.value).startswith(f"folder:{tmp_path}: {tmp_path}/{what} cannot be read (Permission denied)")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "split", "held_out"),
    [
        ("tfds:x", "", "train"),
        ("tfds:x", "train", "train"),
        ("tfds:x", "", "train[90%:]"),
        ("tfds:x", "train+test", "test"),
        ("tfds:x", "train[:90%]", "train[:90%]"),
        ("tfds:x", "train[:50%] + test[:50%]", "test"),
        ("tfds:x", "all", "test"),
        ("tfds:x", "", "all"),
        ("folder:x", "", "test"),
        ("folder:x", "test", "test/"),
        ("folder:x", "all", "all/test"),
        ("tar:x", "./test/owl", "test"),
    ],
)
def test_held_out_pictures_of_the_training_split_are_refused(source: str, split: str, held_out: str) -> None:
    """ "" is "train" for TFDS, and everything for other sources. TFDS's "all", which is every
    split, was once taken for a split of its own."""
    with pytest.raises(ValueError, match=rf"data.held_out_split is '{re.escape(held_out)}' and .* would be trained on"):
        open_sources(DataConfig(source=source, split=split, held_out_split=held_out))


def test_a_source_can_be_sent_to_another_process(tmp_path: Path) -> None:
    for name in ("owl/1.png", "cat/2.png", "cat/3.png"):
        write(tmp_path / name)
    part, _ = hold_out(open_source(f"folder:{tmp_path}"), 3)
    other = pickle.loads(pickle.dumps(part))
    assert [other[i] for i in range(2)] == [part[i] for i in range(2)]
    assert (other.name, other.classes, len(other)) == (part.name, part.classes, 2)


@pytest.mark.parametrize("name", ["folder:pictures", "csv:list.csv", "tar:a.tar"])
def test_a_file_too_large_for_a_picture_is_not_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 1 TB, which may be a hole, once took all memory."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(bytes(2**20 + 1))
    (tmp_path / "list.csv").write_text("image_path\npictures/a.png\n")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "pictures" / "a.png", "a.png")
    monkeypatch.setattr(records, "read_limited", partial(read_limited, largest=2**20))
    monkeypatch.setattr(tar_files, "LARGEST_FILE", 2**20)
    source = open_source(name.replace(":", f":{tmp_path}/"))
    with pytest.raises(ValueError, match=f"^{tmp_path}/.*a.png: this file has more than 1 MiB, which is too much$"):
        source[0]


def test_both_parts_of_a_split_know_all_classes(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        write(tmp_path / name)
    training, held_out = hold_out(open_source(f"folder:{tmp_path}"), 2)
    assert training.classes == held_out.classes == ("a", "b")
    assert (training[0].label, held_out[0].label) == (0, 1)


def test_a_bad_source_is_named(tmp_path: Path) -> None:
    for source in ("imagenet", "folder:", "folder", "landscapes:", "fashion:", "tar:", "idx:", "tfds:"):
        known = "'landscapes', 'fashion', 'folder:PATH', 'tar:PATH', 'csv:FILE', 'idx:FOLDER', 'codes:FILE' or 'tfds:NAME"
        with pytest.raises(ValueError, match=f"data.source is '{source}'; it must be {known}"):
            open_source(source)
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path}/missing"):
        open_source(f"folder:{tmp_path}/missing")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=f"folder:{tmp_path}: no image file below that folder"):
        open_source(f"folder:{tmp_path}")


def test_what_is_no_picture_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of other suffixes, which may be pictures that somebody misses, were left out in
    silence."""
    pixels = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for suffix in (".jfif", ".JPE", ".ppm", ".avif", ".jp2"):
        pixels.save(tmp_path / f"a{suffix}")
    for name in ("a.txt", "b.txt", "c.heic", "README", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    with tarfile.open(tmp_path.with_suffix(".tar"), "w") as tar:
        tar.add(tmp_path, ".")
    for source in (f"folder:{tmp_path}", f"tar:{tmp_path.with_suffix('.tar')}"):
        with caplog.at_level(logging.WARNING):
            assert len(open_source(source)) == len(open_source(source)) == 5
        (record,) = caplog.records
        said, _, kinds = record.getMessage().partition(" (")
        assert said == f"{source}: 4 files are not taken for pictures"
        assert sorted(kinds.removesuffix(")").split(", ")) == ["1 .heic", "1 without a suffix", "2 .txt"]
        caplog.clear()
