"""Runs, one call each: `train` makes one, `load` takes the model out of one."""

from pathlib import Path
from typing import Any

import jax

from dct_jax.config import RunConfig, with_fields
from dct_jax.experiment import load_experiment
from dct_jax.published import is_checkpoint, locate
from dct_jax.published.weights_file import read_weights
from dct_jax.systems import read_config
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.loop import train as train_run
from dct_jax.training.stage import Trained


def train(experiment: str | RunConfig, folder: str | Path, **fields: Any) -> Trained:
    """Trains a run, or goes on with it, and returns the model of its best checkpoint.

    Args:
        experiment: the name of an experiment, the path of its file, or a configuration.
        folder: of the run.
        fields: other values of the configuration's fields, as in `train("fashion", "runs/fashion", steps=500, width=64)`.

    Raises:
        ValueError: if there is no such experiment or field, or as `training.loop.train`.
        FloatingPointError: if a loss is not finite.
    """
    config = experiment if isinstance(experiment, RunConfig) else load_experiment(experiment)
    train_run(with_fields(config, fields), Path(folder))
    return load(folder)


def load(run: str | Path, dtype: str | None = None) -> Trained:
    """The best checkpoint of a run's folder, the one that is named, a file that `export` has written, or a published model.

    Args:
        run: the folder, runs/NAME/checkpoints/STEP, the file, or the name, as `dct_jax.published.locate` has it.
        dtype: as of `Trained.with_dtype`; by default the weights are float32, the activations as in training.

    Raises:
        ValueError: if there is no such model, or it cannot be read.
    """
    path = locate(run)
    if is_checkpoint(path):
        model = _from_checkpoint(Checkpoints(path.parent), int(path.name))
    else:
        model = _from_run(path / "checkpoints") if path.is_dir() else _from_file(path)
    return model if dtype is None else model.with_dtype(dtype)


def _from_run(folder: Path) -> Trained:
    checkpoints = Checkpoints(folder)
    while (step := checkpoints.best()) is not None:
        try:
            return _from_checkpoint(checkpoints, step)
        except ValueError:
            if checkpoints.exists(step):
                raise
            # A run in training has removed it meanwhile, as it has better ones.
    raise ValueError(f"{folder}: there is no checkpoint yet")


def _from_checkpoint(checkpoints: Checkpoints, step: int) -> Trained:
    checkpoints.check(step)
    stage = checkpoints.config(step, read_config).build()
    return stage.trained(checkpoints.variables(step, stage.shapes()), checkpoints.sizes(step), checkpoints.classes(step))


def _from_file(path: Path) -> Trained:
    weights = read_weights(path)
    model = weights.config.build().trained(jax.device_put(weights.variables), weights.sizes, weights.classes)
    if model.fingerprint != weights.fingerprint:
        raise ValueError(f"{path}: the weights are damaged: their fingerprint is not the one that stands in the file")
    return model
