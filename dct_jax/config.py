"""The configuration of a run: frozen dataclasses, one per group, whose fields are also flags.

Here is what every run has. Each system adds its groups in a class that derives from `RunConfig`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from dct_jax.fields import COSTS, LATER, MAY_CHANGE, build, is_marked, require

if TYPE_CHECKING:
    from dct_jax.data.reader import Reader
    from dct_jax.data.sources import Source
    from dct_jax.training.stage import Stage, Trained

SYSTEM_BEFORE = "DCTransformer"
"""The system of configurations from before there were several, which name none."""

MOST_SEEDS = 2**32
"""JAX takes seeds below this without its 64-bit mode."""

LARGEST_IMAGE = 2**26
"""Pixels, far more than anybody trains on. A configuration may come from others, and memory is
taken for its numbers before anything else is checked."""

LARGEST_WIDTH = 2**14
LARGEST_DEPTH = 2**10
"""Of layers, and of stacks of blocks: like the bounds of each system, far above what anybody
trains."""

MOST_HELD_OUT = 2**20
"""Crops of an evaluation, which are in memory together."""

LARGEST_SIZE = 2**31
"""Each number of a size of pictures, and of how many have it, is at most this."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which pictures, and what the model sees of them.

    Attributes:
        source: "landscapes" or "fashion" (bundled), "folder:PATH" (any tree of pictures; the class
            is the first sub-folder's name), "tar:PATH" (a tar file of a tree of pictures),
            "csv:FILE" (columns image_path and, for classes, label), "idx:FOLDER" (the files of
            MNIST and its like), "tfds:NAME[/CONFIG][:VERSION]" (a TFDS data set), or, for priors
            over codes, "codes:FILE" (what `tokenize` wrote, or a line of codes a picture).
        split: of a TFDS data set, as TFDS writes it ("train[:90%]"); of a folder or a tar file, one
            sub-folder; of "fashion" and idx files, "train" or "test"; all by default.
        held_out_split: where held-out pictures come from; by default they are taken out of `split`.
        held_out_every: every n-th picture of `split` is held out, without a `held_out_split`.
        held_out_crops: how many crops of the held-out pictures make up the evaluation.
        image_size: (H, W) in pixels: the size of every crop, or what whole pictures fit into.
        fit: "crop" takes random crops of one size; "whole" takes whole pictures, scaled until they
            just fit into image_size, so that the aspect ratio stays (the paper's way: a square
            image_size fixes the long side).
        crop: the smallest and largest crop, as a share of the largest one of that shape that fits
            into the picture. Where `enlarge` forbids a share, the crop is the smallest possible.
        enlarge: how many times larger a picture may become; pictures that need more are skipped.
        flip: whether to mirror half of the training pictures left to right.
        own_coefficients: take the coefficients of JPEG files as they are (in this codec's tables),
            not those of their pixels. Crops then begin at whole blocks and are never resized; whole
            pictures must fit as they are.
        upright: whether pictures with own coefficients are turned as their Exif or XMP orientation
            says; an edge of part of a block can prevent this. Other pictures are always turned.
        threads: how many threads of a worker process make batches ahead; 0 makes no batch ahead.
        workers: how many processes make batches; 0 for threads of the training process alone.
        max_skipped: the run ends if more than this share of the pictures cannot be used.
    """

    source: str = "landscapes"
    split: str = ""
    held_out_split: str = ""
    held_out_every: int = 10
    held_out_crops: int = 100
    image_size: tuple[int, int] = (64, 64)
    fit: Literal["crop", "whole"] = "crop"
    crop: tuple[float, float] = (0.8, 1.0)
    enlarge: float = 1.0
    flip: bool = True
    own_coefficients: bool = False
    upright: bool = field(default=True, metadata=LATER)
    threads: int = field(default=2, metadata=MAY_CHANGE)
    workers: int = field(default=0, metadata=MAY_CHANGE)
    max_skipped: float = field(default=0.1, metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        size, crop = self.image_size, self.crop
        require(len(size) == 2 and min(size) >= 1, "data.image_size", size, "two positive numbers of pixels")
        require(size[0] * size[1] <= LARGEST_IMAGE, "data.image_size", size, f"at most {LARGEST_IMAGE} pixels in all")
        in_order = len(crop) == 2 and 0 < crop[0] <= crop[1] <= 1
        require(in_order, "data.crop", crop, "two shares, 0 < smallest <= largest <= 1")
        require(self.fit in ("crop", "whole"), "data.fit", self.fit, "crop or whole")
        require(self.enlarge >= 1, "data.enlarge", self.enlarge, "1 or more")
        require(self.held_out_every >= 2, "data.held_out_every", self.held_out_every, "2 or more")
        crops = self.held_out_crops
        require(1 <= crops <= MOST_HELD_OUT, "data.held_out_crops", crops, f"from 1 to {MOST_HELD_OUT}")
        require(self.threads >= 0, "data.threads", self.threads, "0 or more")
        require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        require(0 <= self.max_skipped <= 1, "data.max_skipped", self.max_skipped, "a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: pictures in a step, over all devices of all hosts together. A DCTransformer
            takes a chunk of each.
        accumulate: a device does its batch in so many parts, one after the other, to save memory.
        optimizer: "adam", as in the paper, or "muon", which orthogonalises the updates of the
            layers' matrices (Jordan et al., 2024) and leaves the rest to NAdam, which is Adam with
            Nesterov's momentum: a step takes a little longer and teaches more.
        learning_rate: Adam's or NAdam's, at its peak.
        muon_learning_rate: Muon's, at its peak.
        warmup_steps: steps of linear warm-up from 0.
        clip_norm: the gradient's norm is clipped to this.
        label_dropout: the share of training pictures whose class is hidden, so that a
            class-conditional model also learns to sample without one; classifier-free guidance
            needs that.
        evaluate_every, checkpoint_every: steps between evaluations on held-out pictures, and
            between checkpoints.
        keep: how many of the latest checkpoints to keep, beside the best.
        samples: how many samples each evaluation compares with training pictures; 0 for none.
        features: what compares the samples: "alexnet" for FD-AlexNet, "inception" for FID and sFID.
        track: where numbers and pictures go, beside metrics.jsonl and pictures/ in the folder of
            the run: any of "tensorboard", "mlflow" and "wandb", or nothing.
        schedule: after the warm-up, "cosine" lowers the learning rates towards 0, which they would
            reach one step after the last one; "constant" keeps them.
        betas: how slowly Adam's means of gradients and of their squares decay.
        weight_decay: AdamW's, of matrices, kernels and tables, but of a DQ-Transformer's kernels
            alone; 0 for Adam.
    """

    steps: int = 1000
    batch_size: int = 16
    accumulate: int = field(default=1, metadata=MAY_CHANGE)
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 1.6e-2
    warmup_steps: int = 100
    clip_norm: float = 1.0
    label_dropout: float = field(default=0.0, metadata=LATER)
    evaluate_every: int = 500
    checkpoint_every: int = 100
    keep: int = 2
    samples: int = field(default=0, metadata=LATER | MAY_CHANGE)
    features: Literal["alexnet", "inception"] = field(default="alexnet", metadata=LATER | MAY_CHANGE)
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = field(default=("tensorboard",), metadata=LATER | MAY_CHANGE)
    schedule: Literal["cosine", "constant"] = field(default="cosine", metadata=LATER)
    betas: tuple[float, float] = field(default=(0.9, 0.999), metadata=LATER)
    weight_decay: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "evaluate_every", "checkpoint_every", "keep"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        require(self.optimizer in ("adam", "muon"), "training.optimizer", self.optimizer, "adam or muon")
        require(self.learning_rate > 0, "training.learning_rate", self.learning_rate, "above 0")
        require(self.muon_learning_rate > 0, "training.muon_learning_rate", self.muon_learning_rate, "above 0")
        in_range = len(self.betas) == 2 and 0 <= min(self.betas) and max(self.betas) < 1
        require(in_range, "training.betas", self.betas, "two numbers, each at least 0 and below 1")
        require(self.weight_decay >= 0, "training.weight_decay", self.weight_decay, "0 or more")
        if self.optimizer == "muon":
            require(self.weight_decay == 0, "training.weight_decay", self.weight_decay, "0 with muon")
        require(self.schedule in ("cosine", "constant"), "training.schedule", self.schedule, "cosine or constant")
        require(self.samples == 0 or self.samples >= 4, "training.samples", self.samples, "0, or 4 or more")
        require(self.features in ("alexnet", "inception"), "training.features", self.features, "alexnet or inception")
        known = len({"tensorboard", "mlflow", "wandb"} & set(self.track)) == len(self.track)
        require(known, "training.track", self.track, "any of tensorboard, mlflow and wandb, each at most once")
        require(self.clip_norm > 0, "training.clip_norm", self.clip_norm, "above 0")
        require(0 <= self.label_dropout < 1, "training.label_dropout", self.label_dropout, "at least 0 and below 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"training.warmup_steps is {self.warmup_steps} and training.steps is {self.steps}; "
                "the warm-up must be shorter than the run"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a run. An experiment file builds it; a checkpoint carries it.

    Attributes:
        system: the name by which checkpoints tell whose configuration they carry.
        classes_field: the path of the field that says how many classes the system has; "" if it
            has none.
        seed: of parameters, data order, crops and dropout.
    """

    system: ClassVar[str]
    classes_field: ClassVar[str] = ""
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.seed < MOST_SEEDS, "seed", self.seed, "from 0 to 2^32 - 1")

    def reader(self) -> "Reader":
        """Returns what makes batches of records; it needs no JAX."""
        raise NotImplementedError

    def build(self) -> "Stage":
        """Returns what a run of this configuration trains."""
        raise NotImplementedError

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuses names of classes, which may come from others, that are not those of the model. A
        model without classes may have seen pictures with any.

        Raises:
            ValueError: if there are names, and not as many as the model has classes.
        """
        number = self.reader().num_classes
        if number and len(classes) not in (0, number):
            raise ValueError(f"it names {len(classes)} classes; its model has {number} ({self.classes_field})")

    def complete(self, load: Callable[[str], "Trained"]) -> tuple[Self, dict[str, Any]]:
        """Takes in the models that a run builds on: this one builds on none.

        Args:
            load: returns the model of a run.

        Returns:
            The configuration with theirs inside, and collections of variables that the run begins
            with in place of fresh ones.
        """
        return self, {}

    def calibrate(self, training: "Source") -> dict[str, Any]:
        """Measures what a fresh run begins with: by default, nothing. A run that goes on has it in
        its checkpoints.

        Args:
            training: the pictures to train on.

        Returns:
            Collections of variables, in place of fresh ones.
        """
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, strings, lists and dictionaries, for JSON."""
        return {"system": self.system} | dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of to_dict, also after a round trip through JSON.

        Raises:
            ValueError: if it is of another system, or if a field is unknown, missing, of the wrong
                type, or out of range.
        """
        if isinstance(values, dict) and (system := values.get("system", SYSTEM_BEFORE)) != cls.system:
            raise ValueError(f"it is of the system {system}, and not {cls.system}")
        return build(cls, values)

    def read_again(self) -> Self:
        """Returns the configuration as its checkpoints give it back: tuples in place of lists, and
        Python's numbers in place of NumPy's. A run whose checkpoints cannot be read is not begun.

        Raises:
            ValueError: if a field has the wrong type.
        """
        return self.from_dict(self.to_dict())


def meaning(group: Any) -> Any:
    """Returns the fields of a group that say what a model computes, or the value of a field without
    group. LATER fields with their default are left out, so older models keep their meaning."""
    if not dataclasses.is_dataclass(group):
        return group
    specs = [(spec, getattr(group, spec.name)) for spec in dataclasses.fields(group)]
    return {
        spec.name: value
        for spec, value in specs
        if not is_marked(spec, COSTS) and not (is_marked(spec, LATER) and value == spec.default)
    }


def changed_fields(before: Any, now: Any, prefix: str = "") -> list[str]:
    """The fields of two configurations that differ and may not, as "training.steps 20 -> 30"."""
    changed: list[str] = []
    for spec in dataclasses.fields(now):
        name, old, new = prefix + spec.name, getattr(before, spec.name), getattr(now, spec.name)
        if dataclasses.is_dataclass(new) and type(old) is type(new):
            changed += changed_fields(old, new, f"{name}.")
        elif old != new and not is_marked(spec, MAY_CHANGE):
            old, new = (x.system if isinstance(x, RunConfig) else x for x in (old, new))
            changed.append(f"{name} {old} -> {new}")
    return changed


def with_fields(config: RunConfig, fields: Mapping[str, Any]) -> RunConfig:
    """The configuration with other values of some fields.

    Args:
        config: of a run.
        fields: by their names, or by their paths where several groups have the name, as "steps" or
            "unroll.steps". A name of `data` or `training` means theirs alone.

    Raises:
        ValueError: if there is no such field, if several groups have it, or if a value is of the
            wrong type or out of range.
    """
    values = config.to_dict()
    own_fields = {spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config)}
    # A configuration inside is that of another run.
    groups = {name: x for name, x in own_fields.items() if dataclasses.is_dataclass(x) and not isinstance(x, RunConfig)}
    paths = [name for name in own_fields if name not in groups]
    paths += [f"{name}.{spec.name}" for name, group in groups.items() for spec in dataclasses.fields(group)]
    given: set[str] = set()
    for name, value in fields.items():
        path = _find_path(name, paths)
        require(path not in given, path, "given twice", "given once")
        given.add(path)
        group, _, own = path.rpartition(".")
        (values[group] if group else values)[own] = value.to_dict() if isinstance(value, RunConfig) else value
    return config.from_dict(values)


def _find_path(name: str, paths: Sequence[str]) -> str:
    """Finds the field that a name or a path means. Raises ValueError unless it is one alone."""
    if name in paths:
        return name
    found = [path for path in paths if path.rpartition(".")[2] == name]
    found = [path for path in found if path.startswith(("data.", "training."))] or found
    if not found:
        names = list(dict.fromkeys(path.rpartition(".")[2] for path in paths))
        near = ", ".join(get_close_matches(name, [*names, *paths])) or ", ".join(names)
        raise ValueError(f"the configuration has no field {name}; the nearest are {near}")
    if len(found) > 1:
        raise ValueError(f"the configuration has {len(found)} fields {name}; name {' or '.join(found)}")
    return found[0]


def read_sizes(values: Any) -> tuple[tuple[int, int, int], ...]:
    """Returns the sizes of a model's training pictures, as of `training.stage.Trained`, of plain
    lists that may come from others.

    Raises:
        ValueError: if they are none, or a number is too large.
    """
    is_list = isinstance(values, list) and len(values) > 0 and all(isinstance(x, list) and len(x) == 3 for x in values)
    if not (is_list and all(type(number) is int and 1 <= number <= LARGEST_SIZE for one in values for number in one)):
        raise ValueError(f"the sizes of its pictures are not lists of height, width and count, from 1 to {LARGEST_SIZE}")
    return tuple((height, width, count) for height, width, count in values)


if not TYPE_CHECKING:  # with it, type checkers take any name

    def __getattr__(name: str) -> Any:
        """Finds what experiment files from before there were several systems import from here."""
        if name not in ("Config", "ModelConfig"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from dct_jax.dct import config

        return config.DCTConfig if name == "Config" else config.ModelConfig
