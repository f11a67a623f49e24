"""Thresholds of runs: measured at the start, or of the file that the command writes."""

import logging
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from PIL import Image

import dct_jax
from dct_jax.commands import main
from dct_jax.config import DataConfig
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Part, open_source, open_sources
from dct_jax.dq import config as dq_config
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.dq.entropy import patch_entropy
from dct_jax.dq.thresholds import (
    measure_percentiles,
    percentiles,
    read_percentiles,
    shares_of,
    thresholds_of,
)
from dct_jax.run import train_at
from dct_jax.training.stage import Trained
from dct_jax.vq.gan.config import LossConfig
from dct_jax.vq.network import to_float
from tests.codes.toys import save_run
from tests.conftest import Refused
from tests.dq.test_thresholds import NUMBER, PICTURES, grains_of, made
from tests.dq.toys import SIDE, dqvae_config
from tests.toys import stop_while_placing


def load(run: str) -> Trained:
    raise AssertionError(f"a DQ-VAE builds on no run, such as {run}")


def calibrate(config: DQVAEConfig) -> np.ndarray:
    """The thresholds with which a fresh run begins."""
    given = config.calibrate(open_sources(config.data)[0])
    assert given.keys() == {"router"} and given["router"].keys() == {"thresholds"}
    found = given["router"]["thresholds"]
    assert isinstance(found, np.ndarray)
    return found


def entropy_config(ratios: tuple[float, ...] = (0.5,), file: str | Path = "", **data: Any) -> DQVAEConfig:
    """Regions of 4 x 4 pixels, of "fashion"."""
    fashion = DataConfig(**({"source": "fashion", "split": "train", "held_out_split": "test", "image_size": (28, 28)} | data))
    model = GrainsConfig(channels=32, multipliers=(1,) * (1 + len(ratios)), grains=1 + len(ratios), attention=())  # type: ignore[arg-type]
    return DQVAEConfig(
        data=fashion,
        model=replace(model, stem=2 if len(ratios) == 1 else 1),
        router=RouterConfig(kind="entropy", ratios=ratios, thresholds=str(file)),
        loss=LossConfig(perceptual="none", discriminator_layers=1),
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dq_config, "CALIBRATION_PICTURES", NUMBER)


@pytest.mark.usefixtures("few")
def test_a_run_measures_its_training_pictures(caplog: pytest.LogCaptureFixture) -> None:
    """Held-out pictures do not count, and the second time all is equal."""
    config = entropy_config(split="", held_out_split="", held_out_every=2, source="landscapes", image_size=(32, 32))
    found = calibrate(config)
    assert found.dtype == np.float32 and found.shape == (1,) and np.isfinite(found).all()
    np.testing.assert_array_equal(calibrate(config), found)
    training = Part(open_source("landscapes"), every=2, held_out=False)
    measured = measure_percentiles(training, config.data, 4, NUMBER, Skipped(NUMBER, most=0))
    np.testing.assert_array_equal(found, thresholds_of(measured.values, (0.5,)))
    assert not caplog.records


@pytest.mark.usefixtures("few")
def test_a_run_with_a_file_is_one_that_measures(tmp_path: Path) -> None:
    out = tmp_path / "fashion.json"
    arguments = ["--split", "train", "--patch-size", "4", "--size", "28", "28", "--num", str(NUMBER)]
    assert main(["thresholds", "fashion", *arguments, "--out", str(out)]) == 0
    for ratios in ((0.5,), (0.3, 0.3)):
        measured, given = (calibrate(entropy_config(ratios, file)) for file in ("", out))
        np.testing.assert_array_equal(measured, given)
        assert measured.shape == (len(ratios),)


@pytest.mark.usefixtures("few")
def test_a_run_says_that_equal_entropies_spoil_the_ratio(caplog: pytest.LogCaptureFixture) -> None:
    """A third of Fashion-MNIST's patches is black: none of them can be finer than others."""
    with caplog.at_level(logging.WARNING):
        found = calibrate(entropy_config((0.8,)))
    assert found[0] == 0
    (record,) = caplog.records
    measured = measure_percentiles(open_source("fashion", "train"), entropy_config().data, 4, NUMBER, Skipped(NUMBER, most=0))
    share = shares_of(measured.values, found)[1]
    assert abs(share - (1 - measured.tied)) <= 0.01 and share < 0.75
    assert record.getMessage() == (
        f"router.ratios is (0.8,), but above the thresholds 0.000 are the shares {share:.2f} of the patches: "
        f"{100 * measured.tied:.0f} % have one entropy"
    )


def test_thresholds_are_of_crops_as_in_training() -> None:
    """Of the photographs, regions of small crops have lower entropies than those of reduced large
    ones. Thresholds were once of whole pictures, and 38 % of regions became fine, not 50 %."""
    landscapes: dict[str, Any] = {"source": "landscapes", "split": "", "held_out_split": "", "image_size": (64, 64)}
    small, large = (calibrate(entropy_config(crop=(share, share), **landscapes))[0] for share in (0.5, 1.0))
    assert small < large - 0.05


def test_a_feature_router_has_no_thresholds() -> None:
    config = replace(entropy_config(), router=RouterConfig(kind="feature"))
    assert config.calibrate(open_source("fashion")) == {}


def test_the_perceptual_loss_is_still_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its weights are not installed, as of a VQ-GAN."""
    monkeypatch.setattr("dct_jax.evaluation.features.lpips_package.has_lpips", lambda: False)
    config = replace(entropy_config(), loss=LossConfig(perceptual="vgg16", discriminator_layers=1))
    completed, given = config.complete(load)
    assert completed.loss.perceptual == "none" and given == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"side": 8}, "of patches with a side 8; this run needs 4"),
        ({"size": (32, 28)}, "of crops (32, 28); this run needs (28, 28)"),
        ({"crop": (0.5, 0.5)}, "of crops whose shares are (0.5, 0.5); this run needs (0.8, 1.0)"),
        ({"enlarge": 2.0}, "of crops enlarged at most 2.0; this run needs 1.0"),
        ({"source": "b"}, "of the data set b; this run needs fashion (train)"),
        ({"source_pictures": 9}, f"of a data set whose number of pictures is 9; this run needs {PICTURES}"),
    ],
)
def test_a_file_of_other_patches_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path, ours = (
        tmp_path / "a.json",
        {"side": 4, "size": (28, 28), "crop": (0.8, 1.0), "enlarge": 1.0, "source": "fashion (train)"},
    )
    path.write_text(made(**(ours | {"source_pictures": PICTURES} | fields)).to_json())
    command = "thresholds fashion --split train --size 28 28 --crop 0.8 1.0 --patch-size 4 --out FILE"
    with pytest.raises(ValueError, match=r"^router\.thresholds is") as refused:
        calibrate(entropy_config(file=path))
    assert str(refused.value) == f"router.thresholds is {path}, {message}: make it with `{command}`"


def write_noise(folder: Path, number: int, side: int) -> str:
    """Writes square pictures; returns the name of the source."""
    folder.mkdir(parents=True)
    for i, picture in enumerate(np.random.default_rng(number).integers(0, 256, (number, side, side, 3), np.uint8)):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return f"folder:{folder}"


def test_the_command_that_a_refusal_names_makes_the_file(tmp_path: Path) -> None:
    """Of another folder of that name; with pictures that are held out, and too small ones, as in
    training."""
    source, other = (write_noise(tmp_path / name / "my train", number, 20) for name, number in (("a", 6), ("b", 5)))
    path = tmp_path / "a.json"
    config = entropy_config((0.3, 0.3), path, source=source, split="", held_out_split="", held_out_every=3, enlarge=1.5)
    assert main(["thresholds", other, "--out", str(path), "--size", "28", "28", "--enlarge", "1.5", "--patch-size", "4"]) == 0
    with pytest.raises(ValueError, match="number of pictures is 5; this run needs 6: make it with `") as refused:
        calibrate(config)
    command = shlex.split(str(refused.value).split("`")[1])
    assert main([str(path) if word == "FILE" else word for word in command]) == 0
    found = calibrate(config)
    assert np.isfinite(found).all() and len(found) == 2


def test_pictures_are_enlarged_as_in_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_noise(tmp_path / "small", 10, 20)
    config = entropy_config((0.3, 0.3), source=source, split="", held_out_split="", held_out_every=2, enlarge=1.4)
    assert np.isfinite(calibrate(config)).all()
    assert not caplog.records
    smaller = replace(config, data=replace(config.data, enlarge=1.39))
    with pytest.raises(ValueError, match=r"none of the 5 pictures that were tried can be used; .* at least 21 x 21"):
        calibrate(smaller)


def test_thresholds_are_numbers_of_bfloat16_not_below_those_of_the_percentiles() -> None:
    """Weights in bfloat16 have them, too; and patches of one entropy stay on one side."""
    for value in [0.0, 2.0**-12, 0.69311523, 1.0, 3.3, math.log(32), *np.random.default_rng(0).uniform(0, 3.47, 200)]:
        (found,) = thresholds_of(np.full(99, value, np.float32), (0.5,))
        for dtype in (ml_dtypes.bfloat16, np.float16):
            assert found.astype(dtype).astype(np.float32) == found
        assert np.float32(value) <= found <= value * (1 + 2**-7)
        assert found == np.float32(value) or np.float32(value) > np.nextafter(ml_dtypes.bfloat16(found), ml_dtypes.bfloat16(0))


@pytest.mark.parametrize("grains", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_grains_of_a_run_are_those_of_its_file(tmp_path: Path, grains: int) -> None:
    """Flat regions of 32 levels have entropies up to ln 2, many of them equal. Thresholds are at
    such entropies, which the nearest numbers of bfloat16 are below."""
    config = dqvae_config(grains, "entropy")
    side, (rows, columns) = config.model.divisor, config.regions
    rng = np.random.default_rng(28)
    levels = rng.choice(rng.integers(0, 256, 32), 16 * rows * columns)
    squares = levels.reshape(16, rows, 1, columns, 1, 1).repeat(side, axis=2).repeat(side, axis=4)
    pixels = to_float(jnp.asarray(squares.reshape(16, SIDE, SIDE, 1).repeat(3, axis=3).astype(np.uint8)))
    entropies = np.asarray(patch_entropy(pixels, side))
    values = percentiles(entropies)
    inner = values[1:-1]
    tied = (values[:-2] == values[2:]) & (inner.astype(ml_dtypes.bfloat16) < inner) & (inner < values[-1])
    places = 1 + np.flatnonzero(tied)[[0, -1]][: grains - 1]
    shares = [1 - (place + 1) / 100 for place in places] + [0]
    assert len(set(values[places])) == grains - 1
    found = thresholds_of(values, [float(share) for share in -np.diff(shares)])
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), config.build().shapes())  # grains are of pixels alone
    save_run(tmp_path / "run", Trained(config, {**variables, "router": {"thresholds": found}}, ((SIDE, SIDE, 1),)))

    def maps(one: Trained) -> np.ndarray:
        network = config.network()
        return np.asarray(jax.jit(lambda x, y: network.apply(x, y, method="route").grain_map)(one.variables, pixels))  # type: ignore[union-attr]

    expected = maps(dct_jax.load(tmp_path / "run"))
    assert set(expected.reshape(-1)) == set(range(grains))
    np.testing.assert_array_equal(expected, grains_of(entropies.reshape(-1), values[places]).reshape(expected.shape))
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "a.safetensors")]) == 0
    for run, dtype in ((tmp_path / "a.safetensors", None), (tmp_path / "run", "bfloat16")):
        np.testing.assert_array_equal(maps(dct_jax.load(run, dtype)), expected)


@pytest.mark.slow
def test_a_run_goes_on_with_the_thresholds_of_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is gone; and it measures nothing again."""
    config = dqvae_config(2, "entropy", 2)
    config = replace(config, training=replace(config.training, steps=4, evaluate_every=4, checkpoint_every=1))
    thresholds = []
    for name in ("file", "measured"):
        folder, path = tmp_path / name, tmp_path / "a.json"
        if name == "file":
            flags = ["--size", "16", "16", "--patch-size", "4", "--out", str(path)]
            assert main(["thresholds", "landscapes", *flags]) == 0
            config = replace(config, router=replace(config.router, thresholds=str(path)))
        with stop_while_placing(1):
            assert train_at(config, folder).step < 4
        fresh = calibrate(config)
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            for function in ("measure_percentiles", "read_percentiles"):
                patch.setattr(f"dct_jax.dq.thresholds.{function}", None)
            moved = replace(config, router=replace(config.router, thresholds="moved.json" if name == "file" else ""))
            assert train_at(moved, folder).step == 4
        model = dct_jax.load(folder)
        np.testing.assert_array_equal(model.variables["router"]["thresholds"], fresh)
        thresholds.append(fresh)
        config = replace(config, router=replace(config.router, thresholds=""))
    assert np.isfinite(thresholds).all()


def test_the_place_of_the_file_is_no_part_of_a_model() -> None:
    configs = [entropy_config((0.5,), file) for file in ("", "a.json")] + [entropy_config((0.4,))]
    one, moved, other = (Trained(config, {}, ()).fingerprint for config in configs)
    assert one == moved != other


def test_train_refuses_it_in_one_line(refused: Refused, tmp_path: Path) -> None:
    experiment, run, file = tmp_path / "mine.py", tmp_path / "run", tmp_path / "a.json"
    experiment.write_text("from tests.dq.test_thresholds_of_runs import entropy_config\nCONFIG = entropy_config()")
    file.write_text(made(side=4, size=(28, 28), crop=(0.8, 1.0), enlarge=1.0).to_json())
    of_others = "of the data set a; this run needs fashion (train)"
    for path, message in ((file, of_others), (experiment, "these percentiles cannot be")):
        assert message in refused("train", experiment, "--run-dir", run, "--router.thresholds", path)
    assert not run.exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json: there is no such file"):
        calibrate(entropy_config(file=tmp_path / "a.json"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, out = np.random.default_rng(0), tmp_path / "out" / "a.json"
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (64, 96, 3), np.uint8) if number % 2 else np.zeros((64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"x")
    source = f"folder:{tmp_path / 'pictures'}"
    assert main(["thresholds", source, "--out", str(out), "--patch-size", "8", "--size", "64", "96"]) == 0
    captured = capsys.readouterr()
    found = read_percentiles(out)
    assert captured.out.splitlines() == [
        "4 of 5 pictures; the patches have 8 x 8 pixels",
        "1 picture cannot be used (1 not readable)",
        "patches  at most, nats",
        *(f"{q} %             {found.values[q - 1]:.3f}" for q in (10, 25, 50, 75, 90)),
        "50.0% of the patches have one and the same entropy",
        f"the percentiles are in {out}",
    ]
    assert found.values[48] == 0 and found.values[49] > 1  # half of the patches are black
    assert (found.source, found.side, found.size, found.pictures) == ("pictures", 8, (64, 96), 4)
    assert (found.source_pictures, found.enlarge) == (5, 1.0)


@pytest.mark.usefixtures("few")
def test_the_command_measures_for_a_run_that_pads(tmp_path: Path) -> None:
    out, data = tmp_path / "a.json", replace(entropy_config().data, image_size=(26, 27))
    config = replace(entropy_config(), data=data, model=replace(entropy_config().model, sides="pad"))
    flags = ["--split", "train", "--size", "26", "27", "--patch-size", "4", "--num", str(NUMBER), "--out", str(out)]
    assert main(["thresholds", "fashion", *flags]) == 0
    with_file = replace(config, router=replace(config.router, thresholds=str(out)))
    np.testing.assert_array_equal(calibrate(with_file), calibrate(config))


def test_bad_thresholds(refused: Refused, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    file = ("--out", out)
    assert "num is 0; it must be 1 or more" in refused("thresholds", "fashion", *file, "--num", 0)
    assert "--num is 'x'; it must be a whole number" in refused("thresholds", "fashion", *file, "--num", "x")
    assert "patch_size is 0; it must be 1 or more" in refused("thresholds", "fashion", *file, "--patch-size", 0)
    most = GrainsConfig(stem=2, multipliers=(1,) * 8, attention=()).divisor
    large = refused("thresholds", "fashion", *file, "--patch-size", most + 1)
    assert f"patch_size is {most + 1}; it must be at most {most}, the largest region that a model can have" in large
    assert "image_size is (0, 16); it must be two positive" in refused("thresholds", "fashion", *file, "--size", 0, 16)
    assert "crop is (0.8, 0.5); it must be two shares" in refused("thresholds", "fashion", *file, "--crop", 0.8, 0.5)
    assert "enlarge is 0.5; it must be 1 or more" in refused("thresholds", "fashion", *file, "--enlarge", 0.5)
    assert "--out is missing; see thresholds --help" in refused("thresholds", "fashion")
    assert "SOURCE is missing; see thresholds --help" in refused("thresholds", *file)
    assert "it must be 'landscapes', 'fashion'" in refused("thresholds", "sunsets", *file)
    assert "there is no part 'x'" in refused("thresholds", "fashion", *file, "--split", "x")
    assert not list(tmp_path.iterdir())
    out.write_text("x")
    assert "cannot be written" in refused("thresholds", "fashion", "--out", out / "b.json", "--size", 28, 28, "--patch-size", 4)
    assert out.read_text() == "x"


def test_no_picture_is_large_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thresholds", "fashion", "--out", str(tmp_path / "a.json"), "--num", "2"]) == 2
    assert "none of the 2 pictures that were tried can be used" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
