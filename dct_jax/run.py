"""Runs, one call each: `train` makes one, `load` takes the model out of one."""

import logging
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax

from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.config import RunConfig, with_fields
from dct_jax.distributed.parallel import in_turn
from dct_jax.experiment import load_experiment
from dct_jax.published import is_checkpoint, locate
from dct_jax.published.weights_file import read_weights
from dct_jax.storage.mirror import CHECKPOINTS, Mirror, is_url
from dct_jax.systems import read_config
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.run_folder import lock_folder
from dct_jax.training.stage import Trained

log = logging.getLogger(__name__)


def train(experiment: str | RunConfig, folder: str | Path, **fields: Any) -> Trained:
    """Trains a run, or goes on with it, and returns the model of its best checkpoint.

    Args:
        experiment: the name of an experiment, the path of its file, or a configuration.
        folder: of the run, also gs://... and s3://...
        fields: other values of fields, as in `train("fashion", "runs/a", steps=500)`. Where several
            groups have a name, `data` and `training` come first; a path names any, as in
            `**{"unroll.steps": 8}`.

    Raises:
        ValueError: if there is no such experiment or field, if a name means several fields, or as
            `training.loop.train`.
        FloatingPointError: if a loss is not finite.
        KeyboardInterrupt: if a signal stops the run; the same call goes on from there.
    """
    config = experiment if isinstance(experiment, RunConfig) else load_experiment(experiment)
    outcome = train_at(with_fields(config, fields), folder)
    if outcome.signal:
        raise KeyboardInterrupt(f"{outcome.signal} stopped the run after step {outcome.step}")
    return load(folder)


def train_at(config: RunConfig, run: str | Path, latest_whole: bool = False, signals: list[str] | None = None) -> loop.Outcome:
    """Trains in a folder, or at a URL: a folder on this disk is then copied there after each
    checkpoint. All processes of a run call this; see `training.loop.train` for the rest."""
    mirror = Mirror(str(run), f"training-{jax.process_index()}") if is_url(run) else None
    with lock_folder(mirror.folder) if mirror else nullcontext():  # before the copy changes, until it is copied
        if mirror:
            in_turn(mirror.start)
            if latest_whole and jax.process_index():  # this copy is not the one that process 0 trains in
                Checkpoints(mirror.folder / CHECKPOINTS).set_damaged_aside()
        folder = mirror.folder if mirror else Path(run)
        config, given = config.complete(partial(_load_inner, folder / CHECKPOINTS))
        push, is_locked = (mirror.push, True) if mirror else (None, False)
        outcome = loop.train(config, folder, None, push, latest_whole, signals, given, is_locked)
        if mirror and jax.process_index() == 0:
            mirror.finish()
        return outcome


def load(run: str | Path, dtype: str | None = None) -> Trained:
    """Loads a run's best checkpoint, one checkpoint, a file of `export`, or a published model.

    Args:
        run: the folder, RUN/checkpoints/STEP, the file, or the name; see `published.locate`.
        dtype: as of `Trained.with_dtype`; by default float32, with activations as in training.

    Raises:
        ValueError: if there is no such model, or it cannot be read.
    """
    path = locate(run)
    if is_checkpoint(path):
        model = _from_checkpoint(Checkpoints(path.parent), int(path.name))
    else:
        model = _from_run(path / CHECKPOINTS) if path.is_dir() else _from_file(path)
    return model if dtype is None else model.with_dtype(dtype)


def _load_inner(folder: Path, run: str) -> Trained:
    """Loads the model that a run builds on. Where it is no more, the run goes on with the one
    inside its own checkpoints, if it has any. Raises ValueError as `load`."""
    try:
        return load(run)
    except ValueError as error:
        checkpoints = Checkpoints(folder)
        for step in reversed(checkpoints.steps()):
            with suppress(ValueError):  # a damaged one, of which training speaks
                model = _from_checkpoint(checkpoints, step)
                if isinstance(model, TrainedCodePrior) and (inner := model.inner()):
                    log.warning("%s; the run goes on with the autoencoder in %s", error, checkpoints.path(step))
                    return inner
        raise


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
