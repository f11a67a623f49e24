"""Checkpoints of a run: variables, optimiser, sizes and configuration. Orbax writes the arrays.

A checkpoint is a folder named by its step. Its manifest is written last and removed first, so a
folder without one is not a checkpoint: it was not finished, or is being removed.
"""

import errno
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from dct_jax.config import RunConfig, read_sizes
from dct_jax.storage.manifest import MANIFEST, find_damage, write_manifest
from dct_jax.tables import first_line
from dct_jax.training.stage import Sizes, TrainState

log = logging.getLogger(__name__)

Configuration = TypeVar("Configuration", bound=RunConfig)

SCORE_BEFORE = "bits_per_pixel"
"""What the checkpoints of earlier versions, which name no score, are compared by."""

DAMAGED = ".damaged"
"""Ends the name of a folder that was a checkpoint, and is kept for people to look at."""

OLDER = "_CHECKPOINT_METADATA"
"""A file in checkpoints of earlier versions: they have today's layout, but no manifest."""

LARGEST_TEXT = 2**24
"""Bytes of a configuration, sizes, classes or metrics."""

VARIABLES = "params"
"""The name of the tree of variables: once these were parameters alone."""


class Checkpoints:
    """The checkpoints below a folder: the latest few, and the best on held-out pictures.

    Each has the trees of variables and of the optimiser, and the texts config, sizes and classes
    (of the training pictures). If it was evaluated, it has metrics and the name of its score. The
    position of the input is the step. Each process of a run may read; one writes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    def steps(self) -> list[int]:
        """The steps of the checkpoints, in order."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):  # the latter for a folder below a file
            return []
        return sorted(int(name) for name in names if name.isdecimal() and self.exists(int(name)))

    def exists(self, step: int) -> bool:
        """Whether there is a checkpoint at this step, in whatever state."""
        folder = self.path(step)
        return (folder / MANIFEST).exists() or (folder / OLDER).exists()

    def path(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.folder / str(step)

    def latest(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return max(self.steps(), default=None)

    def best(self, among: Iterable[int] | None = None) -> int | None:
        """The step of the checkpoint with the best finite score, else of the latest, or None.

        Args:
            among: the steps to compare; all by default.

        Raises:
            ValueError: if the metrics of one cannot be read.
        """
        steps = self.steps() if among is None else sorted(among)
        scores = {step: self.evaluation(step)[1] for step in steps}
        evaluated = {step: score for step, score in scores.items() if math.isfinite(score)}
        return min(evaluated, key=evaluated.__getitem__, default=max(steps, default=None))

    def check(self, step: int) -> None:
        """Compares all bytes of a checkpoint with its manifest; warns if there is none.

        Raises:
            ValueError: if it is not as it was written; the message names the file and a whole
                checkpoint.
        """
        if (self.path(step) / OLDER).exists():
            log.warning("%s is from a version without checksums: damage in its arrays is not noticed.", self.path(step))
        if damage := self._damage(step):
            raise ValueError(f"{damage}: this checkpoint is damaged; {self._others(step)}")

    def evaluation(self, step: int) -> tuple[dict[str, float] | None, float]:
        """Returns the metrics that `save` was told, and the one that checkpoints are compared by;
        None and NaN if there are none, or a run in training removes the checkpoint meanwhile.

        Raises:
            ValueError: if they cannot be read.
        """
        try:
            return self._metrics(step)
        except ValueError as error:
            if not self.exists(step):
                return None, math.nan
            raise ValueError(f"{error}: this checkpoint is damaged; {self._others(step)}") from None

    def save(
        self,
        state: TrainState,
        sizes: Sizes,
        config: RunConfig,
        metrics: dict[str, float] | None,
        classes: Sequence[str] = (),
        pending: Mapping[str, Any] | None = None,
        score: str = SCORE_BEFORE,
    ) -> None:
        """Writes a checkpoint, unless the step has one; removes those beyond `training.keep`.

        Args:
            state: of the run, in the memory of this process.
            sizes: of the training pictures.
            config: of the run.
            metrics: of the evaluation at this step, if there was one.
            classes: the names of the training pictures' classes, if they have any.
            pending: what the log has not said yet, `Report.pending`.
            score: the metric that checkpoints are compared by; lower is better.

        Raises:
            ValueError: if it cannot be written; nothing of it is left.
        """
        step = int(state.step)
        if self.exists(step):
            return
        folder = self.path(step)
        self._remove(step)  # what a crash left
        texts = {"sizes": sizes, "classes": list(classes), "config": config.to_dict(), "pending": pending or {}}
        trees = {VARIABLES: state.variables, "optimizer": state.optimizer}
        try:
            _check_space(self.folder, sum(x.nbytes for x in jax.tree.leaves(trees)))
            with _silence_threads():
                for name, tree in trees.items():
                    _write_arrays(folder / name, tree)
            for name, text in texts.items():
                _write_text(folder / name / "metadata", text)
            if metrics:
                _write_text(folder / "metrics" / "metrics", metrics)
                _write_text(folder / "metrics" / "score", score)
            write_manifest(folder)
        except Exception as error:  # Orbax raises many kinds
            self._remove(step)
            raise ValueError(f"{folder}: this checkpoint cannot be written ({first_line(error)}); {self.last_good()}") from None
        except BaseException:
            self._remove(step)
            raise
        self._rotate(config.training.keep)

    def set_damaged_aside(self) -> list[Path]:
        """Renames checkpoints that are not whole, so others can be used. Returns the new names."""
        paths = []
        for step in self.steps():
            if self._damage(step):
                paths.append(self.path(step).with_name(f"{step}{DAMAGED}"))
                shutil.rmtree(paths[-1], ignore_errors=True)
                self.path(step).rename(paths[-1])
        return paths

    def last_good(self) -> str:
        """What a run can go on from, in words."""
        latest = self.latest()
        return "no checkpoint was saved yet" if latest is None else f"the last good checkpoint is {self.path(latest)}"

    def config(self, step: int, read: Callable[[Any], Configuration]) -> Configuration:
        """The configuration in a checkpoint.

        Args:
            step: of the checkpoint.
            read: makes a configuration of what `RunConfig.to_dict` gave.

        Raises:
            ValueError: if it cannot be read, or does not fit the classes in the checkpoint.
        """
        try:
            config = read(self._text(step, "config"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path(step)}: this checkpoint has no readable configuration ({error})") from None
        try:
            config.check_classes(self.classes(step))
        except ValueError as error:
            raise ValueError(f"{self.path(step)}: this checkpoint does not fit its configuration ({error})") from None
        return config

    def variables(self, step: int, like: Any) -> Any:
        """The variables alone. `like` gives their shapes and types.

        Raises:
            ValueError: if the checkpoint holds other shapes.
        """
        return self._arrays(step, VARIABLES, like)

    def sizes(self, step: int) -> Sizes:
        """The sizes of the training pictures.

        Raises:
            ValueError: if they cannot be read.
        """
        try:
            return read_sizes(self._text(step, "sizes"))
        except ValueError as error:
            raise ValueError(f"{self.path(step)}: this checkpoint has no readable sizes ({error})") from None

    def classes(self, step: int) -> tuple[str, ...]:
        """The training pictures' class names, by label; empty if none, or if the checkpoint is old.

        Raises:
            ValueError: if they cannot be read.
        """
        if not (self.path(step) / "classes").exists():
            return ()
        try:
            classes = self._text(step, "classes")
            if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
                raise ValueError("it must be a list of names")
            return tuple(classes)
        except ValueError as error:
            raise ValueError(f"{self.path(step)}: this checkpoint has no readable classes ({error})") from None

    def pending(self, step: int) -> dict[str, Any]:
        """Returns what `save` was told of the log; empty if the checkpoint is older.

        Raises:
            ValueError: if it cannot be read.
        """
        if not (self.path(step) / "pending").exists():
            return {}
        try:
            pending = self._text(step, "pending")
            for total, count in pending.get("sums", {}).values():
                if not (math.isfinite(total) and math.isfinite(count)):
                    raise ValueError("its sums and counts must be finite")
            return pending
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{self.path(step)}: this checkpoint has no readable pending numbers ({error})") from None

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of the run, on one device. `like` gives shapes and types.

        Raises:
            ValueError: if the checkpoint holds other shapes.
        """
        variables = self.variables(step, like.variables)
        return TrainState(jnp.int32(step), variables, self._arrays(step, "optimizer", like.optimizer))

    def _metrics(self, step: int) -> tuple[dict[str, float] | None, float]:
        """As `evaluation`, but raises ValueError, naming the file alone, if it cannot be read."""
        if not (self.path(step) / "metrics").exists():
            return None, math.nan
        try:
            metrics = self._text(step, "metrics", "metrics")
            numbers = {str(name): float(number) for name, number in metrics.items()}
            if (score := self._score(step)) not in numbers:
                raise ValueError(f"it has no {score}")
            return numbers, numbers[score]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{self.path(step) / 'metrics' / 'metrics'} cannot be read ({error})") from None

    def _score(self, step: int) -> str:
        """Which of the metrics a checkpoint is compared by."""
        has_name = (self.path(step) / "metrics" / "score").exists()
        return self._text(step, "metrics", "score") if has_name else SCORE_BEFORE

    def _damage(self, step: int, thorough: bool = True) -> str | None:
        """What is wrong with a checkpoint, in words; None if nothing is, as far as can be told."""
        if (self.path(step) / MANIFEST).exists() and (damage := find_damage(self.path(step), thorough)):
            return damage
        try:
            self._metrics(step)
        except ValueError as error:
            return str(error)
        return None

    def _text(self, step: int, item: str, file: str = "metadata") -> Any:
        """The JSON of an item. Raises ValueError if it cannot be read."""
        try:
            with (self.path(step) / item / file).open("rb") as opened:
                return json.loads(opened.read(LARGEST_TEXT))
        except OSError as error:
            raise ValueError(error.strerror) from None
        except RecursionError:
            raise ValueError("its JSON is nested too deeply") from None

    def _arrays(self, step: int, item: str, like: Any) -> Any:
        """Reads arrays onto a device of this process; the run's devices may not be here."""
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
        try:
            handler = _arrays_handler()
            # Orbax cuts or pads arrays of another shape, so the shapes are compared first.
            _check_shapes(item, handler.metadata(self.path(step) / item), like)
            return handler.restore(self.path(step) / item, args=ocp.args.StandardRestore(like))
        except Exception as error:  # Orbax raises many kinds, also plain Exception
            raise ValueError(
                f"{self.path(step)}: this checkpoint does not fit its configuration ({first_line(error)})"
            ) from None

    def _others(self, step: int) -> str:
        """What to take in place of a damaged checkpoint, in words."""
        best = self.best(other for other in self.steps() if other != step and not self._damage(other))
        if best is None:
            return "there is no other that is whole"
        return f"{self.path(best)} is whole: name it in place of the run, or train with --latest-whole"

    def _rotate(self, keep: int) -> None:
        """Removes all but the best and the latest `keep`, and what was not finished."""
        steps = self.steps()
        unclear = {step for step in steps if self._damage(step, thorough=False)}
        kept = {*steps[-keep:], *unclear, self.best(set(steps) - unclear)}
        for path in self.folder.iterdir():
            if path.name.isdecimal() and int(path.name) not in kept:
                self._remove(int(path.name))

    def _remove(self, step: int) -> None:
        for mark in (MANIFEST, OLDER):
            (self.path(step) / mark).unlink(missing_ok=True)
        shutil.rmtree(self.path(step), ignore_errors=True)


def _arrays_handler() -> ocp.StandardCheckpointHandler:
    """Orbax's reader and writer of a tree, for this process alone."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}")
    return ocp.StandardCheckpointHandler(multiprocessing_options=alone)


def _check_space(folder: Path, size: int) -> None:
    """Raises OSError unless there is room for `size` bytes of arrays. What TensorStore does on a
    full disk cannot be foreseen."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < size + size // 8 + 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _silence_threads() -> Iterator[None]:
    """Silences the threads of Orbax and TensorStore, which print dozens of tracebacks of one
    failure; the exception that reaches us says it, too. After a failure they stay silent: more
    tracebacks are to come."""
    hook, orbax = sys.unraisablehook, logging.getLogger("absl")
    level = orbax.level
    sys.unraisablehook = lambda _: None
    orbax.setLevel(logging.CRITICAL)
    yield
    sys.unraisablehook = hook
    orbax.setLevel(level)


def _write_arrays(folder: Path, tree: Any) -> None:
    folder.mkdir(parents=True)
    handler = _arrays_handler()
    handler.save(folder, args=ocp.args.StandardSave(jax.device_get(tree)))
    handler.finalize(folder)


def _write_text(path: Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))


def _check_shapes(name: str, saved: Any, like: Any) -> None:
    """Raises ValueError, naming the array, unless both trees have equal names and shapes."""
    ours, theirs = (
        {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (like, saved))
    )
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise ValueError(f"{name}.{key} has shape {theirs.get(key)}, the configuration needs {ours.get(key)}")
