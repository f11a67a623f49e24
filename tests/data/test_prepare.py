"""Pictures -> a TFDS data set -> the same bytes, and the command prepare."""

import io
import json
import logging
import shlex
import sys
import tarfile
from pathlib import Path
from unittest.mock import Mock

import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dct_jax import commands
from dct_jax.commands import main
from dct_jax.data import prepare
from dct_jax.data.sources import LANDSCAPES, NO_LABEL, open_source


def picture(level: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (level, level, level)).save(file, kind)
    return file.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def contents(folder: Path, split: str) -> dict[str, tuple[bytes, int]]:
    """What TFDS itself reads: the image and the label of each key."""
    source = tfds.builder_from_directory(folder).as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    read = {one["key"].decode(): (one["image"], one.get("label", NO_LABEL)) for one in source}
    assert len(read) == len(source)
    return read


CLASSES = {f"{name}/{i}.jpg": picture(10 * i + k) for k, name in enumerate(("cat", "owl")) for i in range(20)}


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_tfds_reads_the_files_bytes(tmp_path: Path, kind: str) -> None:
    files = CLASSES | {"owl/a.png": picture(7, "PNG"), "top.webp": picture(8, "WEBP")}
    path = write(tmp_path / "My pets-2", files)
    if kind == "tar":
        path = tmp_path / "My pets-2.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "My pets-2", "")
    prepared = prepare.prepare_source(f"{kind}:{path}", tmp_path / "out")
    assert prepared == (tmp_path / "out" / "my_pets_2" / "1.0.0", {"train": 42}, 0)
    labels = {"cat": 0, "owl": 1, "top.webp": -1}
    assert contents(prepared.folder, "train") == {name: (data, labels[name.split("/")[0]]) for name, data in files.items()}
    assert tfds.builder("my_pets_2", data_dir=tmp_path / "out").info.features["label"].names == ["cat", "owl"]


def test_our_own_source_reads_them_too(tmp_path: Path) -> None:
    folder = prepare.prepare_source(f"folder:{write(tmp_path / 'pets', CLASSES)}", tmp_path).folder
    source = open_source(f"tfds:{folder}")
    assert source.classes == ("cat", "owl")
    read = [(record.image, source.classes[record.label]) for record in source]
    assert sorted(read) == sorted((data, name.split("/")[0]) for name, data in CLASSES.items())


def test_the_order_is_mixed_and_always_the_same(tmp_path: Path) -> None:
    """Or else a part of a split would have only some of the classes."""
    path = write(tmp_path / "pets", CLASSES)
    one, other = (prepare.prepare_source(f"folder:{path}", tmp_path / name).folder for name in "ab")
    assert {label for _, label in contents(one, "train[:25%]").values()} == {0, 1}
    assert list(contents(one, "train")) == list(contents(other, "train")) != sorted(CLASSES)


def test_folders_named_as_splits_are_splits_of_the_same_classes(tmp_path: Path) -> None:
    names = ("train/cat/a.jpg", "train/owl/b.jpg", "val/owl/c.jpg", "test/d.jpg", "test/e.jpg")
    files = {name: picture(i) for i, name in enumerate(names)}
    folder, splits, _ = prepare.prepare_source(f"folder:{write(tmp_path / 'pets', files)}", tmp_path / "out")
    assert splits == {"train": 2, "val": 1, "test": 2}
    labels = {"cat": 0, "owl": 1}
    for split in splits:
        expected = {n: (files[n], labels.get(n.split("/")[1], -1)) for n in names if n.startswith(split)}
        assert contents(folder, split) == expected


@pytest.mark.parametrize("beside", ["top.jpg", "more/b.jpg"])
def test_with_anything_beside_them_they_are_classes(tmp_path: Path, beside: str) -> None:
    path = write(tmp_path / "pets", {"train/a.jpg": picture(1), "test/a.jpg": picture(2), beside: picture(3)})
    folder, splits, _ = prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert splits == {"train": 3}
    assert {"train", "test"} <= set(tfds.builder_from_directory(folder).info.features["label"].names)


def test_without_folders_there_are_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "pets", {"a.jpg": picture(1), "b.jpg": picture(2)})
    folder = prepare.prepare_source(f"folder:{path}", tmp_path / "out", "cats").folder
    assert folder == tmp_path / "out" / "cats" / "1.0.0"
    assert set(tfds.builder_from_directory(folder).info.features) == {"image", "key"}
    assert contents(folder, "train") == {"a.jpg": (picture(1), NO_LABEL), "b.jpg": (picture(2), NO_LABEL)}


def test_large_splits_have_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SHARD_BYTES", 5 * len(picture(0)))
    folder = prepare.prepare_source(f"folder:{write(tmp_path / 'pets', CLASSES)}", tmp_path).folder
    lengths = tfds.builder_from_directory(folder).info.splits["train"].shard_lengths
    assert sum(lengths) == 40
    assert 10 <= len(lengths) <= 14  # four records and what belongs to them in each
    files = sorted(path.name for path in folder.glob("*array_record*"))
    assert files == [f"pets-train.array_record-{i:05d}-of-{len(lengths):05d}" for i in range(len(lengths))]
    assert {name: data for name, (data, _) in contents(folder, "train").items()} == CLASSES


def test_what_is_no_image_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = (LANDSCAPES / "beach0.jpg").read_bytes()[:5000]  # its header is whole, and only that is looked at
    path = write(tmp_path / "pets", CLASSES | {"cat/x.jpg": b"no image", "owl/y.png": b"", "owl/z.jpg": cut})
    with caplog.at_level(logging.WARNING, "dct_jax"):
        folder, splits, skipped = prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert (splits, skipped) == ({"train": 41}, 2)
    reason = "this is no image of a kind that is read"
    assert sorted(caplog.messages) == [f"leaving out {path}/{name}: {reason}" for name in ("cat/x.jpg", "owl/y.png")]
    assert set(contents(folder, "train")) == {*CLASSES, "owl/z.jpg"}


def test_a_split_without_any_image_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "pets", {"train/a.jpg": picture(1), "test/a.jpg": b"no image"})
    with pytest.raises(ValueError, match=r"\(test\): none of the 1 files is a readable image; the last one: .*/test/a.jpg"):
        prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_run_leaves_nothing_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "pets", CLASSES)
    opened: list[bytes] = []

    def interrupted(file: io.BytesIO, formats: tuple[str, ...]) -> Image.Image:
        opened.append(file.getvalue())
        if len(opened) == 30:
            assert any((tmp_path / "out").glob("*/*"))  # it is under way
            raise KeyboardInterrupt
        return Image.Image()

    with monkeypatch.context() as patch:
        patch.setattr(prepare.Image, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert prepare.prepare_source(f"folder:{path}", tmp_path / "out").splits == {"train": 40}


def test_a_data_set_is_not_written_over(tmp_path: Path) -> None:
    path = write(tmp_path / "pets", CLASSES)
    folder = prepare.prepare_source(f"folder:{path}", tmp_path / "out").folder
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    with pytest.raises(ValueError, match=f"^{folder} is there already; remove it, or choose another --name or --out$"):
        prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_others_can_read_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    folder = prepare.prepare_source(f"folder:{write(tmp_path / 'pets', CLASSES)}", tmp_path).folder
    assert folder.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_bad_names_and_places_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "2024", CLASSES)
    for name in ("", "My Pets", "pets/1"):
        with pytest.raises(ValueError, match=rf"name is '{name or '2024'}'; it must begin with a small letter .* \(--name\)$"):
            prepare.prepare_source(f"folder:{path}", tmp_path, name)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"^{tmp_path}/file cannot be written"):
        prepare.prepare_source(f"folder:{path}", tmp_path / "file", "pets")
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path}/missing"):
        prepare.prepare_source(f"folder:{tmp_path}/missing", tmp_path, "pets")


def test_the_command_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pets", CLASSES | {"cat/x.jpg": b"no image"})
    assert main(["prepare", f"folder:{path}", "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "pets" / "1.0.0"
    assert capsys.readouterr().out.splitlines() == [
        "1 files are no readable images and were left out",
        "pictures: train 40",
        f"the data set is in {folder}: --data.source tfds:{folder}",
    ]
    assert len(open_source(f"tfds:{folder}")) == 40


@pytest.mark.parametrize("args", [["mnist"], ["folder:pets", "--out", "out"]])
def test_what_the_command_says_can_be_copied_into_a_shell(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my pets' pictures" / "$1"
    monkeypatch.setattr(commands.prepare, "prepare_tfds", lambda *args: folder)
    monkeypatch.setattr(commands.prepare, "prepare_source", lambda *args: prepare.Prepared(folder, {"train": 1}, 0))
    assert main(["prepare", *args]) == 0
    _, _, option = capsys.readouterr().out.partition(f"{folder}: ")
    assert shlex.split(option) == ["--data.source", f"tfds:{folder}"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["folder:x"], "prepare folder:x needs --out DIR"),
        (["folder:x", "--out", "y", "--data-dir", "z"], "--data-dir is for TFDS's own data sets; for folder:x give --out"),
        (["mnist", "--out", "y"], "--out and --name are for folder:PATH, tar:PATH and idx:FOLDER; for mnist give --data-dir"),
        (["mnits"], "tfds:mnits: TFDS knows no such data set, and none of that name is prepared; did you mean mnist"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *args]) == 2
    assert capsys.readouterr().err.startswith(f"dct_jax: {message}")


def test_tfds_own_data_sets_need_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match=r"^preparing mnist needs TensorFlow, .*: pip install 'dct_jax\[prepare\]'$"):
        prepare.prepare_tfds("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_prepared_is_not_prepared_again(tmp_path: Path) -> None:
    folder = prepare.prepare_source(f"folder:{write(tmp_path / 'pets', CLASSES)}", tmp_path).folder
    assert prepare.prepare_tfds("pets", tmp_path) == folder
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=f"^tfds:pets: it is prepared as tfrecord, .* --dataset_version_dir={folder} "):
        prepare.prepare_tfds("pets", tmp_path)


@pytest.mark.parametrize("method", ["write", "close"])
def test_a_full_disk_is_said_in_a_line(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """array_record raises RuntimeError, which ended in a traceback."""

    def fail(*_: object) -> None:
        raise RuntimeError("write() failed: No space left on device;\nwriting 0")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter", Mock(**{f"return_value.{method}": fail}))
    path = write(tmp_path / "pets", {"a.jpg": picture(1)})
    with pytest.raises(ValueError, match=r"^the data set cannot be written: write\(\) failed: No space left on device; wr"):
        prepare.prepare_source(f"folder:{path}", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_tfds_cannot_prepare_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors of downloads are of kinds of its own, which ended in tracebacks."""
    monkeypatch.setitem(sys.modules, "tensorflow", Mock())
    builder = Mock(**{"download_and_prepare.side_effect": Exception("two\nlines")})
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    monkeypatch.setattr(prepare, "is_prepared", lambda _: False)
    with pytest.raises(ValueError, match=r"^mnist cannot be prepared: two lines$"):
        prepare.prepare_tfds("mnist", tmp_path)
