"""The training run: data in, checkpoints and metrics out, and the same command again goes on where it stopped."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.config import Config, DataConfig, TrainingConfig
from dct_jax.data.pipeline import Shard, example_batch, held_out_lists, training_batches, training_sizes
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import NO_LABEL, Source, hold_out, open_source
from dct_jax.dct.likelihood import bits_per_pixel, list_log_prob
from dct_jax.dct.network import network
from dct_jax.distributed.parallel import all_devices, any_process, parallel, place, replicate
from dct_jax.training.checkpoints import METRIC, Checkpoints, Sizes
from dct_jax.training.report import Report
from dct_jax.training.run_folder import check_same_run, locked
from dct_jax.training.signals import stop_signals
from dct_jax.training.step import init_state, make_optimizer, train_step

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        step: steps taken in all.
        signal: the name of the signal that stopped it, or None if the run is complete.
        evaluation: of the best checkpoint on held-out pictures: "bits_per_pixel", nats per triple by symbol, and what was
            asked of samples; None if there was none.
        held_out: the lists that were evaluated.
        skipped: how many pictures could not be used, in words, for training pictures and held-out ones; empty if all could.
    """

    step: int
    signal: str | None
    evaluation: dict[str, float] | None
    held_out: list[SparseDCT]
    skipped: list[str]


def train(
    config: Config,
    folder: Path,
    devices: Sequence[jax.Device] | None = None,
    judge: Callable[[Any, Sizes], dict[str, float]] | None = None,
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
        judge: is given the parameters and the pictures' sizes at each evaluation; its numbers are logged with the bits.
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
    data = _open_data(config)  # before anything is written
    lock = nullcontext() if jax.process_index() else locked(folder)
    with nullcontext(stopped) if stopped is not None else stop_signals() as signals, lock:
        return _train(config, folder, data, devices, judge, saved, latest_whole, signals)


def _train(
    config: Config,
    folder: Path,
    data: "_Data",
    devices: Sequence[jax.Device],
    judge: Callable[[Any, Sizes], dict[str, float]] | None,
    saved: Callable[[], None] | None,
    latest_whole: bool,
    stopped: list[str],
) -> Outcome:
    """As `train`, in a folder that nobody else trains in."""
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
        check_same_run(folder, checkpoints.config(latest), config)

    training, skipped, lists, labels = data
    model, optimizer = network(config), make_optimizer(config.training)
    init = partial(init_state, model, optimizer, example_batch(config), config.seed)
    if latest is not None:
        state, sizes = checkpoints.restore(latest, jax.eval_shape(init)), checkpoints.sizes(latest)
    else:
        state, sizes = init(), training_sizes(training, config)
    done = int(state.step)
    state = replicate(state, devices)
    program = partial(train_step, model, optimizer, seed=config.seed, accumulate=config.training.accumulate)
    step = parallel(program, devices, donate_first=True)

    def evaluate() -> dict[str, float]:
        at_a_time = config.training.batch_size // config.training.accumulate
        nats = list_log_prob(model, state.params, lists, labels, at_a_time, devices)
        elements = sum(len(sparse) + 1 for sparse in lists)
        by_symbol = {name: -float(x.sum()) / elements for name, x in nats._asdict().items()}
        for name, number in by_symbol.items():
            if not math.isfinite(number):
                raise FloatingPointError(f"step {done}: the held-out loss of the {name} is {number}")
        of_samples = judge(jax.device_get(state.params), sizes) if judge else {}
        return {METRIC: bits_per_pixel(nats, lists), **by_symbol, **of_samples}

    def save(evaluation: dict[str, float] | None) -> None:
        report.flush()  # what a checkpoint follows from is never missing
        if writes:
            checkpoints.save(state, sizes, config, evaluation, training.classes, report.pending)
            if saved:
                saved()
        bool(any_stopped(False))  # the others wait for that

    pending = checkpoints.pending(latest) if latest is not None else None
    report = Report(config, folder, done, silent=not writes, pending=pending)
    if done < config.training.steps:
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
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
            step=done,
            signal=(stopped or ["SIGTERM"])[0] if done < config.training.steps else None,
            evaluation=checkpoints.metrics(best) if (best := checkpoints.best()) is not None else None,
            held_out=lists,
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


def open_sources(data: DataConfig) -> tuple[Source, Source]:
    """The pictures to train on, and those that are held out.

    Raises:
        ValueError: if there are none.
    """
    source = open_source(data.source, data.split)
    if data.held_out_split:
        # Without a split, all sources but TFDS give all that they have.
        if data.held_out_split == data.split or not (data.split or data.source.startswith("tfds:")):
            raise ValueError(
                f"data.held_out_split is {data.held_out_split!r} and data.split is {data.split!r}: held-out pictures would be "
                "trained on; name another data.split"
            )
        return source, open_source(data.source, data.held_out_split)
    return hold_out(source, data.held_out_every)


class _Data(NamedTuple):
    """What a run works with: pictures to train on, those that could not be used of them and of those that are held out, and the
    lists and labels of the latter."""

    training: Source
    skipped: tuple[Skipped, Skipped]
    lists: list[SparseDCT]
    labels: np.ndarray  # [N]


def _open_data(config: Config) -> _Data:
    training, held_out = open_sources(config.data)
    _check_classes(config, training, held_out)
    skipped = Skipped(len(training), config.data.max_skipped), Skipped(len(held_out), config.data.max_skipped)
    return _Data(training, skipped, *held_out_lists(held_out, config, skipped[1]))


def _check_batch(training: TrainingConfig, num_devices: int) -> None:
    if training.batch_size % (num_devices * training.accumulate):
        raise ValueError(
            f"training.batch_size is {training.batch_size}; it must be a multiple of the {num_devices} devices"
            + (f" times training.accumulate, {training.accumulate}" if training.accumulate > 1 else "")
        )


def _check_classes(config: Config, training: Source, held_out: Source) -> None:
    wanted, found = config.model.num_classes, len(training.classes)
    if not wanted:
        return
    numbers_alone = not found and training[0].label != NO_LABEL
    if wanted != found and not numbers_alone:
        raise ValueError(f"model.num_classes is {wanted}, but {training.name} has {found} classes")
    if held_out.classes != training.classes:
        raise ValueError(
            f"{held_out.name} has other classes than {training.name}; with model.num_classes they must be the same"
        )
