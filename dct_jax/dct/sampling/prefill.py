"""Prepares a chunk before its first element, for everything that goes through it step by step."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import DecoderCaches, Encoding, with_elements
from dct_jax.kernels import use_kernels
from dct_jax.nn.attention import empty_caches
from dct_jax.nn.precision import precision_of


class PrefilledChunk(NamedTuple):
    """What a chunk's first step goes on from.

    Attributes:
        encoding: that of everything before the chunk; its image has the known elements, too.
        caches: those of the decoders, with room for the window, and rows of the known elements.
        last: [B, 1], the last known element.
    """

    encoding: Encoding
    caches: DecoderCaches
    last: Triples[jax.Array]


def prefill(model: DCTransformer, params: Any, chunk: Chunk[jax.Array], known: int | None = None) -> PrefilledChunk:
    """Encodes the partial DCT image and runs the window's first elements through the decoders.

    Args:
        model, params: the network.
        chunk: [B, ...].
        known: how many elements of the window are known; by default those of the overlap, so that
            the chunk's target elements are not looked at.
    """
    known, batch = model.config.overlap if known is None else known, len(chunk.chunk_index)
    encoding = cast(Encoding, model.apply(params, chunk, method="encode"))
    elements = Triples(*(x[:, : known + 1] for x in (chunk.channels, chunk.positions, chunk.values)))  # [B, known + 1]
    caches = _empty_caches(model, batch)
    if known:
        _, prefix = model.apply(params, elements, encoding, method="decode")
        caches = jax.tree.map(lambda room, rows: room.at[..., :known].set(rows.astype(room.dtype)), caches, prefix)
    memory = jax.tree.map(lambda x: x.astype(_cache_dtype(model)), encoding.memory)
    encoding = encoding._replace(memory=memory, image=with_elements(encoding.image, elements))
    return PrefilledChunk(encoding, caches, Triples(*(x[:, -1:] for x in elements)))


def _cache_dtype(model: DCTransformer) -> jnp.dtype:
    """Returns the dtype of keys and values. They are operands of products, so nothing is lost if
    they have that type. XLA's CPU backend alone would make float32 of all of them at every step."""
    precision = precision_of(model.config.dtype, model.config.products)
    return precision.activations if jax.default_backend() == "cpu" and not use_kernels() else precision.operands


def _empty_caches(model: DCTransformer, batch: int) -> DecoderCaches:
    """Makes caches of zeros, with room for the window."""
    c, dtype = model.config, _cache_dtype(model)
    layers = map(len, (c.channel_decoder, c.position_decoder, c.value_decoder))
    return DecoderCaches(*(empty_caches(number, batch, c.width, c.heads, c.window, dtype) for number in layers))
