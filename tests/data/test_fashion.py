"""The bundled garments: what they are, how they were chosen, and that TFDS, training and held-out
pictures take them."""

import gzip
import io
import pickle
import runpy
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import dct_jax
from dct_jax.commands import main
from dct_jax.config import DataConfig
from dct_jax.data.pixels import pixels
from dct_jax.data.prepare import prepare_source
from dct_jax.data.sources import FASHION, Source, open_source, open_sources
from dct_jax.data.sources.idx import FASHION_MNIST
from dct_jax.experiment import FOLDER
from tests.conftest import Refused
from tests.data.test_tfds import write as write_tfds


def read(path: Path) -> tuple[tuple[int, ...], bytes]:
    """The header's numbers and the rest of a gzipped idx file."""
    content = gzip.decompress(path.read_bytes())
    header = 4 + 4 * content[3]
    return struct.unpack_from(f">{header // 4}I", content), content[header:]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def all_pictures(source: Source) -> list[tuple[bytes, str]]:
    """RGB and class of each, sorted."""
    records = (source[i] for i in range(len(source)))
    return sorted((pixels(record).tobytes(), source.classes[record.label]) for record in records)


def test_it_is_balanced_without_doubles_and_small() -> None:
    seen: set[bytes] = set()
    for file, split, number in (("train", "train", 10_000), ("t10k", "test", 2_000)):
        header, images = read(FASHION / f"{file}-images-idx3-ubyte.gz")
        assert header == (0x803, number, 28, 28)
        header, labels = read(FASHION / f"{file}-labels-idx1-ubyte.gz")
        assert header == (0x801, number)
        assert Counter(labels) == {label: number // 10 for label in range(10)}
        source = open_source("fashion", split)
        assert (len(source), source.classes) == (number, FASHION_MNIST)
        for i in (0, 777, number - 1):
            assert source[i].image[..., 0].tobytes() == images[784 * i : 784 * (i + 1)]
            assert source[i].label == labels[i]
        seen |= {images[start : start + 784] for start in range(0, len(images), 784)}
    assert len(seen) == len(open_source("fashion")) == 12_000
    assert sum(path.stat().st_size for path in FASHION.iterdir()) < 7e6
    assert "Zalando" in (FASHION / "LICENSE").read_text()


def test_the_script_takes_the_first_pictures_of_each_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {part: rng.integers(256, size=(200, 3, 2), dtype=np.uint8) for part in ("train", "t10k")}
    labels = {part: rng.integers(10, size=200, dtype=np.uint8) for part in images}
    for part in images:
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
            content = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    bundle = runpy.run_path(str(FOLDER / "bundle_fashion.py"))["bundle"]
    for out in ("once", "again"):
        bundle(tmp_path, tmp_path / out, {"train": 5, "t10k": 2})
    for part, number in (("train", 5), ("t10k", 2)):
        left = Counter({label: number for label in range(10)})
        chosen = [i for i, label in enumerate(labels[part].tolist()) if (left.subtract([label]), left[label] >= 0)[1]]
        header, taken = read(tmp_path / "once" / f"{part}-images-idx3-ubyte.gz")
        assert header == (0x803, 10 * number, 3, 2)
        assert taken == images[part][chosen].tobytes()
        assert read(tmp_path / "once" / f"{part}-labels-idx1-ubyte.gz")[1] == labels[part][chosen].tobytes()
    names = {path.name for path in FASHION.iterdir()} - {"LICENSE"}
    assert names == {path.name for path in (tmp_path / "once").iterdir()}
    assert all((tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    assert (tmp_path / "once" / "classes.txt").read_text() == (FASHION / "classes.txt").read_text()


def test_tfds_own_fashion_mnist_gives_the_same(tmp_path: Path) -> None:
    """As TFDS prepares it: with its features, and PNG files with one channel."""
    header, images = read(FASHION / "t10k-images-idx3-ubyte.gz")
    images = np.frombuffer(images, np.uint8).reshape(header[1:])[:60]
    _, labels = read(FASHION / "t10k-labels-idx1-ubyte.gz")
    features = dict(tfds.builder("fashion_mnist", data_dir=tmp_path).info.features)
    records = [{"image": png(image), "label": label} for image, label in zip(images, labels)]
    theirs = open_source(f"tfds:{write_tfds(tmp_path / 'fashion_mnist' / '3.0.1', {'test': records}, features)}", "test")
    ours = open_source("fashion", "test")
    assert theirs.classes == ours.classes
    for i in range(60):
        assert np.array_equal(pixels(theirs[i]), pixels(ours[i]))
        assert theirs[i].label == ours[i].label


def test_prepared_it_has_the_same_pictures_labels_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "Garments"
    small.mkdir()
    for part, number in (("train", 50), ("t10k", 30)):
        for kind, size in (("images-idx3", 784), ("labels-idx1", 1)):
            header, content = read(FASHION / f"{part}-{kind}-ubyte.gz")
            numbers = (header[0], number, *header[2:])
            (small / f"{part}-{kind}-ubyte").write_bytes(struct.pack(f">{len(numbers)}I", *numbers) + content[: number * size])
    (small / "classes.txt").write_text((FASHION / "classes.txt").read_text())
    assert main(["prepare", f"idx:{small}", "--out", str(tmp_path)]) == 0
    assert "pictures: test 30, train 50" in capsys.readouterr().out
    for split in ("train", "test"):
        theirs = open_source(f"tfds:{tmp_path}/garments/1.0.0", split)
        assert theirs.classes == FASHION_MNIST  # in the order of the labels
        assert all_pictures(theirs) == all_pictures(open_source(f"idx:{small}", split))
    one = tfds.builder_from_directory(tmp_path / "garments" / "1.0.0").as_data_source("test")[0]
    part, _, place = one["key"].decode().partition(", picture ")
    assert part == "t10k-images-idx3-ubyte"
    assert np.array_equal(one["image"], open_source(f"idx:{small}", "test")[int(place)].image)


def test_preparing_refuses_an_existing_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "fashion" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ValueError, match="is there already"):
        prepare_source(f"idx:{FASHION}", tmp_path)


def test_the_test_part_is_held_out(refused: Refused) -> None:
    training, held_out = open_sources(DataConfig(source="fashion", split="train", held_out_split="test"))
    assert (len(training), len(held_out)) == (10_000, 2_000)
    assert (training.name, pickle.loads(pickle.dumps(held_out)).name) == ("fashion (train)", "fashion (test)")
    for split in ("test", ""):  # the latter is all
        with pytest.raises(ValueError, match="held-out pictures would be trained on"):
            open_sources(DataConfig(source="fashion", split=split, held_out_split="test"))
    said = refused("train", "fashion", "--data.held-out-split", "t10k", "--run-dir", "/nowhere")
    assert "there is no part 't10k' (data.split); there are test, train" in said


@pytest.mark.slow
def test_a_grey_model_learns_its_classes(tmp_path: Path) -> None:
    small = {
        "--data.source": ["fashion"],
        "--data.split": ["train"],
        "--data.held-out-split": ["test"],
        "--data.image-size": ["28", "28"],
        "--data.workers": ["1"],
        "--codec.chroma-subsampling": ["4:0:0"],
        "--model.num-classes": ["10"],
        "--training.label-dropout": ["0.1"],
        "--run-dir": [str(tmp_path / "run")],
    }
    assert main(["train", "debug", "--data.no-flip", *(word for flag, words in small.items() for word in (flag, *words))]) == 0
    model = dct_jax.load(tmp_path / "run")
    assert (model.classes, model.label("Ankle boot")) == (FASHION_MNIST, 9)
