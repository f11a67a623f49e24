"""The configuration of a run: frozen dataclasses, one per room, whose fields are also the command line's flags."""

import dataclasses
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dct_jax.codec import DCTCodec

LATER = frozenset(
    {
        "training.samples",
        "training.features",
        "training.label_dropout",
        "model.rematerialise",
        "model.products",
        "model.contexts",
        "data.upright",
    }
)
"""Fields that checkpoints of earlier versions may lack; what those versions did is their default."""

LARGEST_IMAGE = 2**26
"""Pixels. This bound and the next ones are far above what anybody trains; a configuration may come from others, and memory is
taken for these numbers before anything else can be found wrong."""

LARGEST_WIDTH = 2**14
LARGEST_DEPTH = 2**10
"""Blocks of a stack, and layers of a block."""

LARGEST_COUNT = 2**20
"""Triples of a chunk or an overlap, chunk embeddings, classes."""


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and what the model sees of them.

    Attributes:
        source: "landscapes" or "fashion" (bundled), "folder:PATH" (any tree of pictures; the class is the first sub-folder's
            name), "tar:PATH" (an image tar, likewise), "idx:FOLDER" (the files of MNIST and its like), or
            "tfds:NAME[/CONFIG][:VERSION]" (a TFDS data set).
        split: of a TFDS data set, as TFDS writes it ("train[:90%]"); of a folder or a tar file, one sub-folder; of "fashion"
            and idx files, "train" or "test"; all by default.
        held_out_split: where held-out pictures come from; by default they are taken out of `split`.
        held_out_every: every n-th picture of `split` is held out, if `held_out_split` names nothing.
        held_out_crops: how many crops of the held-out pictures make up the evaluation.
        image_size: (H, W) in pixels: the size of every crop, or what whole pictures fit into.
        fit: "crop" takes random crops of one size; "whole" takes whole pictures, scaled until they just fit into image_size, so
            that the aspect ratio stays (the paper's way: a square image_size fixes the long side).
        crop: the smallest and largest crop, as a share of the largest one of that shape that fits into the picture.
            Crops are never enlarged beyond `enlarge`: a share that would need that takes the smallest crop possible.
        enlarge: pictures may become so many times larger; those that would need more are skipped.
        flip: whether to mirror half of the training pictures left to right.
        own_coefficients: take the coefficients of JPEG files as they are (in this codec's tables), and not those of their
            pixels. Crops then begin at whole blocks and are never resized, and whole pictures must fit as they are.
        upright: whether pictures with own coefficients are turned as their Exif or XMP orientation says; those with an edge of
            part of a block cannot always be. Others are always turned.
        threads: that make batches ahead of their use, in each worker process; 0 makes each when it is asked for.
        workers: processes that make batches; 0 for threads of the training process alone.
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
    upright: bool = True
    threads: int = 2
    workers: int = 0
    max_skipped: float = 0.1

    def __post_init__(self) -> None:
        size, crop = self.image_size, self.crop
        _require(len(size) == 2 and min(size) >= 1, "data.image_size", size, "two positive numbers of pixels")
        _require(size[0] * size[1] <= LARGEST_IMAGE, "data.image_size", size, f"at most {LARGEST_IMAGE} pixels in all")
        in_order = len(crop) == 2 and 0 < crop[0] <= crop[1] <= 1
        _require(in_order, "data.crop", crop, "two shares, 0 < smallest <= largest <= 1")
        _require(self.fit in ("crop", "whole"), "data.fit", self.fit, "crop or whole")
        _require(self.enlarge >= 1, "data.enlarge", self.enlarge, "1 or more")
        _require(self.held_out_every >= 2, "data.held_out_every", self.held_out_every, "2 or more")
        _require(self.held_out_crops >= 1, "data.held_out_crops", self.held_out_crops, "1 or more")
        _require(self.threads >= 0, "data.threads", self.threads, "0 or more")
        _require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        _require(0 <= self.max_skipped <= 1, "data.max_skipped", self.max_skipped, "a share from 0 to 1")


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of the network. The tuples name, for each block, its number of feed-forward layers (PAR).

    Attributes:
        width: D, the width of every residual stream.
        heads: attention heads; they divide the width.
        encoder, channel_decoder, position_decoder, value_decoder: feed-forward layers of each block.
        encoder_stride: 1, 2 or 4: blocks of the DCT image per encoder token, in each direction.
        position_pointer: whether the position's logits also get products with the encoder's features at each position. The
            paper's have none; small models learn positions much sooner with them.
        contexts: whether the position's logits and the value decoder also get what is known around each place, chunk included:
            the same channel's coefficients before it, and those of lower channels. The paper's model does not; small models
            learn both symbols much sooner with it.
        chunk_size: C, how many elements of the list one chunk predicts.
        overlap: O, how many elements before the chunk the decoders see besides.
        max_chunks: K of the chunk weights; chunks from K - 1 on share one chunk embedding.
        num_classes: classes of a class-conditional model; 0 for none. The number itself stands for a hidden class.
        dropout: probability of dropping a unit of a residual branch in training.
        dtype: of the activations; in training, parameters, softmax and loss are float32 always.
        products: the type of the operands of matrix products; their sums are float32 always. With activations in float32,
            "bfloat16" makes training faster on processors that have units for it (AMX, AVX512-BF16); others stay with float32.
        rematerialise: keep only the inputs of each block for the backward pass and compute the rest again: a step takes about a
            third longer, and what it keeps needs a tenth of the memory. On CPUs XLA plans as much memory as without.
    """

    width: int = 192
    heads: int = 4
    encoder: tuple[int, ...] = (1,)
    channel_decoder: tuple[int, ...] = (1, 1)
    position_decoder: tuple[int, ...] = (2,)
    value_decoder: tuple[int, ...] = (2, 2)
    encoder_stride: int = 1
    position_pointer: bool = False
    contexts: bool = False
    chunk_size: int = 896
    overlap: int = 128
    max_chunks: int = 8
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    products: Literal["float32", "bfloat16"] = "float32"
    rematerialise: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.width <= LARGEST_WIDTH, "model.width", self.width, f"from 1 to {LARGEST_WIDTH}")
        _require(self.heads >= 1, "model.heads", self.heads, "1 or more")
        if self.width % self.heads:
            raise ValueError(f"model.width is {self.width} and model.heads is {self.heads}; heads must divide width")
        for name in ("encoder", "channel_decoder", "position_decoder", "value_decoder"):
            layers = getattr(self, name)
            fits = 1 <= len(layers) <= LARGEST_DEPTH and all(0 <= n <= LARGEST_DEPTH for n in layers)
            _require(fits, f"model.{name}", layers, f"one count or more, each from 0 to {LARGEST_DEPTH}, at most as many")
        _require(self.encoder_stride in (1, 2, 4), "model.encoder_stride", self.encoder_stride, "1, 2 or 4")
        for name, least in (("chunk_size", 1), ("overlap", 0), ("max_chunks", 1), ("num_classes", 0)):
            allowed = f"from {least} to {LARGEST_COUNT}"
            _require(least <= getattr(self, name) <= LARGEST_COUNT, f"model.{name}", getattr(self, name), allowed)
        _require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        _require(self.dtype in ("float32", "bfloat16"), "model.dtype", self.dtype, "float32 or bfloat16")
        _require(self.products in ("float32", "bfloat16"), "model.products", self.products, "float32 or bfloat16")

    @property
    def window(self) -> int:
        """O + C, the elements that the decoders see at once."""
        return self.overlap + self.chunk_size


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        steps: optimiser steps of the whole run; the learning rate's cosine ends there.
        batch_size: chunks in a step, over all devices of all hosts together.
        accumulate: parts that each device does its share of the batch in, one after the other, to save memory.
        optimizer: "adam", as in the paper, or "muon", which orthogonalises the updates of the layers' matrices (Jordan et al.,
            2024) and leaves everything else to Adam: a step takes a little longer and teaches more.
        learning_rate: Adam's, at its peak.
        muon_learning_rate: Muon's, likewise.
        warmup_steps: steps of linear warm-up from 0.
        clip_norm: the gradient's norm is clipped to this.
        label_dropout: the share of training pictures whose class is hidden, so that a class-conditional model also learns to
            draw without one; classifier-free guidance needs that.
        evaluate_every, checkpoint_every: steps between evaluations on held-out pictures, and between checkpoints.
        keep: how many of the latest checkpoints to keep, beside the best.
        samples: so many samples are drawn at each evaluation and compared with training pictures; 0 for none.
        features: what they are compared by: "alexnet" for FD-AlexNet, "inception" for FID and sFID.
    """

    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 1.6e-2
    warmup_steps: int = 100
    clip_norm: float = 1.0
    label_dropout: float = 0.0
    evaluate_every: int = 500
    checkpoint_every: int = 100
    keep: int = 2
    samples: int = 0
    features: Literal["alexnet", "inception"] = "alexnet"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "evaluate_every", "checkpoint_every", "keep"):
            _require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        _require(self.optimizer in ("adam", "muon"), "training.optimizer", self.optimizer, "adam or muon")
        _require(self.learning_rate > 0, "training.learning_rate", self.learning_rate, "above 0")
        _require(self.muon_learning_rate > 0, "training.muon_learning_rate", self.muon_learning_rate, "above 0")
        _require(self.samples == 0 or self.samples >= 4, "training.samples", self.samples, "0, or 4 or more")
        _require(self.features in ("alexnet", "inception"), "training.features", self.features, "alexnet or inception")
        _require(self.clip_norm > 0, "training.clip_norm", self.clip_norm, "above 0")
        _require(0 <= self.label_dropout < 1, "training.label_dropout", self.label_dropout, "at least 0 and below 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"training.warmup_steps is {self.warmup_steps} and training.steps is {self.steps}; "
                "the warm-up must be shorter than the run"
            )


@dataclass(frozen=True)
class Config:
    """Everything that determines a run. An experiment file builds one; a checkpoint carries it.

    Attributes:
        seed: of parameters, data order, crops and dropout.
    """

    codec: DCTCodec = field(default_factory=DCTCodec)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2^32 - 1")
        if self.training.label_dropout and not self.model.num_classes:
            raise ValueError(
                f"training.label_dropout is {self.training.label_dropout} and model.num_classes is 0; without classes nothing "
                "can be hidden"
            )
        if not self.data.own_coefficients:
            return
        if self.codec.block_size != 8:
            raise ValueError(f"codec.block_size is {self.codec.block_size}; with data.own_coefficients it must be JPEG's, 8")
        steps = 8 * self.codec.component_steps[-1][1]
        if self.data.flip and (self.data.fit == "whole" or self.data.image_size[1] % steps):
            raise ValueError(
                "data.flip is on; own coefficients can only be mirrored in crops (data.fit) whose width (data.image_size) "
                f"is a multiple of {steps} pixels: turn it off with --data.no-flip"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of to_dict, also after a round trip through JSON.

        Raises:
            ValueError: if a field is unknown, missing, of the wrong type, or out of range.
        """
        rooms = {"codec": DCTCodec, "data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
        values = _checked(values, cls, "")
        parts = {name: room(**_checked(values[name], room, f"{name}.")) for name, room in rooms.items()}
        return cls(**parts, seed=values["seed"])


def _checked(values: Any, cls: type, prefix: str) -> dict[str, Any]:
    """The fields of `values` with lists as tuples, if they are exactly those of the dataclass."""
    if not isinstance(values, dict):
        raise ValueError(f"the configuration's {prefix or 'top'} is {type(values).__name__}; it must be a dictionary")
    hints = get_type_hints(cls)
    values = {f.name: f.default for f in dataclasses.fields(cls) if prefix + f.name in LATER} | values
    for name in sorted(hints.keys() ^ values.keys()):
        raise ValueError(f"the configuration's field {prefix}{name} is {'missing' if name in hints else 'unknown'}")
    result = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, hint in hints.items():
        if not dataclasses.is_dataclass(hint) and not _fits(result[name], hint):
            wanted = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
            raise ValueError(f"the configuration's {prefix}{name} is {result[name]!r}; it must be {wanted}")
    return result


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field with this annotation may have this value. Integers pass for real numbers, booleans for nothing else."""
    kind, of = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in of
    if kind is UnionType:
        return any(_fits(value, choice) for choice in of)
    if kind is tuple:
        of = of[:1] * len(value) if isinstance(value, tuple) and of[-1] is Ellipsis else of
        return isinstance(value, tuple) and len(value) == len(of) and all(map(_fits, value, of))
    return isinstance(value, (int, float) if hint is float else hint) and isinstance(value, bool) == (hint is bool)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {allowed}")
