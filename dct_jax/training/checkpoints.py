"""Checkpoints of a run: parameters, optimiser, the pictures' sizes and the configuration, written by Orbax."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from dct_jax.config import Config
from dct_jax.training.step import TrainState

METRIC = "bits_per_pixel"

Sizes = Sequence[tuple[int, int, int]]
"""Which sizes the pictures have, and how often: (H, W, count), in pixels."""


class Checkpoints:
    """The checkpoints below a folder: the latest few, and the best by held-out bits per pixel.

    Each is a folder named by its step with the items params, optimizer, sizes and classes (of the training pictures) and
    config. The position of the input is the step. Orbax writes to a temporary name and renames, so a checkpoint that exists
    is whole. If a run has several processes, all of them must call each method.
    """

    def __init__(self, folder: str | Path, keep: int | None = None) -> None:
        """Args: the folder, and how many of the latest to keep; None to read only."""
        policies = [
            preservation_policy.LatestN(n=keep),
            preservation_policy.BestN(
                get_metric_fn=lambda metrics: metrics[METRIC], reverse=True, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            best_fn=lambda metrics: metrics[METRIC],
            best_mode="min",
            create=keep is not None,
            read_only=keep is None,
            cleanup_tmp_directories=keep is not None,
            # Checkpoints are small beside the steps between them, and a run that is told to stop must not lose one.
            enable_async_checkpointing=False,
        )
        self.folder = Path(folder).absolute()
        trees, texts = ("params", "optimizer"), ("sizes", "classes", "config")
        handlers = {name: ocp.StandardCheckpointHandler() for name in trees} | {
            name: ocp.JsonCheckpointHandler() for name in texts
        }
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def latest(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the best evaluated checkpoint, else of the latest, or None."""
        try:
            best = self._manager.best_step()
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self.folder}: the metrics of a checkpoint cannot be read; remove that checkpoint") from None
        return self.latest() if best is None else best

    def metrics(self, step: int) -> dict[str, float] | None:
        """What `save` was told of that checkpoint's evaluation."""
        return self._manager.metrics(step)

    def save(
        self,
        state: TrainState,
        sizes: Sizes,
        config: Config,
        metrics: dict[str, float] | None,
        classes: Sequence[str] = (),
    ) -> None:
        """Writes a checkpoint, unless that step has one.

        Args:
            state: of the run; with several processes as `parallel.as_one` gives it.
            sizes: of the training pictures.
            config: of the run.
            metrics: of the evaluation at this step, if there was one; must have "bits_per_pixel".
            classes: the names of the training pictures' classes, if they have any.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            optimizer=ocp.args.StandardSave(state.optimizer),
            sizes=ocp.args.JsonSave(sizes),
            classes=ocp.args.JsonSave(list(classes)),
            config=ocp.args.JsonSave(config.to_dict()),
        )
        self._manager.save(step, args=items, metrics=metrics)

    def config(self, step: int) -> Config:
        """The configuration in a checkpoint.

        Raises:
            ValueError: if it cannot be read.
        """
        try:
            item = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
            return Config.from_dict(item["config"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / str(step)}: this checkpoint has no readable configuration ({error})") from None

    def params(self, step: int, like: Any) -> Any:
        """The parameters alone. `like` gives their shapes and types.

        Raises:
            ValueError: if the checkpoint holds other shapes.
        """
        return self._restore(step, params=ocp.args.StandardRestore(_here(like)))["params"]

    def sizes(self, step: int) -> Sizes:
        """The sizes of the training pictures.

        Raises:
            ValueError: if they cannot be read.
        """
        try:
            sizes = self._manager.restore(step, args=ocp.args.Composite(sizes=ocp.args.JsonRestore()))["sizes"]
            if not (isinstance(sizes, list) and sizes and all(len(x) == 3 and min(map(operator.index, x)) > 0 for x in sizes)):
                raise ValueError("it must be a list of (height, width, count)")
            return tuple(map(tuple, sizes))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / str(step)}: this checkpoint has no readable sizes ({error})") from None

    def classes(self, step: int) -> tuple[str, ...]:
        """The names of the training pictures' classes, by label; empty if they have none, or the checkpoint is older.

        Raises:
            ValueError: if they cannot be read.
        """
        if not (self.folder / str(step) / "classes").exists():
            return ()
        try:
            classes = self._manager.restore(step, args=ocp.args.Composite(classes=ocp.args.JsonRestore()))["classes"]
            if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
                raise ValueError("it must be a list of names")
            return tuple(classes)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / str(step)}: this checkpoint has no readable classes ({error})") from None

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of the run, on one device. `like` gives shapes and types.

        Raises:
            ValueError: if the checkpoint holds other shapes.
        """
        items = self._restore(
            step,
            params=ocp.args.StandardRestore(_here(like.params)),
            optimizer=ocp.args.StandardRestore(_here(like.optimizer)),
        )
        return TrainState(jnp.int32(step), items["params"], items["optimizer"])

    def close(self) -> None:
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            # Orbax cuts or pads arrays of another shape, so the shapes are compared first.
            metadata = self._manager.item_metadata(step)
            for name, item in items.items():
                if isinstance(item, ocp.args.StandardRestore):
                    _check_shapes(name, metadata[name], item.item)
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (OSError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(f"{self.folder / str(step)}: this checkpoint does not fit its configuration ({reason})") from None


def _here(like: Any) -> Any:
    """The shapes and types on a device of this process: the run may have had devices that this machine lacks."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)


def _check_shapes(name: str, saved: Any, like: Any) -> None:
    """Raises ValueError, naming the array, unless both trees have the same arrays with the same shapes."""
    ours, theirs = (
        {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (like, saved))
    )
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise ValueError(f"{name}.{key} has shape {theirs.get(key)}, the configuration needs {ours.get(key)}")
