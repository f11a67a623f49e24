"""A model as the source of a list's symbols, one at a time, with probabilities as integers.

An entropy coder needs the same probabilities, to the last bit, when it writes and when it reads. So both walk through the list
one symbol at a time with the same compiled programs on the same shapes, and the probabilities leave these programs as
integers.

Axes: one list, so B = 1; N symbols.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import extended, make_chunks, moved, num_chunks
from dct_jax.model import DCTransformer, Triples
from dct_jax.model.support import IMPOSSIBLE
from dct_jax.sampling.prefill import prefill

RESOLUTION = 2**22
"""Probabilities are multiples of about 1 / RESOLUTION. An alphabet of a thousand symbols loses less than 2e-4 bits a symbol."""

Walk = Generator[np.ndarray, int, SparseDCT]
"""Yields the weights of the next symbol, is sent the symbol, and returns the list."""


def integer_weights(logits: jax.Array) -> jax.Array:
    """Float32 logits [..., N] -> int32 weights [..., N] in proportion to the probabilities: 0 for impossible symbols, at least
    1 for all others."""
    weights = jnp.round(jax.nn.softmax(logits) * RESOLUTION).astype(jnp.int32)
    return jnp.where(logits > IMPOSSIBLE / 2, jnp.maximum(weights, 1), 0)


_USED = {
    "channel": ("last_channel", "last_position", "last_value", "window_index", "channel_decoder", "channel_head"),
    "position": ("position_channel", "position_decoder", "position_head", "pointer_query"),
    "value": ("value_channel", "value_position", "value_decoder", "value_head"),
}
"""The parameters that each step needs: handing over all of them takes a fifth of a step's time."""

_begin = jax.jit(prefill, static_argnums=0)


@partial(jax.jit, static_argnums=(0, 1))
def _step(model: DCTransformer, method: str, params: Any, *args: Any) -> tuple[Any, ...]:
    """What the model's method says of one symbol, with its logits as weights, int32 [N]."""
    logits, *rest = model.apply(params, *args, method=method)
    return integer_weights(logits[0, 0]), *rest


def walk(model: DCTransformer, params: Any, blank: SparseDCT, label: int) -> Walk:
    """Goes through a list from its first symbol to the stopping token: channel, position, value, channel, and so on.

    Args:
        model, params: what gives the probabilities.
        blank: a list without triples, `SparseDCT.empty`, of the image's size.
        label: the class of the image; 0 without classes.

    Yields:
        int32 [N], the weights of the next symbol. Send it the symbol, the index of one whose weight is not 0. Positions are
        those of the model's canvas; values have the vocabulary's largest value added.

    Returns:
        The list.
    """
    vocabulary, config = model.vocabulary, model.config
    of_channel, of_position, of_value = (
        {"params": {name: params["params"][name] for name in names if name in params["params"]}} for names in _USED.values()
    )
    sparse = blank
    for index in range(num_chunks(vocabulary.longest_list, config.chunk_size)):
        chunk = make_chunks([sparse], [index], [label], vocabulary, config.chunk_size, config.overlap)
        encoding, caches, last = _begin(model, params, chunk)
        last = jax.device_get(last)  # as it is after each triple: another kind of array would be another compiled program
        triples: list[tuple[int, int, int]] = []
        while len(triples) < config.chunk_size:
            row = config.overlap + len(triples)
            weights, stream, channel_caches = _step(model, "predict_channel", of_channel, last, encoding, caches.channel, row)
            channel = yield np.asarray(weights)
            if channel == vocabulary.stop:
                return _extended(sparse, triples, vocabulary.grid)
            c = np.full((1, 1), channel, np.int32)
            weights, stream, position_caches = _step(
                model, "predict_position", of_position, stream, c, last, encoding, caches.position, row
            )
            position = yield np.asarray(weights)
            p = np.full((1, 1), position, np.int32)
            weights, value_caches = _step(model, "predict_value", of_value, stream, c, p, encoding, caches.value, row)
            value = (yield np.asarray(weights)) - vocabulary.largest_value
            triples.append((channel, position, value))
            last = Triples(c, p, np.full((1, 1), value, np.int32))
            caches = type(caches)(channel_caches, position_caches, value_caches)
        sparse = _extended(sparse, triples, vocabulary.grid)
    raise AssertionError("after every possible triple, only the stopping token is possible")


def symbols(sparse: SparseDCT, model: DCTransformer) -> np.ndarray:
    """The symbols that `walk` is to be sent for a list of L triples: int32 [3 L + 1]."""
    vocabulary = model.vocabulary
    positions = moved(sparse.positions, sparse.grid, vocabulary.grid)
    triples = np.stack([sparse.channels, positions, sparse.values + vocabulary.largest_value], axis=1)  # [L, 3]
    return np.append(triples.reshape(-1), vocabulary.stop).astype(np.int32)


def _extended(sparse: SparseDCT, triples: list[tuple[int, int, int]], canvas: tuple[int, int]) -> SparseDCT:
    return extended(sparse, *np.array(triples, np.int32).reshape(-1, 3).T, canvas)
