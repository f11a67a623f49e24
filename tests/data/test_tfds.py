"""TFDS data sets, read without TensorFlow: their splits, labels and bytes, mocked ones, and what
cannot be read."""

import io
import json
import pickle
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from dct_jax.data.sources import NO_LABEL, open_source

FEATURES = {
    "image": tfds.features.Image(),
    "label": tfds.features.ClassLabel(names=["cat", "owl", "yak"]),
    "mask": tfds.features.Image(shape=(None, None, 1)),
}


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (level, level, level)).save(file, "JPEG")
    return file.getvalue()


def example(i: int) -> dict[str, Any]:
    return {"image": jpeg(i), "label": i % 3, "mask": b"no image: reading it would fail"}


def write(folder: Path, splits: dict[str, list[dict[str, Any]]], features: dict[str, Any] = FEATURES) -> Path:
    """A prepared data set, written with TFDS's and array_record's own means; every split in two
    files."""
    folder.mkdir(parents=True)
    name = folder.parent.name
    identity = tfds.core.dataset_info.DatasetIdentity(name, tfds.core.Version(folder.name), str(folder), module_name="")
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    info.set_file_format("array_record")
    infos = []
    for split, examples in splits.items():
        parts = examples[: len(examples) // 3], examples[len(examples) // 3 :]
        for shard, part in enumerate(parts):
            writer = ArrayRecordWriter(str(folder / f"{name}-{split}.array_record-{shard:05d}-of-00002"), "group_size:1")
            for one in part:
                writer.write(info.features.serialize_example(one))
            writer.close()
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(part) for part in parts], num_bytes=0))
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a data set of 90 records "train", 0 to 89, and 10 records "test", 90 to 99."""
    records = [example(i) for i in range(100)]
    return write(tmp_path_factory.mktemp("data") / "pets" / "1.0.0", {"train": records[:90], "test": records[90:]})


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        ("", range(90)),
        ("train", range(90)),
        ("test", range(90, 100)),
        ("train[:90%]", range(81)),
        ("train[20:40]", range(20, 40)),
        ("train[85:]+test[:2]", range(85, 92)),
    ],
)
def test_splits_are_those_of_tfds(folder: Path, split: str, numbers: range) -> None:
    source = open_source(f"tfds:{folder}", split)
    assert source.name == f"tfds:{folder} ({split or 'train'})"
    assert source.classes == ("cat", "owl", "yak")
    assert len(source) == len(numbers)
    for i, number in enumerate(numbers):
        assert source[i] == (jpeg(number), number % 3, f"{source.name}, record {i}", None)


@pytest.mark.parametrize("index", [-1, 90])
def test_indices_end(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match=f"there is no record {index} of 90"):
        open_source(f"tfds:{folder}")[index]


def test_threads_read_one_source_at_once(folder: Path) -> None:
    source = open_source(f"tfds:{folder}")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: source[i].image, list(range(90)) * 8))
    assert read == [jpeg(i) for i in range(90)] * 8


def test_labels_without_names_are_passed_on_and_others_are_none(tmp_path: Path) -> None:
    image = tfds.features.Image()
    for i, (feature, value, label) in enumerate(
        [
            (tfds.features.Scalar(np.int32), 7, 7),
            (tfds.features.Scalar(np.float32), 7.0, NO_LABEL),
            (tfds.features.Tensor(shape=(2,), dtype=np.int64), [7, 8], NO_LABEL),
            (tfds.features.Text(), "seven", NO_LABEL),
        ]
    ):
        records = [{"image": jpeg(0), "label": value}] * 3
        path = write(tmp_path / str(i) / "1.0.0", {"train": records}, {"image": image, "label": feature})
        source = open_source(f"tfds:{path}")
        assert (source.classes, source[2].label) == ((), label)
    path = write(tmp_path / "bare" / "1.0.0", {"train": [{"image": jpeg(0)}] * 3}, {"image": image})
    source = open_source(f"tfds:{path}")
    assert (source.classes, source[2].label) == ((), NO_LABEL)


def test_a_test_set_may_have_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "pets" / "1.0.0", {"test": [example(1) | {"label": -1}] * 3})
    assert open_source(f"tfds:{path}", "test")[0].label == NO_LABEL


def test_an_unknown_data_set_is_named_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"^tfds:cifar11: TFDS knows no such data set, .*; did you mean .*cifar10[^0].*\?$"):
        open_source("tfds:cifar11")


@pytest.mark.parametrize("name", ["cifar10:9.9.9", "downsampled_imagenet/nonsense", "a b", "cifar11"])
def test_messages_are_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"^tfds:{name}: [^\n]*$"):
        open_source(f"tfds:{name}")


def test_a_folder_that_is_no_data_set_is_named_with_those_in_it(folder: Path, tmp_path: Path) -> None:
    for above in (folder.parent, folder.parent.parent):
        message = f"tfds:{above}: there is no dataset_info.json in that folder; did you mean {folder}?"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            open_source(f"tfds:{above}")
    with pytest.raises(ValueError, match=r"in that folder; name that of a prepared data set$"):
        open_source(f"tfds:{tmp_path}")


@pytest.mark.parametrize("split", ["val", "train[:90%", "train[:200]", "train[:0%]"])
def test_a_split_that_is_not_there_is_named_with_those_that_are(folder: Path, split: str) -> None:
    splits = r"the splits are train \(90 records\), test \(10 records\)"
    with pytest.raises(ValueError, match=f"of the split '{re.escape(split)}' \\(data.split\\): [^\n]*; {splits}$"):
        open_source(f"tfds:{folder}", split)


def test_other_file_formats_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    path = write(tmp_path / "my pets" / "1.0.0", {"train": [example(0)] * 3})
    info = json.loads((path / "dataset_info.json").read_text())
    (path / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    command = f"tfds convert_format --dataset_version_dir='{path}' --out_file_format=array_record"
    with pytest.raises(ValueError, match=f"it is prepared as tfrecord, not array_record; run, .*: {command}$"):
        open_source(f"tfds:{path}")


def test_a_data_set_without_images_is_refused(tmp_path: Path) -> None:
    features = {"image": tfds.features.Text(), "text": tfds.features.Text()}
    path = write(tmp_path / "poems" / "1.0.0", {"train": [{"image": "vivid", "text": "Tyger Tyger"}] * 3}, features)
    with pytest.raises(ValueError, match=r"there is no feature 'image' of type Image; the features are image, text$"):
        open_source(f"tfds:{path}")


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pets" / "1.0.0", {"train": [example(i) for i in range(30)]})
    source = open_source(f"tfds:{path}")
    (path / "pets-train.array_record-00001-of-00002").unlink()
    assert source[9].image == jpeg(9)
    with pytest.raises(ValueError, match=r"^tfds:.* \(train\), record 10: this record cannot be read \(.*No such file"):
        source[10]


def test_without_tensorflow_datasets_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    packages = "tensorflow-datasets array_record importlib_resources"
    with pytest.raises(ValueError, match=f"^tensorflow_datasets cannot be imported \\(.*\\): pip install {packages}$"):
        open_source("tfds:cifar10")


def test_mocked_data_are_pixels() -> None:
    with tfds.testing.mock_data(num_examples=5):
        source = open_source("tfds:cifar10", "train")
    assert (len(source), len(source.classes)) == (5, 10)
    pixels = [source[i].image for i in range(5)]
    assert all((one.shape, one.dtype) == ((32, 32, 3), np.uint8) for one in pixels)
    assert len({one.tobytes() for one in pixels}) == 5
    assert all(source[i].label in range(10) for i in range(5))
    copied = pickle.loads(pickle.dumps(source))
    assert [copied[i].label for i in range(5)] == [source[i].label for i in range(5)]
    assert all(np.array_equal(copied[i].image, pixels[i]) for i in range(5))


def test_features_are_those_of_tfds_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TFDS imports the module of each feature that a folder names, and `python -m` looks for
    modules in the working folder."""
    copy = shutil.copytree(folder, tmp_path / "data")
    (file,) = copy.rglob("features.json")
    text = file.read_text()
    assert "tensorflow_datasets.core.features.image_feature.Image" in text
    file.write_text(text.replace("tensorflow_datasets.core.features.image_feature.Image", "harm.Image"))
    (tmp_path / "harm.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"a feature 'harm.Image', which is none of TFDS's own"):
        open_source(f"tfds:{file.parent}")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dataset_info.json", "", "Failed to load JSON"),
        ("dataset_info.json", '{"name": "pets", "bogus": 1}', "has no field named"),
        ("dataset_info.json", '{"name": "pets", "version": "1.0.0", "fileFormat": "array_record"}', "the splits are none"),
        ("features.json", "[" * 100_000, "maximum recursion depth"),
        ("features.json", json.dumps(tfds.features.Image().to_json()), "the features are none that have names"),
    ],
    ids=["empty", "unknown field", "no splits", "too deep", "a bare image"],
)
def test_a_damaged_folder_is_refused_in_a_line(folder: Path, tmp_path: Path, file: str, text: str, message: str) -> None:
    """TFDS raises errors of many kinds, which once ended in tracebacks."""
    copy = shutil.copytree(folder, tmp_path / "data")
    (copy / file).write_text(text)
    with pytest.raises(ValueError, match=f"^tfds:{copy}.*: .*{message}") as error:
        open_source(f"tfds:{copy}")
    assert "\n" not in str(error.value)
