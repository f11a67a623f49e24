"""The training run: data in, checkpoints and metrics out, and the same command again goes on where it stopped."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from dct_jax.codec import SparseDCT
from dct_jax.config import Config
from dct_jax.data.pipeline import held_out_lists, training_batches
from dct_jax.data.sources import Pictures, open_source
from dct_jax.evaluation.likelihood import bits_per_pixel, list_log_prob
from dct_jax.model import DCTransformer
from dct_jax.training.checkpoints import METRIC, Checkpoints
from dct_jax.training.parallel import parallel_train_step, replicate, spread
from dct_jax.training.report import Report
from dct_jax.training.step import init_state, make_optimizer


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        step: steps taken in all.
        signal: the name of the signal that stopped it, or None if the run is complete.
        evaluation: of the best checkpoint on held-out pictures: "bits_per_pixel", and nats per triple by symbol; None if
            there was none.
        held_out: the lists that were evaluated.
        skipped: pictures that could not be used.
    """

    step: int
    signal: str | None
    evaluation: dict[str, float] | None
    held_out: list[SparseDCT]
    skipped: int


def train(config: Config, folder: Path, devices: list[jax.Device] | None = None) -> Outcome:
    """Trains to the end, or until SIGTERM or SIGINT; goes on from the folder's latest checkpoint if it has one.

    Args:
        config: of the run.
        folder: for checkpoints/, metrics.jsonl and TensorBoard events.
        devices: to train on; all local ones by default.

    Raises:
        ValueError: if the folder holds a run of another configuration or cannot be written, if the data cannot be used, or
            if the devices do not divide the batch.
        FloatingPointError: if a loss or a gradient is not finite; the folder keeps the last good checkpoint.
    """
    devices = devices or jax.local_devices()
    training_pictures, held_out_pictures = open_source(config.data.source).split(config.data.held_out_every)
    _check_classes(config, training_pictures)
    lists, labels = held_out_lists(held_out_pictures, config)
    batches = iter(training_batches(training_pictures, config))

    model = DCTransformer(config.codec.vocabulary(config.data.image_size), config.model)
    optimizer = make_optimizer(config.training)
    position = batches.get_state()
    example = next(batches)
    spread(example, len(devices))  # refuses a batch that the devices do not divide
    batches.set_state(position)

    checkpoints = open_run(config, folder)
    state = init_state(model, optimizer, example, config.seed)
    if (latest := checkpoints.latest()) is not None:
        state, position = checkpoints.restore(latest, state)
        batches.set_state(position)
    state = replicate(state, devices)
    step = parallel_train_step(model, optimizer, config.seed, devices)

    def evaluate() -> dict[str, float]:
        nats = list_log_prob(model, state.params, lists, labels, max(1, config.training.batch_size // len(devices)))
        elements = sum(len(sparse) + 1 for sparse in lists)
        by_symbol = {name: -float(x.sum()) / elements for name, x in nats._asdict().items()}
        for name, number in by_symbol.items():
            if not math.isfinite(number):
                raise FloatingPointError(f"step {done}: the held-out loss of the {name} is {number}")
        return {METRIC: bits_per_pixel(nats, lists), **by_symbol}

    done = int(state.step)
    report = Report(config, folder, done)
    if done < config.training.steps:
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        where = f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}"
        report.say(f"{parameters:,} parameters, {len(training_pictures)} pictures, {where}; compiling takes a moment")
    try:
        with stop_signals() as stopped:
            while done < config.training.steps:
                state, metrics = step(state, spread(next(batches), len(devices)))
                done += 1
                report.step(done, metrics)
                stopping = bool(stopped)  # read once: a signal that comes later waits for the next step
                due = done == config.training.steps or done % config.training.evaluate_every == 0
                if due or stopping or done % config.training.checkpoint_every == 0:
                    report.catch_up()  # nothing is saved before its loss is known to be finite
                    evaluation = evaluate() if due else None
                    if evaluation:
                        report.evaluation(done, evaluation)
                    checkpoints.save(state, batches.get_state(), config, evaluation)
                if stopping:
                    break
        return Outcome(
            step=done,
            signal=stopped[0] if stopped and done < config.training.steps else None,
            evaluation=checkpoints.metrics(checkpoints.best()) if done else None,
            held_out=lists,
            skipped=len(training_pictures.skipped) + len(held_out_pictures.skipped),
        )
    except FloatingPointError as error:
        saved = checkpoints.latest()
        kept = f"the last good checkpoint is {checkpoints.folder / str(saved)}" if saved else "no checkpoint was saved yet"
        raise FloatingPointError(f"{error}; {kept}. Try a lower training.learning_rate.") from None
    finally:
        report.close()
        checkpoints.close()


def open_run(config: Config, folder: Path) -> Checkpoints:
    """The folder's checkpoints, if it can hold this run.

    Raises:
        ValueError: if it cannot be written, or holds a run of another configuration.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"the run's folder {folder} cannot be written ({error.strerror}); name another --run-dir") from None
    checkpoints = Checkpoints(folder / "checkpoints", config.training.keep)
    if (latest := checkpoints.latest()) is not None:
        theirs, ours = _flat(checkpoints.config(latest).to_dict()), _flat(config.to_dict())
        changed = [f"{name} {theirs[name]} -> {ours[name]}" for name in ours if theirs[name] != ours[name]]
        if changed:
            what = f"{folder} holds a run of another configuration ({', '.join(changed)})"
            raise ValueError(f"{what}; go on with that one or name another --run-dir")
    return checkpoints


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """While it is open, SIGTERM and SIGINT only append their name to the list. A second Ctrl-C, a second or more after the
    first signal, interrupts at once; sooner ones are the same stop, which make and schedulers send to a process twice."""
    stopped: list[str] = []
    since = 0.0

    def note(number: int, frame: Any) -> None:
        nonlocal since
        if not stopped:
            since = time.monotonic()
            stopped.append(signal.Signals(number).name)
        elif number == signal.SIGINT and time.monotonic() - since > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _check_classes(config: Config, pictures: Pictures) -> None:
    wanted, found = config.model.num_classes, len(pictures.classes)
    if wanted and wanted != found:
        raise ValueError(f"model.num_classes is {wanted}, but {config.data.source} has {found} classes (sub-folders)")
    loose = [path for path in pictures.paths if path.parent == pictures.root]
    if wanted and loose:
        raise ValueError(f"{loose[0]} has no class; with model.num_classes every picture must lie in a sub-folder")
