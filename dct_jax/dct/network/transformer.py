"""DCTransformer: the network of "Generating Images with Sparse Representations" (Nash et al.,
2021), section 4.

    p(image) = prod_l p(c_l | t_<l) p(p_l | c_l, t_<l) p(v_l | c_l, p_l, t_<l)

An encoder reads the partial DCT image. Three stacked decoders, all causal over the window, predict
the channel, the position and the value of each element.

Axes: B batch, S elements (the whole window, or one at a time in the sampler), D width.
"""

from typing import Generic, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import DCTCodec, Vocabulary
from dct_jax.dct.chunks import Array, Chunk
from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dct.network.block_projection import BlockProjection
from dct_jax.dct.network.context import PositionContext, ValueContext
from dct_jax.dct.network.quality import QualityEmbedding, largest_values, vocabulary_of
from dct_jax.dct.network.support import channel_support, on_image, position_support, value_support
from dct_jax.nn.attention import Caches
from dct_jax.nn.blocks import Decoder, EncoderBlock, Memory, Window
from dct_jax.nn.embedding import NormalizedEmbed
from dct_jax.nn.initial import normal
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.precision import precision_of, product, sums_of


class Triples(NamedTuple, Generic[Array]):
    """Elements of the list; start tokens before the first, stopping tokens after the last."""

    channels: Array  # int32 [B, S]
    positions: Array  # int32 [B, S]
    values: Array  # int32 [B, S]


class Logits(NamedTuple):
    """Unnormalised log-probabilities, float32; impossible symbols have `masks.IMPOSSIBLE`."""

    channel: jax.Array  # [B, S, 3 B^2 + 1]
    position: jax.Array  # [B, S, P]
    value: jax.Array  # [B, S, 2 V + 1]


class DecoderCaches(NamedTuple):
    """Keys and values for each decoder, of the window's elements or of the encoder's tokens."""

    channel: Caches
    position: Caches
    value: Caches


class Encoding(NamedTuple):
    """What the decoders know of everything before the target chunk. Sampling changes `image`
    alone."""

    grid: jax.Array  # int32 [B, 2], the blocks that each image has of the canvas
    features: jax.Array  # [B, h', w', D], the encoder's output
    context: jax.Array  # [B, 1, D], the chunk index, the grid (the class, and the quality)
    pointers: jax.Array | None  # [B, T, D], what the position decoder points at, if it does
    image: jax.Array | None  # int16 [B, C, P], every triple so far, for contexts; `with_elements` adds to it
    memory: DecoderCaches  # what the decoders' cross-attention reads
    visible: jax.Array  # bool [B, T], which of the encoder's tokens belong to the image
    largest: jax.Array | None  # int32 [B], the largest value of each list, if qualities differ


def with_elements(image: jax.Array | None, elements: Triples[jax.Array]) -> jax.Array | None:
    """Adds elements [B, S] to an encoding's image. Tokens are left out."""
    if image is None:
        return None
    batch = jnp.arange(len(image))[:, None]
    return image.at[batch, elements.channels, elements.positions].set(elements.values.astype(image.dtype), mode="drop")


class Encoder(nn.Module):
    """A strided convolution over the DCT image, 2-D position embeddings, Transformer blocks."""

    config: ModelConfig

    @nn.compact
    def __call__(self, dct_image: jax.Array, visible: jax.Array) -> jax.Array:
        """Encodes [B, 3 B^2, h, w] to [B, h', w', D], normalised; h' = ceil(h / stride). Only
        tokens that are visible, bool [B, h' w'], are attended to."""
        c, precision = self.config, precision_of(self.config.dtype, self.config.products)
        dtype = precision.activations
        s = c.encoder_stride
        # A convolution whose kernel is as large as its stride is a matrix product over squares of s
        # x s blocks. XLA's convolutions of many channels are several times slower on CPUs.
        x = jnp.pad(dct_image, ((0, 0), (0, 0), *((0, -side % s) for side in dct_image.shape[2:])))
        x = BlockProjection(c.width, s, precision, name="blocks")(x)  # [B, h', w', D]
        batch, height, width, _ = x.shape
        x = x + NormalizedEmbed(height, c.width, dtype, name="row")(jnp.arange(height))[:, None]
        x = x + NormalizedEmbed(width, c.width, dtype, name="column")(jnp.arange(width))
        x = x.reshape(batch, height * width, c.width)  # [B, T, D]
        block = nn.remat(EncoderBlock) if c.rematerialise else EncoderBlock
        for i, layers in enumerate(c.encoder):
            x = block(c.heads, layers, c.dropout, precision, name=f"block_{i}")(x, visible)
        return nn.LayerNorm(dtype=dtype)(x).reshape(batch, height, width, c.width)


class DCTransformer(nn.Module):
    """The model. `__call__` gives a window's logits; its parts are methods for the cached sampler.

    Attributes:
        vocabulary: the symbols of lists, on the canvas; it fixes the sizes of inputs and outputs.
        config: the sizes of the network.
    """

    vocabulary: Vocabulary
    config: ModelConfig

    def setup(self) -> None:
        v, c, precision = self.vocabulary, self.config, precision_of(self.config.dtype, self.config.products)

        def embed(size: int) -> NormalizedEmbed:
            return NormalizedEmbed(size, c.width, precision.activations)

        def decoder(layers: tuple[int, ...]) -> Decoder:
            return Decoder(c.width, c.heads, layers, c.dropout, precision, c.rematerialise)

        self.encoder = Encoder(c)
        self.window_index = embed(c.window)
        self.chunk_index = embed(c.max_chunks)
        self.grid_height, self.grid_width = embed(v.grid[0] + 1), embed(v.grid[1] + 1)
        if c.num_classes:
            self.label = embed(c.num_classes + 1)  # the last row: of a hidden class
        if c.qualities:
            self.quality = QualityEmbedding(v, c.width, precision)

        self.last_channel, self.last_position, self.last_value = embed(v.start + 1), embed(v.num_positions), embed(v.num_values)
        self.channel_decoder = decoder(c.channel_decoder)
        self.channel_head = precision.head(v.num_channels + 1)

        self.position_channel = embed(v.start + 1)
        self.position_decoder = decoder(c.position_decoder)
        self.position_head = precision.head(v.num_positions)
        if c.position_pointer:
            self.pointer_key = precision.dense(c.width, use_bias=False)
            self.pointer_query = precision.dense(c.width, kernel_init=normal(0.02))

        self.value_channel, self.value_position = embed(v.start + 1), embed(v.num_positions)
        self.value_decoder = decoder(c.value_decoder)
        self.value_head = precision.head(v.num_values)
        if c.contexts:
            again = nn.remat if c.rematerialise else lambda module: module
            self.position_context = again(PositionContext)(v, precision)
            self.value_context = again(ValueContext)(v, c.width, precision)

    @nn.nowrap
    def vocabulary_of(self, codec: DCTCodec) -> Vocabulary:
        """Returns the symbols of lists of a codec that the model knows: of a lower quality, the
        values are smaller."""
        return vocabulary_of(self.vocabulary, codec.quality) if self.config.qualities else self.vocabulary

    def encode(self, batch: Chunk[jax.Array]) -> Encoding:
        """Reads what is before the target chunk: dct_image, chunk_index, grid, (with classes) label
        and (with qualities) quality."""
        stride = self.config.encoder_stride
        height, width = (-(-side // stride) for side in self.vocabulary.grid)  # h', w'
        visible = on_image((height, width), -(-batch.grid // stride))  # [B, T]
        features = self.encoder(batch.dct_image, visible)  # [B, h', w', D]
        context = self.chunk_index(jnp.minimum(batch.chunk_index, self.config.max_chunks - 1))  # [B, D]
        context = context + self.grid_height(batch.grid[:, 0]) + self.grid_width(batch.grid[:, 1])
        if self.config.num_classes:
            context = context + self.label(batch.label)
        largest = None
        if self.config.qualities:
            context = context + self.quality(batch.quality)
            largest = jnp.asarray(largest_values(self.vocabulary))[batch.quality]  # [B]
        rows = features.reshape(features.shape[0], -1, features.shape[-1])  # [B, T, D]
        pointers = self.pointer_key(rows) if self.config.position_pointer else None
        decoders = (self.channel_decoder, self.position_decoder, self.value_decoder)
        memory = DecoderCaches(*(decoder.remember(rows) for decoder in decoders))
        image = None
        if self.config.contexts:
            image = batch.dct_image.reshape(*batch.dct_image.shape[:2], -1)  # [B, C, P]
            image = jnp.where(on_image(self.vocabulary.grid, batch.grid)[:, None], image, 0)
        return Encoding(batch.grid, features, context[:, None], pointers, image, memory, visible, largest)

    def predict_channel(
        self, last: Triples[jax.Array], encoding: Encoding, window: Window | None = None
    ) -> tuple[jax.Array, jax.Array, Caches]:
        """Computes the logits of the channels after the elements `last`, which may go on from a
        window.

        Returns:
            logits float32 [B, S, 3 B^2 + 1]; the decoder's stream [B, S, D]; its caches.
        """
        x = (
            self.last_channel(last.channels)
            + self.last_position(last.positions)
            + self.last_value(last.values + self.vocabulary.largest_value)
            + self.window_index((window.start if window else 0) + jnp.arange(last.channels.shape[1]))
            + encoding.context
        )  # [B, S, D]
        x, caches = self.channel_decoder(x, Memory(encoding.memory.channel, encoding.visible), window)
        logits = self.channel_head(x)
        support = channel_support(self.vocabulary, encoding.grid, last.channels, last.positions)
        return jnp.where(support, logits, IMPOSSIBLE), x, caches

    def predict_position(
        self,
        stream: jax.Array,
        channels: jax.Array,
        last: Triples[jax.Array],
        encoding: Encoding,
        window: Window | None = None,
    ) -> tuple[jax.Array, jax.Array, Caches]:
        """Computes the logits of the positions of elements of known `channels`, int32 [B, S].

        Args:
            stream: [B, S, D], from the channel decoder.
            last, encoding, window: as in predict_channel.

        Returns:
            logits float32 [B, S, P]; the decoder's stream [B, S, D]; its caches.
        """
        x = stream + self.position_channel(channels)
        x, caches = self.position_decoder(x, Memory(encoding.memory.position, encoding.visible), window)
        logits = self.position_head(x)
        if encoding.pointers is not None:
            logits = logits + self._point(x, encoding.pointers, encoding.features.shape[2])
        support = position_support(self.vocabulary, encoding.grid, channels, last.channels, last.positions)
        if encoding.image is not None:
            logits = logits + self.position_context(encoding.image, channels, last.channels, last.positions, support)
        return jnp.where(support, logits, IMPOSSIBLE), x, caches

    def _point(self, x: jax.Array, pointers: jax.Array, columns: int) -> jax.Array:
        """Tells, from products of the decoder's stream [B, S, D] and the pointers [B, T, D] of h'
        rows and w' columns, what is at each position: float32 [B, S, P]. A head alone has to carry
        that for P positions through D numbers (pointer networks: Vinyals et al., 2015)."""
        query = self.pointer_query(x)  # [B, S, D]
        scores = product("BSD,BTD->BST", query, pointers)
        scores = scores / np.sqrt(x.shape[-1])
        (height, width), stride = self.vocabulary.grid, self.config.encoder_stride
        token = np.arange(height)[:, None] // stride * columns + np.arange(width) // stride  # [h, w]
        return scores[..., token.reshape(-1)]

    def predict_value(
        self,
        stream: jax.Array,
        channels: jax.Array,
        positions: jax.Array,
        encoding: Encoding,
        window: Window | None = None,
    ) -> tuple[jax.Array, Caches]:
        """Computes the logits of the values of elements of known `channels`, `positions`, int32 [B,
        S].

        Args:
            stream: [B, S, D], from the position decoder.
            encoding, window: as in predict_channel.

        Returns:
            logits float32 [B, S, 2 V + 1]; the decoder's caches.
        """
        row, column = jnp.divmod(positions, self.vocabulary.grid[1])  # [B, S]
        stride, batch = self.config.encoder_stride, jnp.arange(positions.shape[0])[:, None]
        features = encoding.features
        wide = features.astype(sums_of(features.dtype))  # in which the gradient of a token is added up
        here = wide[batch, row // stride, column // stride].astype(features.dtype)  # [B, S, D]
        x = stream + self.value_channel(channels) + self.value_position(positions) + here
        if encoding.image is not None:
            x = x + self.value_context(encoding.image, channels, positions)
        x, caches = self.value_decoder(x, Memory(encoding.memory.value, encoding.visible), window)
        logits = self.value_head(x)
        return jnp.where(value_support(self.vocabulary, encoding.largest), logits, IMPOSSIBLE), caches

    def decode(self, elements: Triples[jax.Array], encoding: Encoding) -> tuple[Logits, DecoderCaches]:
        """Computes all logits of a window at once.

        Args:
            elements: [B, S + 1]; the first is the element before the window.
            encoding: of everything before the target chunk.

        Returns:
            logits of elements 1 .. S, and the keys and values that a sampler goes on from.
        """
        encoding = encoding._replace(image=with_elements(encoding.image, elements))
        last, now = Triples(*(x[:, :-1] for x in elements)), Triples(*(x[:, 1:] for x in elements))
        channel, stream, channel_caches = self.predict_channel(last, encoding)
        position, stream, position_caches = self.predict_position(stream, now.channels, last, encoding)
        value, value_caches = self.predict_value(stream, now.channels, now.positions, encoding)
        return Logits(channel, position, value), DecoderCaches(channel_caches, position_caches, value_caches)

    def __call__(self, batch: Chunk[jax.Array]) -> Logits:
        """Computes the logits of a batch of windows, [B, O + C, .] each; as in training if there is
        an rng named "dropout"."""
        return self.decode(Triples(batch.channels, batch.positions, batch.values), self.encode(batch))[0]


def network(config: DCTConfig) -> DCTransformer:
    """Returns the module of a run's configuration."""
    return DCTransformer(config.vocabulary, config.model)
