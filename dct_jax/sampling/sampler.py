"""The cached sampler: chunk by chunk, a batch of lists at a time.

For each chunk the partial DCT image is encoded and the overlap is run through the decoders in one parallel pass, which
fills their caches; a loop then draws one triple a step, until the chunk is full or every list of the batch has stopped.

Axes: B batch, C chunk, O overlap.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import Chunk, extended, make_chunks, num_chunks
from dct_jax.model import DCTransformer, SymbolNats, Triples
from dct_jax.model.transformer import DecoderCaches
from dct_jax.sampling.policy import Policy, SymbolPolicy
from dct_jax.sampling.prefill import prefill


class SampledChunk(NamedTuple):
    """What one call of sample_chunk drew. After a list's stopping token its channels are stopping tokens, the rest 0.

    Attributes:
        channels, positions, values: int32 [B, C].
        nats: the model's own log-likelihood (whatever the policy) of each drawn symbol, float32 [B, C] each.
    """

    channels: jax.Array
    positions: jax.Array
    values: jax.Array
    nats: SymbolNats


class _Loop(NamedTuple):
    """What the loop over the chunk's elements carries."""

    step: jax.Array  # int32 [], elements drawn
    last: Triples  # [B, 1]
    caches: DecoderCaches
    drawn: SampledChunk


@partial(jax.jit, static_argnums=(0, 1))
def sample_chunk(
    model: DCTransformer, policy: Policy, params: Any, chunk: Chunk, keys: jax.Array, finished: jax.Array
) -> SampledChunk:
    """Draws the target elements of a batch of chunks.

    Args:
        model, policy, params: what to draw from, and how.
        chunk: the lists so far; its target elements are not looked at.
        keys: [B], one random key a list, so that a draw does not depend on the rest of the batch.
        finished: bool [B], lists that have stopped before.
    """
    config, stop, largest = model.config, model.vocabulary.stop, model.vocabulary.largest_value
    apply = partial(model.apply, params)
    encoding, caches, last = prefill(model, params, chunk)

    def draw(policy: SymbolPolicy, logits: jax.Array, step: jax.Array, symbol: int) -> tuple[jax.Array, jax.Array]:
        """[B, 1, N] -> the drawn symbols, int32 [B, 1], and their log-likelihood under the model, [B, 1]."""
        step_keys = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, step), symbol))(keys)
        drawn = jax.vmap(jax.random.categorical)(step_keys, policy(logits[:, 0]))[:, None]  # [B, 1]
        return drawn, jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[..., None], axis=-1)[..., 0]

    def going(loop: _Loop) -> jax.Array:
        return (loop.step < config.chunk_size) & ~jnp.all(finished | (loop.last.channels[:, 0] == stop))

    def step(loop: _Loop) -> _Loop:
        index, last, caches = config.overlap + loop.step, loop.last, loop.caches
        over = finished[:, None] | (last.channels == stop)  # [B, 1]
        logits, stream, channel_caches = apply(last, encoding, caches.channel, index, method="predict_channel")
        channel, channel_nats = draw(policy.channel, logits, loop.step, 0)
        channel = jnp.where(over, stop, channel)
        logits, stream, position_caches = apply(
            stream, channel, last, encoding, caches.position, index, method="predict_position"
        )
        position, position_nats = draw(policy.position, logits, loop.step, 1)
        ends = channel == stop
        position = jnp.where(ends, 0, position)
        logits, value_caches = apply(stream, channel, position, encoding, caches.value, index, method="predict_value")
        value, value_nats = draw(policy.value, logits, loop.step, 2)
        value = jnp.where(ends, 0, value - largest)
        nats = SymbolNats(jnp.where(over, 0, channel_nats), jnp.where(ends, 0, position_nats), jnp.where(ends, 0, value_nats))
        new = SampledChunk(channel, position, value, nats)  # [B, 1]
        drawn = jax.tree.map(lambda rows, row: jax.lax.dynamic_update_slice_in_dim(rows, row, loop.step, 1), loop.drawn, new)
        caches = DecoderCaches(channel_caches, position_caches, value_caches)
        return _Loop(loop.step + 1, Triples(channel, position, value), caches, drawn)

    shape = (len(finished), config.chunk_size)
    nothing = SampledChunk(
        jnp.full(shape, stop), jnp.zeros(shape, int), jnp.zeros(shape, int), SymbolNats(*[jnp.zeros(shape)] * 3)
    )
    start = _Loop(jnp.int32(0), last, caches, nothing)
    return jax.lax.while_loop(going, step, start).drawn


def sample_lists(
    model: DCTransformer,
    params: Any,
    blanks: Sequence[SparseDCT],
    labels: np.ndarray,
    seed: int,
    policy: Policy,
    first: int = 0,
) -> tuple[list[SparseDCT], SymbolNats]:
    """Draws a batch of whole lists.

    Args:
        model, params: what to draw from.
        blanks: B lists without triples, `SparseDCT.empty`, of the sizes to draw, which fit on the model's canvas.
        labels: int32 [B], the class of each list (0 without classes).
        seed: sample i of a seed is the same list in whatever batch it is drawn.
        policy: how to draw.
        first: the number i of the first list.

    Returns:
        B lists, and their log-likelihood under the model, float64 [B] for each symbol, in nats.
    """
    vocabulary, config, batch = model.vocabulary, model.config, len(blanks)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(first + jnp.arange(batch))  # [B]
    lists = list(blanks)
    finished, totals = np.zeros(batch, bool), np.zeros((3, batch))
    for index in range(num_chunks(vocabulary.longest_list, config.chunk_size)):
        made = make_chunks(lists, [index] * batch, labels, vocabulary, config.chunk_size, config.overlap)
        chunk_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        drawn = jax.device_get(sample_chunk(model, policy, params, made, chunk_keys, finished))
        is_triple = drawn.channels < vocabulary.stop  # [B, C]
        lists = [
            extended(sparse, *(x[i][is_triple[i]].astype(np.int32) for x in drawn[:3]), vocabulary.grid)
            for i, sparse in enumerate(lists)
        ]
        totals += [nats.sum(axis=1, dtype=np.float64) for nats in drawn.nats]
        finished = finished | ~is_triple.all(axis=1)
        if finished.all():
            break
    return lists, SymbolNats(*totals)
