"""That the house has room: another system trains, goes on, is evaluated, exported and loaded by
what all share."""

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

import dct_jax
from dct_jax import systems
from dct_jax.commands import main
from dct_jax.dct.config import DCTConfig
from dct_jax.experiment import load_experiment
from dct_jax.storage.manifest import MANIFEST, write_manifest
from dct_jax.training.checkpoints import Checkpoints
from tests.conftest import Refused
from tests.linear import LinearConfig
from tests.toys import stop_while_placing

EXPERIMENT = """
from dct_jax.config import DataConfig, TrainingConfig
from tests.linear import LinearConfig

CONFIG = LinearConfig(
    data=DataConfig(source="landscapes", image_size=(8, 8), held_out_crops=6),
    training=TrainingConfig(steps=40, batch_size=4, warmup_steps=2, learning_rate=0.01, evaluate_every=20, checkpoint_every=10),
)
"""


@pytest.fixture(autouse=True)
def a_system_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "SYSTEMS", (*systems.SYSTEMS, LinearConfig))


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    (tmp_path / "toy.py").write_text(EXPERIMENT)
    return str(tmp_path / "toy.py")


def test_another_system_learns_goes_on_and_is_evaluated(
    experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["train", experiment, "--run-dir", str(whole), "--width", "12"]) == 0
    assert "squared error (the best checkpoint)" in capsys.readouterr().out

    with stop_while_placing(15):
        assert main(["train", experiment, "--run-dir", str(parts), "--width", "12"]) == 128 + signal.SIGTERM
    assert Checkpoints(parts / "checkpoints").latest() < 40
    assert main(["train", experiment, "--run-dir", str(parts), "--width", "12"]) == 0
    one, other = dct_jax.load(whole), dct_jax.load(parts)
    assert one.config == other.config == LinearConfig(data=one.config.data, training=one.config.training, width=12)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    assert one.fingerprint == other.fingerprint

    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    losses = [record["squared_error"] for record in records if "squared_error" in record]
    assert len(losses) == 4 and losses[-1] < 0.5 * losses[0]
    assert all(record["pictures_per_second"] > 0 for record in records if "squared_error" in record)

    assert main(["evaluate", str(whole), "--num", "6"]) == 0
    report = json.loads((whole / "evaluation" / "evaluation.json").read_text())
    best = min(record["held_out"]["squared_error"] for record in records if "held_out" in record)
    assert report["held_out"]["squared_error"] == pytest.approx(best, rel=1e-5)
    assert f"squared error      {best:.4g}" in capsys.readouterr().out

    assert main(["export", str(whole), str(tmp_path / "toy.safetensors"), "--dtype", "float32"]) == 0
    assert dct_jax.load(tmp_path / "toy.safetensors").fingerprint == one.fingerprint


def test_train_is_one_call(experiment: str, tmp_path: Path) -> None:
    model = dct_jax.train(experiment, tmp_path / "run", steps=3, evaluate_every=3, width=2, seed=5)
    assert (model.config.training.steps, model.config.width, model.config.seed) == (3, 2, 5)
    assert model.variables["params"].shape == (192, 2)
    with pytest.raises(ValueError, match="no field widht; the nearest are width"):
        dct_jax.train(experiment, tmp_path / "other", widht=2)


def test_what_only_one_system_can_do_is_refused_in_a_line(experiment: str, tmp_path: Path, refused: Refused) -> None:
    run = tmp_path / "run"
    dct_jax.train(experiment, run, steps=3, evaluate_every=3)
    (tmp_path / "a.jpg").write_bytes(b"")
    commands = {"sample": (), "upsample": ("--held-out", 1), "colorize": ("a.png",), "compress": (tmp_path / "a.jpg",)}
    for command, arguments in commands.items():
        message = f"run is a run of the system linear; {command} needs one of DCTransformer"
        assert message in refused(command, run, *arguments)
    assert "samples is 5, but a linear samples nothing" in refused(
        "evaluate", run, "--samples", 5, "--features", "alexnet", "--out", tmp_path / "out"
    )
    assert "training.samples is 4; a linear samples nothing" in refused(
        "train", experiment, "--run-dir", tmp_path / "other", "--training.samples", 4
    )


def test_a_checkpoint_of_no_system_is_refused() -> None:
    values = LinearConfig().to_dict()
    assert systems.read_config(json.loads(json.dumps(values))) == LinearConfig()
    known = "DCTransformer, VQ-VAE, VQ-GAN, window transformer, SUNDAE, DQ-VAE, DQ-Transformer, linear"
    with pytest.raises(ValueError, match=f"the configuration's system is 'other'; known are {known}"):
        systems.read_config(values | {"system": "other"})
    with pytest.raises(ValueError, match="the configuration's top is list"):
        systems.read_config([])


EARLIER = """
from dataclasses import replace

from dct_jax import Config, DCTCodec
from dct_jax.config import DataConfig, ModelConfig, TrainingConfig
from dct_jax.experiment import PAPER_MODEL, PAPER_TRAINING, load_experiment

DEBUG = load_experiment("debug")
CONFIG = Config(
    codec=DCTCodec(block_size=8, quality=20),
    data=DataConfig(image_size=(32, 32)),
    model=replace(PAPER_MODEL, width=28),
    training=replace(PAPER_TRAINING, batch_size=DEBUG.training.batch_size),
    seed=3,
)
assert isinstance(CONFIG.model, ModelConfig) and isinstance(CONFIG.training, TrainingConfig)
"""


def test_experiment_files_of_earlier_versions_load(tmp_path: Path) -> None:
    """They say Config and ModelConfig of dct_jax.config: DCTransformer was the only system."""
    (tmp_path / "mine.py").write_text(EARLIER)
    config = load_experiment(str(tmp_path / "mine.py"))
    assert isinstance(config, DCTConfig)
    assert (config.codec.quality, config.model.width, config.training.batch_size, config.seed) == (20, 28, 8, 3)


def test_a_run_of_an_earlier_version_loads_and_goes_on(debug_run: Path, tmp_path: Path) -> None:
    """Its checkpoints name neither the system nor the score, and say otherwise what the log has not
    said yet."""
    run = tmp_path / "run"
    shutil.copytree(debug_run, run)
    checkpoints = Checkpoints(run / "checkpoints")
    whole = dct_jax.load(run / "checkpoints" / "20")
    shutil.rmtree(checkpoints.path(20))
    folder = checkpoints.path(10)
    config = json.loads((folder / "config" / "metadata").read_text())
    del config["system"]
    (folder / "config" / "metadata").write_text(json.dumps(config))
    (folder / "metrics" / "score").unlink()
    pending = {"nats": [1.0, 2.0, 3.0], "elements": 7.0, "gradient_norms": [1.0]}
    (folder / "pending" / "metadata").write_text(json.dumps(pending))
    (folder / MANIFEST).unlink()
    write_manifest(folder)
    assert dct_jax.load(run).config == whole.config
    assert (checkpoints.best(), main(["train", "debug", "--run-dir", str(run)])) == (10, 0)
    jax.tree.map(np.testing.assert_array_equal, dct_jax.load(run / "checkpoints" / "20").variables, whole.variables)
