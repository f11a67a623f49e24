"""The start of a chunk, before its first element: what everything that goes through a chunk step by step begins with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.data.chunks import Chunk
from dct_jax.model import DCTransformer, Triples
from dct_jax.model.attention import KeysValues
from dct_jax.model.transformer import DecoderCaches, Encoding


class Prefilled(NamedTuple):
    """Where a chunk's first step goes on from.

    Attributes:
        encoding: of everything before the chunk.
        caches: of the decoders, with room for the window; the rows of the overlap are filled.
        last: [B, 1], the element before the chunk.
    """

    encoding: Encoding
    caches: DecoderCaches
    last: Triples


def prefill(model: DCTransformer, params: Any, chunk: Chunk) -> Prefilled:
    """Encodes the partial DCT image and runs the overlap through the decoders, in parallel. A chunk's target elements are not
    looked at."""
    overlap, batch = model.config.overlap, len(chunk.chunk_index)
    encoding = model.apply(params, chunk, method="encode")
    known = Triples(*(x[:, : overlap + 1] for x in (chunk.channels, chunk.positions, chunk.values)))  # [B, O + 1]
    caches = _empty_caches(model, batch)
    if overlap:
        _, prefix = model.apply(params, known, encoding, method="decode")
        caches = jax.tree.map(lambda room, rows: room.at[:, :, :overlap].set(rows.astype(room.dtype)), caches, prefix)
    return Prefilled(encoding, caches, Triples(*(x[:, -1:] for x in known)))


def _empty_caches(model: DCTransformer, batch: int) -> DecoderCaches:
    """Zeros, with room for the window."""
    c = model.config
    room = KeysValues(*[jnp.zeros((batch, c.heads, c.window, c.width // c.heads), c.dtype)] * 2)
    return DecoderCaches(*((room,) * len(layers) for layers in (c.channel_decoder, c.position_decoder, c.value_decoder)))
