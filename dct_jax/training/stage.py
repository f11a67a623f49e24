"""What a run trains: the protocol of a stage, an autoencoder or a prior, and the trained model.

The loop, the checkpoints, the report and the commands know stages by this alone.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from dct_jax.config import RunConfig, meaning
from dct_jax.distributed.parallel import replicate
from dct_jax.tables import align, say_pictures

Sizes = Sequence[tuple[int, int, int]]
"""Which sizes pictures have, and how often: (H, W, count), in pixels."""


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
        step: int32 [], steps taken.
        variables: collections by name, as Flax has them: "params", and what else the stage learns.
        optimizer: the optimiser's state.
    """

    step: jax.Array
    variables: dict[str, Any]
    optimizer: optax.OptState


class Mean(NamedTuple):
    """A sum and its divisor, float32 [] each: several can be added up and divided once."""

    sum: jax.Array
    divisor: jax.Array


class Metrics(NamedTuple):
    """What a step reports of the global batch.

    Attributes:
        means: losses and what else is averaged, by name; GROUP/NAME belongs to a group of the log.
        work: how much the step has worked on, in the stage's unit, float32 [].
        gradient_norm: before clipping, float32 [].
    """

    means: dict[str, Mean]
    work: jax.Array
    gradient_norm: jax.Array


class HeldOutPictures(NamedTuple):
    """Held-out pictures that a model is evaluated on.

    Attributes:
        content: what `Reader.held_out` made of them.
        pictures: [N], which picture each is a crop of.
        name: of their source.
        is_own: whether the run itself is evaluated on them.
    """

    content: Any
    pictures: Sequence[int]
    name: str
    is_own: bool


class Findings(NamedTuple):
    """What an evaluation found out.

    Attributes:
        lines: to print.
        report: plain numbers and dictionaries, for JSON.
        figures: by the names of their files.
    """

    lines: list[str]
    report: dict[str, Any]
    figures: dict[str, Figure]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A stage's variables, with all that their use needs: what `dct_jax.load` returns.

    Attributes:
        config: of the run that made it.
        variables: the network's parameters, and what else was learned.
        sizes: which sizes the training pictures had, and how often: (H, W, count), in pixels.
        classes: their names, by label; empty if the training pictures had only numbers, or none.
    """

    config: RunConfig
    variables: Any
    sizes: Sizes
    classes: tuple[str, ...] = ()

    @cached_property
    def stage(self) -> "Stage":
        """The stage that trains it."""
        return self.config.build()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of variables and their meaning, in hexadecimal digits; equal models share it."""
        digest = hashlib.sha256(json.dumps(self._meaning(), sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            array = np.asarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path, simple=True)} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def with_dtype(self, dtype: str) -> Self:
        """Returns the model with weights in "float32" or "bfloat16". bfloat16 needs half of the
        memory and changes the numbers a little."""
        return dataclasses.replace(self, variables=jax.tree.map(lambda x: x.astype(dtype), self.variables))

    def _meaning(self) -> list[Any]:
        """What the variables compute: the system's own rooms, and the size of its pictures."""
        shared = {spec.name for spec in dataclasses.fields(RunConfig)}
        own = [spec.name for spec in dataclasses.fields(self.config) if spec.name not in shared]
        return [*(meaning(getattr(self.config, name)) for name in own), self.config.data.image_size]


class Stage(Protocol):
    """What a run trains. Its methods are pure; it holds a configuration and what follows from that.

    Attributes:
        config: of the run.
        best: the held-out number that picks the best checkpoint; lower is better.
        unit: what `Metrics.work` counts, in the plural.
    """

    config: RunConfig
    best: ClassVar[str]
    unit: ClassVar[str]

    def shapes(self) -> Any:
        """The shapes and types of the variables; nobody may change the tree."""
        return _shapes(self.config)

    def trace_shapes(self) -> Any:
        """Finds what `shapes` returns, by a trace of the network."""
        return jax.eval_shape(self.init).variables

    def init(self) -> TrainState:
        """The state before the first step."""
        ...

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """Takes a step on a device's part of the batch, under an axis "data" over the devices. What
        it returns is equal on all devices."""
        ...

    def evaluate(self, variables: Any, held_out: Any, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Returns numbers about what the reader's `held_out` made, `best` among them. The variables
        are on the devices; all processes of a run call this."""
        ...

    def can_be_best(self, step: int) -> bool:
        """Whether the checkpoint of a step may be the best one: by default, each may."""
        return True

    def pictures(self, variables: Any, held_out: Any) -> dict[str, np.ndarray]:
        """Returns pictures to look at beside the numbers of `evaluate`, uint8 [H, W, 3] by name: by
        default, none. Names have letters, digits and underscores.

        Process 0 alone calls this, so it must not wait for others. The variables are on one device;
        the next step overwrites them.
        """
        return {}

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> Trained:
        """Returns variables of this stage as a model."""
        return Trained(self.config, variables, sizes, classes)

    def findings(
        self, model: Trained, held: HeldOutPictures, records: Sequence[dict[str, Any]], batch_size: int, coders: bool
    ) -> Findings:
        """What the command evaluate says of a model: by default, the numbers of `evaluate`.

        Args:
            model: of this stage.
            held: the pictures to measure it on.
            records: of the run's metrics.jsonl.
            batch_size: about how many pictures at a time; the numbers do not depend on it.
            coders: whether established coders are measured, too, by a system that compresses.
        """
        devices = jax.local_devices()[:1]
        numbers = self.evaluate(replicate(model.variables, devices), held.content, devices)
        rows = [("held-out pictures", ""), *((words(name), f"{number:.4g}") for name, number in numbers.items())]
        said = say_pictures(len(held.pictures), len(set(held.pictures)))
        return Findings([f"{said} of {held.name}", "", align(rows)], {"held_out": numbers}, {})

    def conclusion(self, evaluation: dict[str, float], held_out: Any) -> list[str]:
        """What a run says at its end of the best checkpoint's held-out numbers, a line each."""
        return [f"held-out pictures: {evaluation[self.best]:.4g} {words(self.best)} (the best checkpoint)"]


@lru_cache(maxsize=16)
def _shapes(config: RunConfig) -> Any:
    """To load a small model takes little more than the trace, so models of one configuration share
    it."""
    return config.build().trace_shapes()


def words(name: str) -> str:
    """The name of a number as people read it: "bits_per_pixel" -> "bits per pixel"."""
    return name.replace("_", " ")
