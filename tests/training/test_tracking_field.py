"""The field training.track: as a flag, and in configurations from outside."""

import json
from typing import Any

import pytest

from dct_jax.config import RunConfig, changed_fields
from dct_jax.dct.config import DCTConfig
from tests.conftest import Refused
from tests.toys import tiny_config


@pytest.mark.parametrize(
    ("flags", "track"),
    [
        ([], ("tensorboard",)),
        (["--training.track"], ()),
        (["--training.track", "tensorboard", "mlflow"], ("tensorboard", "mlflow")),
        (["--training.track", "wandb", "--training.steps", "7"], ("wandb",)),
    ],
)
def test_the_flag_takes_names_or_none(flags: list[str], track: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    import dct_jax.run
    from dct_jax.commands import main

    told: list[RunConfig] = []

    def train_at(config: RunConfig, *_: Any) -> None:
        told.append(config)
        raise ValueError

    monkeypatch.setattr(dct_jax.run, "train_at", train_at)
    assert main(["train", "debug", "--training.warmup-steps", "1", *flags]) == 2
    assert told[0].training.track == track


def test_names_that_are_wrong_or_repeated_are_refused(refused: Refused) -> None:
    said = refused("train", "debug", "--training.track", "mlflow", "mlflow")
    assert "training.track is ('mlflow', 'mlflow'); it must be any of tensorboard, mlflow and wandb, each at most once" in said
    assert "tensorboard, mlflow, wandb" in refused("train", "debug", "--training.track", "comet")


@pytest.mark.parametrize("track", [["comet"], ["mlflow", 1], "mlflow", None, [["mlflow"]], ["mlflow", "mlflow"]], ids=repr)
def test_a_configuration_from_outside_is_checked(track: Any) -> None:
    values = json.loads(json.dumps(tiny_config().to_dict()))
    values["training"]["track"] = ["mlflow", "wandb"]
    assert DCTConfig.from_dict(values).training.track == ("mlflow", "wandb")
    values["training"]["track"] = track
    with pytest.raises(ValueError, match=r"training.track is "):
        DCTConfig.from_dict(values)


def test_a_run_may_go_on_with_other_trackers_and_older_runs_had_tensorboard() -> None:
    values = tiny_config().to_dict()
    del values["training"]["track"]
    assert DCTConfig.from_dict(values).training.track == ("tensorboard",)
    before, now = (tiny_config(track=track) for track in (("tensorboard",), ("wandb",)))
    assert before != now and changed_fields(before, now) == []
