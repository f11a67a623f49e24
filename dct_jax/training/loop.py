"""The training run: data in, checkpoints and metrics out, and the same command again goes on where it stopped."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dct_jax.config import RunConfig, TrainingConfig
from dct_jax.data.pipeline import Shard, read_held_out, training_batches, training_sizes
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Source, check_classes, open_sources
from dct_jax.distributed.parallel import all_devices, any_process, parallel, place, replicate
from dct_jax.evaluation.judge import Judge
from dct_jax.evaluation.prior import Prior
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.report import Report
from dct_jax.training.run_folder import check_same_run, locked
from dct_jax.training.signals import stop_signals
from dct_jax.training.stage import Stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        stage: what was trained.
        step: steps taken in all.
        signal: the name of the signal that stopped it, or None if the run is complete.
        evaluation: the stage's numbers about held-out pictures, of the best checkpoint, and what was asked of samples; None if
            there was no evaluation.
        held_out: what was evaluated, as the stage's reader has it.
        skipped: how many pictures could not be used, in words, for training pictures and held-out ones; empty if all could.
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
    saved: Callable[[], None] | None = None,
    latest_whole: bool = False,
    stopped: list[str] | None = None,
) -> Outcome:
    """Trains to the end, or until SIGTERM or SIGINT; goes on from the folder's latest checkpoint if it has one.

    If the run has several processes (`processes.joined`), all of them call this. Each makes its share of every batch; process 0
    reports.

    Args:
        config: of the run.
        folder: for checkpoints/, metrics.jsonl and TensorBoard events; the same one for all processes.
        devices: to train on, of all processes; all that there are by default.
        saved: is called after each checkpoint, by the process that wrote it.
        latest_whole: sets damaged checkpoints aside and goes on from the latest that is whole.
        stopped: the list of `signals.stop_signals`, if the caller has it open already.

    Raises:
        ValueError: if the folder holds a run of another configuration, is in training already or cannot be written, if its
            latest checkpoint is damaged, if the data cannot be used, or if the devices do not divide the batch.
        FloatingPointError: if a loss or a gradient is not finite; the folder keeps the last good checkpoint.
    """
    devices = devices or all_devices()
    _check_batch(config.training, len(devices))
    stage = config.build()
    data = _open_data(stage)  # before anything is written
    lock = nullcontext() if jax.process_index() else locked(folder)
    with nullcontext(stopped) if stopped is not None else stop_signals() as signals, lock:
        return _train(stage, folder, data, devices, saved, latest_whole, signals)


def _train(
    stage: Stage,
    folder: Path,
    data: "_Data",
    devices: Sequence[jax.Device],
    saved: Callable[[], None] | None,
    latest_whole: bool,
    stopped: list[str],
) -> Outcome:
    """As `train`, in a folder that nobody else trains in."""
    config, training, skipped = stage.config, data.training, data.skipped
    shard = Shard(jax.process_index(), jax.process_count())
    writes = shard.index == 0
    any_stopped = any_process(devices)
    checkpoints = Checkpoints(folder / "checkpoints")
    if latest_whole and writes:
        for moved in checkpoints.set_damaged_aside():
            log.warning("a damaged checkpoint is set aside: %s", moved)
    bool(any_stopped(False))  # the others wait for that
    if (latest := checkpoints.latest()) is not None:
        checkpoints.check(latest)
        check_same_run(folder, checkpoints.config(latest, type(config).from_dict), config)
        state, sizes = checkpoints.restore(latest, jax.eval_shape(stage.init)), checkpoints.sizes(latest)
    else:
        state, sizes = stage.init(), training_sizes(training, config.data)
    done = int(state.step)
    state = replicate(state, devices)
    step = parallel(stage.step, devices, donate_first=True)

    def evaluate() -> dict[str, float]:
        try:
            numbers = stage.evaluate(state.variables, data.held_out, devices)
        except FloatingPointError as error:
            raise FloatingPointError(f"step {done}: {error}") from None
        if data.judge:
            model = stage.trained(jax.device_get(state.variables), sizes, training.classes)
            numbers = numbers | data.judge(model)
        return numbers

    def save(evaluation: dict[str, float] | None) -> None:
        report.flush()  # what a checkpoint follows from is never missing
        if writes:
            checkpoints.save(state, sizes, config, evaluation, training.classes, report.pending, stage.best)
            if saved:
                saved()
        bool(any_stopped(False))  # the others wait for that

    report = Report(stage, folder, done, silent=not writes, pending=checkpoints.pending(latest) if latest is not None else None)
    if done < config.training.steps:
        parameters = sum(x.size for x in jax.tree.leaves(state.variables))
        where = f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}"
        report.say(f"{parameters:,} parameters, {len(training)} pictures, {where}; compiling takes a moment")
    batches = training_batches(training, config, skipped[0], done, shard)
    try:
        asked = any_stopped(bool(stopped))
        stopping = bool(asked)
        ahead = place(next(batches), devices) if done < config.training.steps and not stopping else None
        while done < config.training.steps and not stopping:
            batch, before = ahead, asked
            state, metrics = step(state, batch)
            asked = any_stopped(bool(stopped))
            done += 1
            if done < config.training.steps:
                ahead = place(next(batches), devices)  # while the devices work
            report.step(done, metrics)
            # What was asked one step ago: all processes have the same answer, and no device has to wait for it.
            stopping = bool(before)
            due = done == config.training.steps or done % config.training.evaluate_every == 0
            if due or stopping or done % config.training.checkpoint_every == 0:
                report.catch_up()  # nothing is saved before its loss is known to be finite
                evaluation = evaluate() if due else None
                if evaluation:
                    report.evaluation(done, evaluation)
                save(evaluation)
        return Outcome(
            stage=stage,
            step=done,
            signal=(stopped or ["SIGTERM"])[0] if done < config.training.steps else None,
            evaluation=checkpoints.metrics(best) if (best := checkpoints.best()) is not None else None,
            held_out=data.held_out,
            skipped=[one.summary() for one in skipped if len(one)],
        )
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; {checkpoints.kept()}. Try a lower training.learning_rate.") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ValueError(f"{where}{error.strerror or error}; {checkpoints.kept()}") from None
    finally:
        batches.close()
        report.close()


class _Data(NamedTuple):
    """What a run works with: pictures to train on, those that could not be used of them and of those that are held out, what
    the reader made of the latter, and the judge of samples."""

    training: Source
    skipped: tuple[Skipped, Skipped]
    held_out: Any
    judge: Judge | None


def _open_data(stage: Stage) -> _Data:
    config = stage.config
    training, held_out = open_sources(config.data)
    check_classes(config.reader().num_classes, training, held_out)
    skipped = Skipped(len(training), config.data.max_skipped), Skipped(len(held_out), config.data.max_skipped)
    if config.training.samples and not isinstance(stage.trained(None, (), ()), Prior):
        raise ValueError(f"training.samples is {config.training.samples}; a {config.system} samples nothing, so it must be 0")
    judged = config.training.samples and jax.process_index() == 0
    judge = Judge(training, config) if judged else None
    return _Data(training, skipped, read_held_out(held_out, config, skipped[1]), judge)


def _check_batch(training: TrainingConfig, num_devices: int) -> None:
    if training.batch_size % (num_devices * training.accumulate):
        raise ValueError(
            f"training.batch_size is {training.batch_size}; it must be a multiple of the {num_devices} devices"
            + (f" times training.accumulate, {training.accumulate}" if training.accumulate > 1 else "")
        )
