"""The cached sampler of one chunk, for a batch of lists.

The partial DCT image is encoded and the overlap is run through the decoders in one parallel pass, which fills their caches; a
loop then draws one triple a step, until every list of the batch has stopped or has what it may have of the chunk. A chunk whose
first elements are given goes through the parallel pass with them.

Axes: B batch, C chunk, O overlap.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network import DCTransformer, SymbolNats, Triples
from dct_jax.dct.network.transformer import DecoderCaches, written
from dct_jax.dct.sampling.policy import Policy, SymbolPolicy
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.nn.few_rows import apply_to_few_rows
from dct_jax.nn.masks import IMPOSSIBLE


class Span(NamedTuple):
    """Which elements of each chunk are drawn, and from what; int32 [B] each.

    Attributes:
        given: elements of the target chunk that are known already.
        until: where drawing ends, at most C; 0 for a list that gets nothing.
        next_rank: drawn channels have at least this rank in the channel order: 0 for all, more if a prefix is complete up to
            there.
    """

    given: jax.Array
    until: jax.Array
    next_rank: jax.Array


class SampledChunk(NamedTuple):
    """The elements of a chunk, given or drawn. After a list's stopping token its channels are stopping tokens, the rest 0.

    Attributes:
        channels, positions, values: int32 [B, C].
        nats: the model's own log-likelihood (whatever the policy) of each drawn symbol, among those that `Span.next_rank`
            allows; float32 [B, C] each, 0 for what is given.
    """

    channels: jax.Array
    positions: jax.Array
    values: jax.Array
    nats: SymbolNats


class _Loop(NamedTuple):
    """What the loop over the chunk's elements carries."""

    step: jax.Array  # int32 [], elements done
    last: Triples  # [B, 1]
    caches: DecoderCaches
    image: jax.Array | None  # [G B, C, P], of the encoding
    drawn: SampledChunk


@partial(jax.jit, static_argnums=(0, 1))
def sample_chunk(
    model: DCTransformer, resumes: bool, policy: Policy, params: Any, chunk: Chunk, keys: jax.Array, span: Span
) -> SampledChunk:
    """Draws the target elements of a batch of chunks.

    Args:
        model, params: what to draw from.
        resumes: whether any list has given elements in its chunk; without, the parallel pass is over the overlap alone.
        policy: how to draw.
        chunk: the lists so far; of its target elements the given ones.
        keys: [B], one random key a list, so that a draw does not depend on the rest of the batch.
        span: what to draw.
    """
    config, stop, largest = model.config, model.vocabulary.stop, model.vocabulary.largest_value
    batch, size, rank = len(keys), config.chunk_size, jnp.asarray(model.vocabulary.rank[: stop + 1])
    given, until, next_rank = (x[:, None] for x in span)  # [B, 1] each
    targets = Triples(*(x[:, config.overlap + 1 :] for x in (chunk.channels, chunk.positions, chunk.values)))  # [B, C] each
    # Guidance runs every list twice, the second time without its class: G = 1 or 2 copies.
    hidden = chunk._replace(label=jnp.full_like(chunk.label, config.num_classes))
    seen = [chunk, hidden] if policy.is_guided else [chunk]
    copies = len(seen)
    begun, caches, _ = prefill(
        model, params, jax.tree.map(lambda *x: jnp.concatenate(x), *seen), config.window if resumes else None
    )

    apply = apply_to_few_rows(model, params)

    def repeated(x: Any) -> Any:
        """[B, 1] -> [G B, 1]."""
        return jax.tree.map(lambda leaf: jnp.tile(leaf, (copies, 1)), x)

    def draw(of: SymbolPolicy, logits: jax.Array, step: jax.Array, symbol: int) -> tuple[jax.Array, jax.Array]:
        """[G B, 1, N] -> the drawn symbols, int32 [B, 1], and their log-likelihood under the model, [B, 1]."""
        own, other = logits[:batch, 0], logits[-batch:, 0]  # [B, N] each, with the class and without
        mixed = other + policy.guidance * (own - other) if policy.is_guided else own  # what is impossible stays so
        step_keys = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, step), symbol))(keys)
        drawn = jax.vmap(jax.random.categorical)(step_keys, of(mixed))[:, None]  # [B, 1]
        return drawn, jnp.take_along_axis(jax.nn.log_softmax(own), drawn, axis=-1)

    def going(loop: _Loop) -> jax.Array:
        return jnp.any((loop.step < until) & (loop.last.channels != stop))

    def step(loop: _Loop) -> _Loop:
        index, last, caches = config.overlap + loop.step, repeated(loop.last), loop.caches
        encoding = begun._replace(image=loop.image)
        over = (loop.step >= until) | (loop.last.channels == stop)  # [B, 1]
        known = loop.step < given  # [B, 1]
        target = Triples(*(jax.lax.dynamic_slice_in_dim(x, loop.step, 1, 1) for x in targets))  # [B, 1] each

        logits, stream, channel_caches = apply(last, encoding, caches.channel, index, method="predict_channel")
        logits = jnp.where(rank >= repeated(next_rank)[..., None], logits, IMPOSSIBLE)
        channel, channel_nats = draw(policy.channel, logits, loop.step, 0)
        channel = jnp.where(over, stop, jnp.where(known, target.channels, channel))
        logits, stream, position_caches = apply(
            stream, repeated(channel), last, encoding, caches.position, index, method="predict_position"
        )
        position, position_nats = draw(policy.position, logits, loop.step, 1)
        ends = channel == stop
        position = jnp.where(ends, 0, jnp.where(known, target.positions, position))
        logits, value_caches = apply(
            stream, repeated(channel), repeated(position), encoding, caches.value, index, method="predict_value"
        )
        value, value_nats = draw(policy.value, logits, loop.step, 2)
        value = jnp.where(ends, 0, jnp.where(known, target.values, value - largest))

        nats = SymbolNats(
            jnp.where(over | known, 0, channel_nats), *(jnp.where(ends | known, 0, x) for x in (position_nats, value_nats))
        )
        new = SampledChunk(channel, position, value, nats)  # [B, 1]
        drawn = jax.tree.map(lambda rows, row: jax.lax.dynamic_update_slice_in_dim(rows, row, loop.step, 1), loop.drawn, new)
        caches = DecoderCaches(channel_caches, position_caches, value_caches)
        triples = Triples(channel, position, value)
        return _Loop(loop.step + 1, triples, caches, written(loop.image, repeated(triples)), drawn)

    # Elements that all lists have are in the caches; where one has fewer, the others are led through theirs.
    first = jnp.min(jnp.where(until > given, given, size))  # []
    is_known = jnp.arange(size) < given  # [B, C]
    nothing = SampledChunk(
        jnp.where(is_known, targets.channels, stop),
        *(jnp.where(is_known, x, 0) for x in targets[1:]),
        SymbolNats(*[jnp.zeros((batch, size))] * 3),
    )
    elements = (chunk.channels, chunk.positions, chunk.values)
    last = Triples(*(jax.lax.dynamic_slice_in_dim(x, config.overlap + first, 1, 1) for x in elements))
    return jax.lax.while_loop(going, step, _Loop(first, last, caches, begun.image, nothing)).drawn
