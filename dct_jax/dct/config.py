"""The configuration of a DCTransformer's run."""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from dct_jax.codec import DCTCodec, Vocabulary
from dct_jax.config import LARGEST_DEPTH, LARGEST_WIDTH, RunConfig
from dct_jax.fields import COSTS, LATER, MAY_CHANGE, require

if TYPE_CHECKING:
    from dct_jax.dct.reader import ChunkReader
    from dct_jax.dct.stage import DCTStage

Dtype = Literal["float32", "bfloat16", "float64"]

LARGEST_COUNT = 2**20
"""Triples of a chunk or an overlap, chunk embeddings, classes."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes of the network. A tuple has the number of each block's feed-forward layers (PAR).

    Attributes:
        width: D, the width of every residual stream.
        heads: attention heads; they divide the width.
        encoder, channel_decoder, position_decoder, value_decoder: the layers of each block.
        encoder_stride: 1, 2 or 4: blocks of the DCT image per encoder token, in each direction.
        position_pointer: whether the position's logits also get products with the encoder's
            features at each position. The paper's has none; small models learn positions much
            sooner.
        contexts: whether the position's logits and the value decoder also get what is known around
            each place, in the chunk, too: coefficients of its channel before it, and those of lower
            channels. The paper's has none; small models learn both symbols much sooner.
        chunk_size: C, how many elements of the list one chunk predicts.
        overlap: O, how many elements before the chunk the decoders see, too.
        max_chunks: K of the chunk weights; chunks from K - 1 on share one chunk embedding.
        num_classes: how many classes there are, or 0. The number itself is the label of a hidden
            class.
        dropout: probability of dropping a unit of a residual branch in training.
        dtype: the type of the activations. Parameters, softmax and loss of training are float32.
            float64 needs JAX's 64-bit mode, and training refuses it.
        products: the type of the operands of matrix products; their sums are always float32. With
            activations in float32, "bfloat16" makes training faster on processors that have units
            for it (AMX, AVX512-BF16); others use float32.
        rematerialise: whether the backward pass keeps the inputs of each block alone and computes
            the rest again. By the shapes of the arrays it keeps a tenth of a chunk's memory; on an
            H200 a chunk took a quarter, and a tenth more time. On CPUs it saves nothing.
        qualities: the lowest and the highest quality that the model knows, each with the tables of
            libjpeg; a picture is encoded with any of them. Without, all lists have the codec's.
    """

    width: int = 192
    heads: int = 4
    encoder: tuple[int, ...] = (1,)
    channel_decoder: tuple[int, ...] = (1, 1)
    position_decoder: tuple[int, ...] = (2,)
    value_decoder: tuple[int, ...] = (2, 2)
    encoder_stride: int = 1
    position_pointer: bool = False
    contexts: bool = field(default=False, metadata=LATER)
    chunk_size: int = 896
    overlap: int = 128
    max_chunks: int = 8
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = "float32"
    products: Literal["float32", "bfloat16"] = field(default="float32", metadata={**LATER, **MAY_CHANGE})
    rematerialise: bool = field(default=False, metadata={**LATER, **MAY_CHANGE, **COSTS})
    qualities: tuple[int, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        require(1 <= self.width <= LARGEST_WIDTH, "model.width", self.width, f"from 1 to {LARGEST_WIDTH}")
        require(self.heads >= 1, "model.heads", self.heads, "1 or more")
        if self.width % self.heads:
            raise ValueError(f"model.width is {self.width} and model.heads is {self.heads}; heads must divide width")
        for name in ("encoder", "channel_decoder", "position_decoder", "value_decoder"):
            layers = getattr(self, name)
            fits = 1 <= len(layers) <= LARGEST_DEPTH and all(0 <= n <= LARGEST_DEPTH for n in layers)
            require(fits, f"model.{name}", layers, f"one count or more, each from 0 to {LARGEST_DEPTH}, at most as many")
        require(self.encoder_stride in (1, 2, 4), "model.encoder_stride", self.encoder_stride, "1, 2 or 4")
        for name, least in (("chunk_size", 1), ("overlap", 0), ("max_chunks", 1), ("num_classes", 0)):
            allowed = f"from {least} to {LARGEST_COUNT}"
            require(least <= getattr(self, name) <= LARGEST_COUNT, f"model.{name}", getattr(self, name), allowed)
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(self.dtype in ("float32", "bfloat16", "float64"), "model.dtype", self.dtype, "float32, bfloat16 or float64")
        require(self.products in ("float32", "bfloat16"), "model.products", self.products, "float32 or bfloat16")
        known = not self.qualities or (len(self.qualities) == 2 and 1 <= self.qualities[0] < self.qualities[1] <= 100)
        require(known, "model.qualities", self.qualities, "empty, or a low and a higher quality from 1 to 100")

    @property
    def window(self) -> int:
        """Returns O + C, the number of elements that the decoders see at once."""
        return self.overlap + self.chunk_size


@dataclass(frozen=True, kw_only=True)
class DCTConfig(RunConfig):
    """Everything that determines a run of a DCTransformer."""

    system = "DCTransformer"
    classes_field = "model.num_classes"
    codec: DCTCodec = field(default_factory=DCTCodec)
    model: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.label_dropout and not self.model.num_classes:
            raise ValueError(
                f"training.label_dropout is {self.training.label_dropout} and model.num_classes is 0; without classes nothing "
                "can be hidden"
            )
        if self.model.qualities:
            allowed = "one of model.qualities, from {} to {}".format(*self.model.qualities)
            require(self.knows(self.codec.quality), "codec.quality", self.codec.quality, allowed)
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

    def knows(self, quality: int | None) -> bool:
        """Tells whether a quality is one of model.qualities; None, of other tables, is none."""
        if quality is None or not self.model.qualities:
            return False
        low, high = self.model.qualities
        return low <= quality <= high

    def takes(self, codec: DCTCodec) -> bool:
        """Tells whether the model knows lists of this codec: the run's, or one that differs from it
        by a known quality alone."""
        return codec == (self.codec_of(codec.quality) if self.knows(codec.quality) else self.codec)

    def codec_of(self, quality: int | None = None) -> DCTCodec:
        """Returns the codec of a quality, and without one the run's own.

        Raises:
            ValueError: if the model does not know this quality.
        """
        if quality is None or quality == self.codec.quality:
            return self.codec
        if not self.knows(quality):
            known = f"the codec {self.codec} alone"
            if self.model.qualities:
                known = f"qualities {self.model.qualities[0]} to {self.model.qualities[1]}"
            raise ValueError(f"the quality is {quality}; the model knows {known}")
        return _with_quality(self.codec, quality)

    @property
    def vocabulary(self) -> Vocabulary:
        """Returns the symbols of the model, on the canvas: those of the highest quality, whose
        values are the largest."""
        return self.codec_of(max(self.model.qualities, default=None)).vocabulary(self.data.image_size)

    def reader(self) -> "ChunkReader":
        """Returns the reader that makes chunks of records."""
        from dct_jax.dct.reader import ChunkReader

        return ChunkReader(self)

    def build(self) -> "DCTStage":
        """Returns the stage that trains a DCTransformer."""
        from dct_jax.dct.stage import DCTStage  # JAX starts there

        return DCTStage(self)


@lru_cache(maxsize=256)
def _with_quality(codec: DCTCodec, quality: int) -> DCTCodec:
    """Returns a codec of another quality, which keeps the tables that it made."""
    return dataclasses.replace(codec, quality=quality)
