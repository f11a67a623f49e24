"""Pictures by index, their classes, and files that are no pictures."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.data.sources import LANDSCAPES, Pictures, open_source, read_image


def write(path: Path, level: int = 0, size: tuple[int, int] = (4, 6)) -> Path:
    """A grey picture of (H, W) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (level, level, level)).save(path)
    return path


def test_the_bundled_landscapes() -> None:
    pictures = open_source("landscapes")
    assert len(pictures) == 198
    assert pictures.classes == []
    image, label, key = pictures[17]
    assert (image.shape, image.dtype, label) == ((120, 240, 3), np.uint8, 0)
    assert key == str(sorted(LANDSCAPES.glob("*.jpg"))[17])
    credited = (LANDSCAPES / "CREDITS.tsv").read_text()
    assert all(path.name in credited for path in pictures.paths)


@pytest.mark.parametrize("every", [2, 10, 198])
def test_a_split_is_disjoint_and_complete(every: int) -> None:
    pictures = open_source("landscapes")
    training, held_out = pictures.split(every)
    assert held_out.paths == [path for i, path in enumerate(pictures.paths, 1) if i % every == 0]
    assert len(training) + len(held_out) == 198
    assert set(training.paths) | set(held_out.paths) == set(pictures.paths)
    assert training.paths == sorted(training.paths)


def test_a_split_that_leaves_a_part_empty_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"has 1 pictures and one in 2 is held out"):
        open_source(f"folder:{tmp_path}").split(2)


def test_classes_are_the_first_sub_folders(tmp_path: Path) -> None:
    for name, level in (("owl/deep/b.png", 10), ("cat/a.PNG", 20), ("owl/a.jpg", 30), ("top.bmp", 40)):
        write(tmp_path / name, level)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    pictures = open_source(f"folder:{tmp_path}")
    assert pictures.classes == ["cat", "owl"]
    assert [path.relative_to(tmp_path).as_posix() for path in pictures.paths] == [
        *["cat/a.PNG", "owl/a.jpg", "owl/deep/b.png", "top.bmp"]
    ]
    assert [pictures[i].label for i in range(4)] == [0, 1, 1, 0]
    assert [int(pictures[i].image[0, 0, 0]) for i in range(4)] == [20, 30, 10, 40]


def test_both_parts_of_a_split_know_all_classes(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        write(tmp_path / name)
    training, held_out = open_source(f"folder:{tmp_path}").split(2)
    assert training.classes == held_out.classes == ["a", "b"]
    assert (training[0].label, held_out[0].label) == (0, 1)


def test_a_bad_source_is_named(tmp_path: Path) -> None:
    for source in ("imagenet", "folder:", "folder", "landscapes:"):
        with pytest.raises(ValueError, match=f"data.source is '{source}'; it must be 'landscapes' or 'folder:PATH'"):
            open_source(source)
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path}/missing"):
        open_source(f"folder:{tmp_path}/missing")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=f"'folder:{tmp_path}': no image file below that folder"):
        open_source(f"folder:{tmp_path}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}/missing.png: there is no such file"):
        read_image(tmp_path / "missing.png")
    jpeg = (LANDSCAPES / "beach0.jpg").read_bytes()
    no_image = "this is no image that Pillow can read"
    for name, content, reason in (
        ("empty.jpg", b"", no_image),
        ("garbage.png", b"garbage", no_image),
        ("truncated.jpg", jpeg[: len(jpeg) // 2], "this image cannot be read"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: {reason}"):
            read_image(path)


def test_a_picture_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned clockwise by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1].tolist() == [255, 0, 0]


def test_a_skipped_picture_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    pictures = Pictures(Path("/r"), [Path("/r/a.png"), Path("/r/b.png"), Path("/r/c.png")])
    with caplog.at_level(logging.WARNING, "dct_jax"):
        pictures.skip(0, ValueError("too dark"))
        pictures.skip(0, ValueError("too dark"))
        pictures.skip(1, ValueError("/r/b.png: too bright"))
    assert pictures.skipped == {"/r/a.png": "/r/a.png: too dark", "/r/b.png": "/r/b.png: too bright"}
    assert caplog.messages == ["skipping picture 1: /r/a.png: too dark", "skipping picture 2: /r/b.png: too bright"]


def test_skipping_the_last_picture_left_is_an_error_however_often() -> None:
    """A pipeline that is asked again after the error must raise again: there is nothing that it could wait for."""
    pictures = Pictures(Path("/r"), [Path("/r/a.png"), Path("/r/b.png")])
    pictures.skip(0, ValueError("too dark"))
    for index in (1, 0, 1):
        with pytest.raises(ValueError, match="/r: none of the 2 pictures can be used"):
            pictures.skip(index, ValueError("too dark"))
