"""The training run: data in, checkpoints and metrics out; a stopped run goes on where it was."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from dct_jax.config import RunConfig, TrainingConfig
from dct_jax.data.pipeline import Shard, read_held_out, training_batches, training_sizes
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Source, check_classes, open_sources
from dct_jax.distributed.parallel import all_devices, any_process, first_replica, parallel, place, replicate
from dct_jax.evaluation.judge import Judge
from dct_jax.evaluation.prior import Prior
from dct_jax.plots import image_grid
from dct_jax.storage.mirror import CHECKPOINTS
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.report import Report
from dct_jax.training.run_folder import (
    SOURCES,
    check_same_everywhere,
    check_same_given,
    check_same_pictures,
    check_same_run,
    describe_pictures,
    lock_folder,
    note_pictures,
)
from dct_jax.training.signals import stop_signals
from dct_jax.training.stage import Stage, words
from dct_jax.training.tracking.tracker import check_installed

log = logging.getLogger(__name__)

SHOWN_SAMPLES = 4
"""Rows and columns of the grid of samples that an evaluation shows."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        stage: what was trained.
        step: steps taken in all.
        signal: the name of the signal that stopped it, or None if the run is complete.
        evaluation: the best checkpoint's numbers about held-out pictures and, if they were asked
            for, samples; None if there was no evaluation.
        held_out: the held-out pictures, as the stage's reader has them.
        skipped: how many training and held-out pictures could not be used, in words.
    """

    stage: Stage
    step: int
    signal: str | None
    evaluation: dict[str, float] | None
    held_out: Any
    skipped: list[str]


def train(
    config: RunConfig,
    folder: Path,
    devices: Sequence[jax.Device] | None = None,
    on_save: Callable[[], None] | None = None,
    latest_whole: bool = False,
    signals: list[str] | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
    is_locked: bool = False,
) -> Outcome:
    """Trains to the end, or until SIGTERM or SIGINT; goes on from the latest checkpoint, if any.

    If the run has several processes (`processes.join_processes`), all of them call this. Each makes
    its share of every batch; process 0 reports.

    Args:
        config: of the run.
        folder: for checkpoints/, metrics.jsonl, pictures/ and what `training.track` names; one for
            all processes.
        devices: to train on, of all processes; all that there are by default.
        on_save: is called after each checkpoint, by the process that wrote it.
        latest_whole: whether to set damaged checkpoints aside and go on from a whole one.
        signals: the list of `signals.stop_signals`, if the caller has it open already.
        given: collections of variables that a run begins with, in place of fresh ones; see
            `RunConfig.complete`.
        is_locked: whether the caller holds the folder's lock, `run_folder.lock_folder`.

    Raises:
        ValueError: if the folder holds a run of another configuration or of other pictures, is in
            training already, cannot be written or is not one for all processes, if its latest
            checkpoint is damaged, if the data cannot be used, if the devices do not divide the
            batch, if a field has the wrong type, or if a tracker's package is not installed.
        FloatingPointError: if a loss, a gradient or the evaluation is not finite; the last
            checkpoint is good.
    """
    config = config.read_again()
    devices = devices or all_devices()
    _check_batch(config.training, len(devices))
    check_installed(config.training.track)
    stage = config.build()
    data = _open_data(stage)  # before anything is written, as is the next line
    measured = config.calibrate(data.training) if Checkpoints(folder / CHECKPOINTS).latest() is None else None
    lock = nullcontext() if is_locked or jax.process_index() else lock_folder(folder)
    with nullcontext(signals) if signals is not None else stop_signals() as signals, lock:
        return _train(stage, folder, data, devices, on_save, latest_whole, signals, given, measured)


def _train(
    stage: Stage,
    folder: Path,
    data: "_Data",
    devices: Sequence[jax.Device],
    on_save: Callable[[], None] | None,
    latest_whole: bool,
    signals: list[str],
    given: Mapping[str, Any],
    measured: Mapping[str, Any] | None,
) -> Outcome:
    """As `train`, in a folder that nobody else trains in. `measured` is what a fresh run begins
    with; None if there were checkpoints, which may all be damaged."""
    config, training, skipped = stage.config, data.training, data.skipped
    shard = Shard(jax.process_index(), jax.process_count())
    writes = shard.index == 0
    any_stopped = any_process(devices)
    checkpoints = Checkpoints(folder / CHECKPOINTS)
    if latest_whole and writes:
        for path in checkpoints.set_damaged_aside():
            log.warning("a damaged checkpoint is set aside: %s", path)
    bool(any_stopped(False))  # the others wait for that
    described = describe_pictures(training, data.held_out_source)
    if (latest := checkpoints.latest()) is not None:
        checkpoints.check(latest)
        check_same_run(folder, checkpoints.config(latest, type(config).from_dict), config)
        state, sizes = checkpoints.restore(latest, jax.eval_shape(stage.init)), checkpoints.sizes(latest)
        check_same_given(folder, state.variables, given)
        check_same_pictures(folder, described)
    else:
        measured = config.calibrate(training) if measured is None else measured
        fresh = stage.init()
        state = fresh._replace(variables={**fresh.variables, **given, **measured})
        sizes = training_sizes(training, config.data)
    done = int(state.step)
    check_same_everywhere(done, described)
    if writes and (done == 0 or not (folder / SOURCES).exists()):
        note_pictures(folder, described)
    state = replicate(state, devices)
    step = parallel(stage.step, devices, donate_first=True)

    def evaluate() -> tuple[dict[str, float], dict[str, np.ndarray]]:
        numbers = stage.evaluate(state.variables, data.held_out, devices)
        if not math.isfinite(numbers[stage.best]):  # it would be the best for ever
            raise FloatingPointError(f"step {done}: on held-out pictures the {words(stage.best)} is {numbers[stage.best]}")
        if not writes:
            return numbers, {}
        variables = first_replica(state.variables, devices)  # until the next step, which overwrites them
        pictures = stage.pictures(variables, data.held_out)
        if data.judge:
            model = stage.trained(variables, sizes, training.classes)
            if isinstance(model, Prior):  # as `_open_data` requires
                judged, samples = data.judge(model)
                numbers |= judged
                pictures |= {"samples": image_grid(samples[: SHOWN_SAMPLES**2], SHOWN_SAMPLES)}
        return numbers, pictures

    def save(evaluation: dict[str, float] | None) -> None:
        report.flush()  # what a checkpoint follows from is never missing
        if writes:
            checkpoints.save(state, sizes, config, evaluation, training.classes, report.pending, stage.best)
            if on_save:
                on_save()
        bool(any_stopped(False))  # the others wait for that

    report = Report(stage, folder, done, silent=not writes, pending=checkpoints.pending(latest) if latest is not None else None)
    if done < config.training.steps:
        parameters = sum(x.size for x in jax.tree.leaves(state.variables["params"]))
        where = f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}"
        report.say(f"{parameters:,} parameters, {len(training)} pictures, {where}; compiling takes a moment")
    batches = training_batches(training, config, skipped[0], done, shard)
    try:
        answer = any_stopped(bool(signals))
        stopping = bool(answer)
        ahead = place(next(batches), devices) if done < config.training.steps and not stopping else None
        while done < config.training.steps and not stopping:
            batch, before = ahead, answer
            state, metrics = step(state, batch)
            answer = any_stopped(bool(signals))
            done += 1
            if done < config.training.steps:
                ahead = place(next(batches), devices)  # while the devices work
            report.step(done, metrics)
            # The answer of a step ago: all processes have it, and no device has to wait for it.
            stopping = bool(before)
            due = done == config.training.steps or done % config.training.evaluate_every == 0
            if due or stopping or done % config.training.checkpoint_every == 0:
                report.catch_up()  # nothing is saved before its loss is known to be finite
                evaluation, pictures = evaluate() if due else (None, {})
                if evaluation:
                    report.evaluation(done, evaluation, pictures)
                save(evaluation if stage.can_be_best(done) else None)
        return Outcome(
            stage=stage,
            step=done,
            signal=(signals or ["SIGTERM"])[0] if done < config.training.steps else None,
            evaluation=checkpoints.evaluation(best)[0] if (best := checkpoints.best()) is not None else None,
            held_out=data.held_out,
            skipped=[one.summary() for one in skipped if len(one)],
        )
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; {checkpoints.last_good()}. Try a lower training.learning_rate.") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ValueError(f"{where}{error.strerror or error}; {checkpoints.last_good()}") from None
    finally:
        batches.close()
        report.close()


class _Data(NamedTuple):
    """The training and the held-out pictures, the skipped ones of both, the reader's held-out
    records, and the judge of samples, if the run samples."""

    training: Source
    held_out_source: Source
    skipped: tuple[Skipped, Skipped]
    held_out: Any
    judge: Judge | None


def _open_data(stage: Stage) -> _Data:
    config = stage.config
    training, held_out = open_sources(config.data)
    check_classes(config.reader().num_classes, config.classes_field, training, held_out)
    skipped = Skipped(len(training), config.data.max_skipped), Skipped(len(held_out), config.data.max_skipped)
    if config.training.samples and not isinstance(stage.trained(None, (), ()), Prior):
        raise ValueError(f"training.samples is {config.training.samples}; a {config.system} samples nothing, so it must be 0")
    has_judge = config.training.samples and jax.process_index() == 0
    judge = Judge(training, config) if has_judge else None
    return _Data(training, held_out, skipped, read_held_out(held_out, config, skipped[1]), judge)


def _check_batch(training: TrainingConfig, num_devices: int) -> None:
    if training.batch_size % (num_devices * training.accumulate):
        raise ValueError(
            f"training.batch_size is {training.batch_size}; it must be a multiple of the {num_devices} "
            + f"device{'s' * (num_devices > 1)}"
            + (f" times training.accumulate, {training.accumulate}" if training.accumulate > 1 else "")
            + ("; or use fewer devices, as with CUDA_VISIBLE_DEVICES=0" if num_devices > 1 else "")
        )
