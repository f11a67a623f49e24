"""The commands that sample: what they leave, and one clear line for each kind of bad
input."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax import DCTCodec
from dct_jax.codec import SparseDCT
from dct_jax.commands import main
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.sources import open_sources
from dct_jax.dct.steering import to_restore
from dct_jax.dct.trained_model import TrainedModel
from tests.conftest import Refused
from tests.toys import SMALLEST, random_image, save_run, tiny_config, untrained

NAMES = ("beach", "canyon", "forest")
pytestmark = pytest.mark.usefixtures("loaded_once")


def model_of(order: str) -> TrainedModel:
    plain = tiny_config()
    config = dataclasses.replace(
        plain,
        codec=DCTCodec(quality=30, channel_order=order),
        data=dataclasses.replace(plain.data, image_size=(32, 32)),
        # One chunk holds any list: what goes on from it would be another program to compile.
        model=dataclasses.replace(SMALLEST, num_classes=3, chunk_size=1600),
        training=dataclasses.replace(plain.training, label_dropout=0.1),
    )
    return untrained(config, NAMES)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return model_of("banded")


@pytest.fixture(scope="module")
def run(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("banded"), model)


@pytest.fixture(scope="module")
def luma_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("luma_first"), model_of("luma_first"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.png, 64 x 64; grey.png, 32 x 32; small.png, 4 x 4; wide.png; whole.jpg, progressive;
    others that end early."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    photo = Image.fromarray(random_image(rng, 64, 64))
    photo.save(folder / "photo.png")
    photo.resize((32, 32)).convert("L").save(folder / "grey.png")
    photo.resize((4, 4)).save(folder / "small.png")
    photo.resize((64, 32)).save(folder / "wide.png")
    photo.resize((32, 32)).save(folder / "whole.jpg", progressive=True, quality=30)
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    photo.save(folder / "whole64.jpg", progressive=True)
    for name, image in (("grey", photo.resize((32, 32)).convert("L")), ("large", photo), ("cut16", photo.resize((16, 16)))):
        image.save(folder / f"{name}.jpg", progressive=True)
        data = (folder / f"{name}.jpg").read_bytes()
        (folder / f"{name}.jpg").write_bytes(data[: len(data) * 9 // 10])
    return folder


def manifest(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_samples_by_class_and_what_is_left_of_them(run: Path, model: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for stale in ("0007.png", "0000.jpg", "mine.png", "20240101.jpg"):
        (tmp_path / "samples" / stale).write_bytes(b"")
    (tmp_path / "samples.jsonl").write_text(
        '{"file": "samples/0007.png"}\n{"file": "/etc/passwd"}\n{"file": "samples/../me"}\n'
    )
    command = ["sample", run, "--label", "forest", "0", "--num", "4", "--seed", "5", "--format", "jpg", "--out", tmp_path]
    assert main([str(x) for x in command]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "samples", "samples.jsonl", "samples.png", "progressive.png", "positions.png", "classes.png",
    }  # fmt: skip
    names = {p.name for p in (tmp_path / "samples").iterdir()}
    assert names == {"mine.png", "20240101.jpg", "0000.jpg", "0001.jpg", "0002.jpg", "0003.jpg"}  # the older sample is gone
    lists = model.sample(4, seed=5, label=[2, 0])
    nats = model.log_prob(lists, [2, 0, 2, 0])
    for i, (line, sparse) in enumerate(zip(manifest(tmp_path), lists)):
        assert SparseDCT.from_jpeg(tmp_path / line["file"]) == sparse  # exactly the sample's coefficients
        known = {"number": i, "seed": 5, "label": (2, 0)[i % 2], "class": ("forest", "beach")[i % 2], "given": 0}
        known |= {"temperature": [1.0], "guidance": 1.0}
        assert line | known == line
        assert (line["triples"], line["state"], line["size"]) == (len(sparse), "complete", [32, 32])
        for name, of_lists in nats.items():
            assert line["nats"][name] == pytest.approx(of_lists[i], rel=1e-4, abs=1e-3)


@pytest.mark.slow
def test_limits_and_guidance(run: Path, tmp_path: Path) -> None:
    command = ["sample", run, "--num", "4", "--max-triples", "6", "--max-chunks", "9", "--guidance", "2", "--out", tmp_path]
    assert main([str(x) for x in command]) == 0
    lines = manifest(tmp_path)
    assert {(line["triples"], line["state"]) for line in lines if line["triples"] >= 6} == {(6, "cut")}
    assert all(line["label"] in range(3) for line in lines)  # a random one, as none was asked for


@pytest.mark.slow
def test_upsampling_shows_small_samples_and_original(
    run: Path, folder: Path, tmp_path: Path, model: TrainedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in ([folder / "small.png"], ["--from-large", folder / "photo.png"]):
        assert main([str(x) for x in ("upsample", run, *source, "--num", "2", "--format", "jpg", "--out", tmp_path)]) == 0
        assert "2 samples are in" in capsys.readouterr().out
        lines = manifest(tmp_path)
        assert [line["picture"] for line in lines] == [Path(source[-1]).name] * 2
        assert all(line["label"] is None and line["given"] > 0 for line in lines)  # hidden
        dense = [model.codec.to_dct_image(SparseDCT.from_jpeg(tmp_path / line["file"]))[..., ::64] for line in lines]
        np.testing.assert_array_equal(dense[0], dense[1])  # the DCs
        assert Image.open(tmp_path / "comparison.png").size[0] > 300


def test_held_out_pictures_of_the_run_are_upsampled(
    model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):  # one in ten is held out
        (tmp_path / "pictures" / NAMES[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(rng, 40, 40)).save(tmp_path / "pictures" / NAMES[i % 3] / f"{i}.png")
    data = dataclasses.replace(model.config.data, source=f"folder:{tmp_path / 'pictures'}")
    model = dataclasses.replace(model, config=dataclasses.replace(model.config, data=data))
    run, out = save_run(tmp_path / "run", model), tmp_path / "out"
    assert (
        main(
            [str(x) for x in ("upsample", run, "--held-out", "9", "--own-data", "--num", "2", "--format", "jpg", "--out", out)]
        )
        == 0
    )
    seen = SeenPictures(open_sources(data)[1], model.config, 9)
    assert 0 < len(seen) < 9
    assert f"{2 * len(seen)} samples are in" in capsys.readouterr().out
    lines = manifest(out)
    assert len(lines) == 2 * len(seen)
    for i, line in enumerate(lines):
        assert line["picture"] == f"held-out picture {i // 2}"
        given = to_restore(model, seen[i // 2]).prefix.given
        assert SparseDCT.from_jpeg(out / line["file"])[: line["given"]] == given


@pytest.mark.slow
def test_colorizing_keeps_the_luma(luma_first: Path, folder: Path, tmp_path: Path) -> None:
    command = ["colorize", luma_first, folder / "grey.png", folder / "photo.png", "--num", "2", "--format", "jpg"]
    assert main([str(x) for x in (*command, "--label", "canyon", "--out", tmp_path)]) == 0
    lines = manifest(tmp_path)
    assert [(line["picture"], line["class"]) for line in lines] == [(p, "canyon") for p in ["grey.png"] * 2 + ["photo.png"] * 2]
    codec = DCTCodec(quality=30, channel_order="luma_first")
    grey = codec.encode(np.asarray(Image.open(folder / "grey.png").convert("RGB")))
    for line in lines[:2]:
        sparse = SparseDCT.from_jpeg(tmp_path / line["file"], "luma_first")
        assert sparse[: line["given"]] == grey and (sparse.channels[line["given"] :] >= 64).all()


@pytest.mark.parametrize("keep", [("--keep", "0.3"), ("--keep-bands", "2")])
def test_continuing_keeps_what_it_says(run: Path, folder: Path, tmp_path: Path, model: TrainedModel, keep: tuple) -> None:
    command = ["continue", run, folder / "photo.png", *keep, "--num", "2", "--format", "jpg", "--out", tmp_path]
    assert main([str(x) for x in command]) == 0
    whole = model.codec.encode(np.asarray(Image.open(folder / "photo.png").resize((32, 32), Image.Resampling.LANCZOS)))
    for line in manifest(tmp_path):
        assert SparseDCT.from_jpeg(tmp_path / line["file"])[: line["given"]] == whole[: line["given"]]
        assert 0 < line["given"] < len(whole)


def test_continuing_a_file_that_ends_early(run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c\x1b[2J\udcffut.jpg"
    file.write_bytes((folder / "cut.jpg").read_bytes())
    assert main([str(x) for x in ("continue", run, file, "--num", "2", "--out", tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "given are 3 of 192 channels" in said and said.startswith("c\\x1b[2J\\udcffut.jpg: scans")
    assert all(line["given"] > 0 for line in manifest(tmp_path))


def test_what_cannot_be_sampled_is_refused_in_a_line(run: Path, luma_first: Path, folder: Path, refused: Refused) -> None:
    small, photo, wide = (folder / name for name in ("small.png", "photo.png", "wide.png"))
    assert "the nearest are canyon" in refused("sample", run, "--label", "cannyon")
    assert "this model has 3, 0 to 2" in refused("sample", run, "--label", "3")
    assert "num is 0" in refused("sample", run, "--num", 0)
    assert "max_triples is 0" in refused("sample", run, "--max-triples", 0)
    assert "guidance is -1.0" in refused("sample", run, "--guidance", -1)
    assert "channel order is luma_first; for upsampling" in refused("upsample", luma_first, small)
    assert "channel order is banded; for colourisation" in refused("colorize", run, folder / "grey.png")
    assert "samples images of up to 32 x 32" in refused("upsample", run, photo)
    assert "must have 4 x 4, one for each block" in refused("upsample", run, photo, "--size", 32, 32)
    assert "upsample takes small pictures" in refused("upsample", run)
    assert "upsample takes small pictures" in refused("upsample", run, small, "--held-out", 2)
    assert "--own-data opens the held-out pictures of the run" in refused("upsample", run, small, "--own-data")
    assert "held_out is -1; it must be 0 or more" in refused("upsample", run, "--held-out", -1)
    assert "upsample takes small pictures" in refused("upsample", run, small, "--from-large", photo)
    assert "crop the picture to that aspect" in refused("upsample", run, "--from-large", wide)
    assert "wide.png: the picture has 32 x 64 pixels" in refused("colorize", luma_first, wide)
    assert "would become 8.00 times larger" in refused("colorize", luma_first, small)
    assert "there is no such file" in refused("continue", run, folder / "none.png", "--keep", 0.5)
    assert "give one of them" in refused("continue", run, photo, "--keep", 0.5, "--keep-bands", 2)
    assert "have 1 to 5 bands" in refused("continue", run, photo, "--keep-bands", 6)
    assert "a share of the list, from 0 to 1" in refused("continue", run, photo, "--keep", 1.5)
    assert "more than the limit of 5" in refused("continue", run, photo, "--keep", 0.9, "--max-triples", 5)
    assert "say what to keep of it" in refused("continue", run, photo)
    assert "this JPEG file is whole; say what to keep" in refused("continue", run, folder / "whole.jpg")
    assert "--size is for small pictures" in refused("upsample", run, "--from-large", photo, "--size", 32, 32)
    assert "guidance needs a class: name one" in refused("upsample", run, small, "--guidance", 2)
    assert "seed is -1" in refused("upsample", run, small, "--seed", -1)
    assert "cannot be written" in refused("sample", run, "--out", small / "x")
    assert "has chroma subsampled 4:0:0; for this model it must be 4:2:0" in refused("continue", run, folder / "grey.jpg")
    assert "large.jpg: the size is 64 x 64 pixels; this model samples" in refused("continue", run, folder / "large.jpg")
    whole = refused("continue", run, folder / "whole64.jpg")  # not decoded: its size alone is read
    assert "samples images of up to 32 x 32; of a whole file, --keep or --keep-bands say what to keep" in whole
    assert "cut16.jpg: the size is 16 x 16 pixels; this model has seen" in refused("continue", run, folder / "cut16.jpg")
    assert "num is 0; it must be 1 or more" in refused("upsample", run, small, "--num", 0)
