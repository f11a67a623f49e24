"""The commands compress and decompress: there and back in two processes, and one line for each kind
of bad input."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax import commands
from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.commands import main
from dct_jax.commands.compress import _find_label, _read_list
from dct_jax.config import TrainingConfig
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES
from dct_jax.dct import compression
from dct_jax.dct.coders import available_coders
from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dct.trained_model import TrainedModel
from tests.conftest import Refused
from tests.toys import tiny_config


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG file that the debug run's model can compress, with a comment that it cannot."""
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    crop = read_image(LANDSCAPES / "canyon4.jpg")[40:72, 80:112]
    Image.fromarray(crop).save(path, quality=20, comment=b"a comment")
    return path


def table_bytes(said: str) -> dict[str, int]:
    """Returns the name and the bytes of each row of the table in a command's output."""
    lines = [re.split(r"  +", line) for line in said.splitlines()]
    header = next(i for i, line in enumerate(lines) if line[0] == "lossless coding of these")
    return {line[0]: int(line[1].replace(",", "")) for line in lines[header + 1 :] if len(line) == 5}


@pytest.mark.parametrize(("dropout", "expected"), [(0.1, 3), (0.0, 0)])
def test_a_class_that_nobody_names_is_hidden(dropout: float, expected: int) -> None:
    """It once was class 0, whatever the picture, and the help did not say so."""
    config, training = tiny_config(), TrainingConfig(label_dropout=dropout)
    model = TrainedModel(replace(config, training=training, model=replace(config.model, num_classes=3)), {}, ())
    assert _find_label(model, "") == expected and _find_label(model, "2") == 2
    model.check_label(expected)  # as `decompress` does


@pytest.mark.slow
def test_another_process_gives_the_coefficients_back(
    debug_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "photo.dct"
    assert main(["compress", str(debug_run), str(photo), "-o", str(coded)]) == 0
    said = capsys.readouterr().out
    assert f"{photo.stat().st_size} bytes became {coded.stat().st_size} (" in said
    assert table_bytes(said)["this model"] == coded.stat().st_size
    command = [sys.executable, "-m", "dct_jax", "decompress", str(debug_run), str(coded)]
    # It compiles the programs anew, with the same options.
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    expected = SparseDCT.from_jpeg(photo)
    assert len(expected) > 20
    assert SparseDCT.from_jpeg(tmp_path / "photo-decompressed.jpg") == expected


@pytest.mark.usefixtures("loaded_once")
def test_bad_input(debug_run: Path, photo: Path, tmp_path: Path, refused: Refused) -> None:
    png, fine = tmp_path / "a.png", tmp_path / "fine.jpg"
    image = Image.open(photo)
    image.save(png)
    image.save(fine, quality=90)
    assert f"{png}: " in refused("compress", debug_run, png)
    assert f"{fine}: the quantisation tables are not the model's" in refused("compress", debug_run, fine)
    assert "the label is 3; this model was trained without classes" in refused("compress", debug_run, photo, "--label", 3)
    assert "missing.jpg" in refused("compress", debug_run, tmp_path / "missing.jpg")
    assert "no run here" in refused("compress", tmp_path, photo)
    assert "does not begin with the byte 0xdc" in refused("decompress", debug_run, photo)
    assert "there is no such file" in refused("decompress", debug_run, tmp_path / "missing.dct")
    assert "must end in .jpg" in refused("decompress", debug_run, photo, "-o", tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "fine.jpg"]


def test_a_folder_becomes_the_files_that_each_becomes_alone(
    debug_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, coded, back = (tmp_path / name for name in ("photos", "coded", "back"))
    (folder / "deeper").mkdir(parents=True)
    image = read_image(LANDSCAPES / "canyon4.jpg")
    for i, name in enumerate(("a.jpg", "b.JPEG", "deeper/a.jpg")):
        Image.fromarray(image[8 * i :][:32, 40:72]).save(folder / name, "JPEG", quality=20)
    (folder / ".hidden.jpg").write_bytes(b"")
    before = sum((folder / name).stat().st_size for name in ("a.jpg", "b.JPEG", "deeper/a.jpg"))
    assert main(["compress", str(debug_run), str(folder), "--out", str(coded), "--verify"]) == 0
    written = [coded / name for name in ("a.dct", "b.dct", "deeper/a.dct")]
    assert sorted(path for path in coded.rglob("*") if path.is_file()) == written
    after = sum(path.stat().st_size for path in written)
    said = capsys.readouterr().out
    assert f"3 files compressed: {before:,} bytes became {after:,} (" in said
    bare = sum(len(SparseDCT.from_jpeg(folder / name).to_jpeg()) for name in ("a.jpg", "b.JPEG", "deeper/a.jpg"))
    sizes = table_bytes(said)
    assert list(sizes) == ["JPEG files before", *(coder.name for coder in available_coders(DCTCodec())), "this model"]
    assert (sizes["JPEG files before"], sizes["optimised Huffman"], sizes["this model"]) == (before, bare, after)
    assert main(["compress", str(debug_run), str(folder / "b.JPEG"), "-o", str(tmp_path / "alone.dct")]) == 0
    assert (tmp_path / "alone.dct").read_bytes() == (coded / "b.dct").read_bytes()
    assert main(["decompress", str(debug_run), str(coded), "--out", str(back)]) == 0
    for name, original in (("a.jpg", "a.jpg"), ("b.jpg", "b.JPEG"), ("deeper/a.jpg", "deeper/a.jpg")):
        assert SparseDCT.from_jpeg(back / name) == SparseDCT.from_jpeg(folder / original)


def test_in_a_folder_the_others_are_done(
    debug_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.open(photo)
    shutil.copy(photo, tmp_path / "good.jpg")
    for name in ("fine1.jpg", "fine2.jpg"):
        image.save(tmp_path / name, quality=90 + int(name[4]))
    image.save(tmp_path / "full.jpg", quality=20, subsampling="4:4:4")
    image.save(tmp_path / "picture.png")
    image.resize((40, 32)).save(tmp_path / "wide.jpg", quality=20)  # larger than the model's canvas
    (tmp_path / "broken.jpg").write_bytes(photo.read_bytes()[:-300])
    assert main(["compress", str(debug_run), str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("2 files compressed: ")
    lines = [
        "1 file was left out (picture.png): the name does not end in .jpg or .jpeg",
        "2 files were left out (fine1.jpg, fine2.jpg): the quantisation tables are not the model's",
        "1 file was left out (full.jpg): the chroma subsampling is 4:4:4, and the model's 4:2:0",
        "1 file was left out (broken.jpg): ",
    ]
    assert all(f"dct_jax: {line}" in said.err for line in lines), said.err
    (tmp_path / "other.dct").write_bytes(b"something")
    assert main(["decompress", str(debug_run), str(tmp_path)]) == 2
    assert "1 file was left out (other.dct): this is no compressed list" in capsys.readouterr().err
    for name in ("good", "wide"):
        assert SparseDCT.from_jpeg(tmp_path / f"{name}-decompressed.jpg") == SparseDCT.from_jpeg(tmp_path / f"{name}.jpg")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_that_does_not_come_back_is_left_out(
    debug_run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy(photo, tmp_path / name)
    compress_many = compression.compress_many

    def damaging(*args: Any) -> Iterator[tuple[int, bytes | ValueError]]:
        for number, data in compress_many(*args):
            assert isinstance(data, bytes)
            yield number, data[:-1] if number == 1 else data

    monkeypatch.setattr(compression, "compress_many", damaging)
    assert main(["compress", str(debug_run), str(tmp_path), "--out", str(tmp_path / "bad"), "--no-coders"]) == 0
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == ["a.dct", "b.dct", "c.dct"]
    capsys.readouterr()
    assert main(["compress", str(debug_run), str(tmp_path), "--out", str(tmp_path / "good"), "--no-coders", "--verify"]) == 2
    assert sorted(path.name for path in (tmp_path / "good").iterdir()) == ["a.dct", "c.dct"]
    said = capsys.readouterr()
    assert said.out.startswith(f"2 files compressed: {2 * photo.stat().st_size:,} bytes became ")
    assert "1 file was left out (b.jpg): the compressed file does not come back: " in said.err
    assert table_bytes(said.out) == {
        "JPEG files before": 2 * photo.stat().st_size,
        "this model": sum(path.stat().st_size for path in (tmp_path / "good").iterdir()),
    }
    monkeypatch.setattr(compression, "compress_many", lambda *args: ((0, data[:-1]) for _, data in compress_many(*args)))
    assert main(["compress", str(debug_run), str(photo), "-o", str(tmp_path / "photo.dct"), "--verify"]) == 2
    assert f"{photo}: the compressed file does not come back: " in capsys.readouterr().err
    assert not (tmp_path / "photo.dct").exists()


def test_pictures_of_any_size_reach_the_model(
    debug_run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, seen = Image.open(photo), []
    for size in ((40, 32), (8, 8), (100, 200)):
        image.resize(size).save(tmp_path / f"{size[0]}.jpg", quality=20)

    def record(model: object, lists: Iterable[SparseDCT], labels: object) -> Iterator[tuple[int, bytes]]:
        for number, sparse in enumerate(lists):
            seen.append(sparse.size)
            yield number, b"file"

    monkeypatch.setattr(compression, "compress_many", record)
    assert main(["compress", str(debug_run), str(tmp_path)]) == 0
    assert seen == [(200, 100), (32, 40), (8, 8)]
    pixels = 200 * 100 + 32 * 40 + 8 * 8
    assert f"  12  {8 * 12 / pixels:.3f}  " in re.sub("  +", "  ", capsys.readouterr().out)


def test_a_model_of_many_qualities_takes_files_of_these(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for quality in (34, 35, 60, 90, 91):
        Image.open(photo).save(tmp_path / f"{quality}.jpg", quality=quality)
    config = DCTConfig(codec=DCTCodec(quality=50), model=ModelConfig(qualities=(35, 90)))
    monkeypatch.setattr(commands.compress, "load_dct", lambda *args: TrainedModel(config, {}, ()))
    monkeypatch.setattr(compression, "compress_many", lambda model, lists, labels: ((i, b"") for i, _ in enumerate(lists)))
    assert main(["compress", "run", str(tmp_path), "--no-coders"]) == 2
    assert sorted(path.name for path in tmp_path.glob("*.dct")) == ["35.dct", "60.dct", "90.dct"]
    line = "2 files were left out (34.jpg, 91.jpg): the quantisation tables are not those of qualities 35 to 90"
    assert line in capsys.readouterr().err


@pytest.mark.usefixtures("loaded_once")
def test_a_folder_without_files_or_with_two_of_one_name_is_refused(
    debug_run: Path, photo: Path, tmp_path: Path, refused: Refused
) -> None:
    assert "no file in this folder can be compressed" in refused("compress", debug_run, tmp_path)
    assert "no file in this folder can be decompressed" in refused("decompress", debug_run, tmp_path)
    for name in ("a.jpg", "a.jpeg"):
        shutil.copy(photo, tmp_path / name)
    assert f"a.jpg would both become {tmp_path / 'a.dct'}; rename one" in refused("compress", debug_run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpeg", "a.jpg"]


def test_an_interrupted_folder_keeps_what_is_done_and_nothing_half_written(
    debug_run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(photo, tmp_path / name)
    write = Path.write_bytes

    def interrupted(path: Path, data: bytes) -> int:
        if path.name.startswith(".b"):
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    assert main(["compress", str(debug_run), str(tmp_path)]) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dct", "a.jpg", "b.jpg"]


def test_what_decompress_could_not_write_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file once was readable in Python alone."""
    codec = DCTCodec(quality=100)
    sparse = SparseDCT(np.array([0], np.int32), np.array([0], np.int32), np.array([1024], np.int32), (8, 8), codec)
    monkeypatch.setattr(SparseDCT, "from_jpeg", lambda *_, **__: sparse)
    model: Any = SimpleNamespace(codec=codec, config=SimpleNamespace(takes=lambda codec: True))
    with pytest.raises(ValueError, match=r"triple 0 is \(0, 0, 1024\): values in a JPEG file are -1024..1023"):
        _read_list(model, b"", True)
