"""The cached sampler of one chunk, for a batch of lists.

One parallel pass encodes the partial DCT image and runs the overlap through the decoders, which
fills their caches. Then a loop samples one triple a step, until every list of the batch has stopped
or has what it may have of the chunk. A chunk whose first elements are given goes through the
parallel pass with them.

Axes: B batch, G copies for guidance, C chunk, O overlap.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.dct.chunks import Array, Chunk
from dct_jax.dct.network import DCTransformer, SymbolNats, Triples
from dct_jax.dct.network.transformer import DecoderCaches, Encoding, with_elements
from dct_jax.dct.sampling.guidance import Guidance
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.nn.blocks import Window
from dct_jax.nn.few_rows import apply_to_few_rows
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.temperature import SymbolPolicy


class Span(NamedTuple, Generic[Array]):
    """The elements of each chunk that are sampled, and from what; int32 [B] each.

    Attributes:
        given: how many elements of the target chunk are known already.
        until: where sampling ends, at most C; 0 for a list that gets nothing.
        next_rank: sampled channels have at least this rank in the channel order: 0 for all, more if
            a prefix is complete up to there.
    """

    given: Array
    until: Array
    next_rank: Array


class SampledChunk(NamedTuple, Generic[Array]):
    """The elements of a chunk, given or sampled. After a list's end its channels are stopping
    tokens, the rest is 0.

    Attributes:
        channels, positions, values: int32 [B, C].
        nats: the model's own log-likelihood (whatever the policy) of each sampled symbol, among
            those that `Span.next_rank` allows; float32 [B, C] each, 0 for what is given.
    """

    channels: Array
    positions: Array
    values: Array
    nats: SymbolNats[Array]


class _Fixed(NamedTuple):
    """What does not change while a chunk is sampled; int32 [B, 1] each without a comment."""

    encoding: Encoding  # of the G B lists, but for its image
    targets: Triples[jax.Array]  # [B, C]: the given elements
    given: jax.Array
    until: jax.Array
    next_rank: jax.Array
    keys: jax.Array  # [B]


class _Loop(NamedTuple):
    """What the loop over the chunk's elements carries."""

    step: jax.Array  # int32 [], elements done
    last: Triples[jax.Array]  # [B, 1]
    caches: DecoderCaches  # of the G B lists
    image: jax.Array | None  # [G B, C, P], of the encoding
    sampled: SampledChunk[jax.Array]


@partial(jax.jit, static_argnums=(0, 1))
def sample_chunk(
    model: DCTransformer,
    resumes: bool,
    policy: Policy,
    params: Any,
    chunk: Chunk[jax.Array],
    keys: jax.Array,
    span: Span[jax.Array],
) -> SampledChunk[jax.Array]:
    """Samples the target elements of a batch of chunks.

    Args:
        model, params: the network that it samples from.
        resumes: whether any list has given elements in its chunk. If none has, the parallel pass is
            over the overlap alone.
        policy: how symbols are sampled.
        chunk: the lists so far, with the target elements that are given.
        keys: [B], a random key for each list: a sample does not depend on the other rows.
        span: the elements that are sampled.
    """
    config, stop = model.config, model.vocabulary.stop
    batch, size = len(keys), config.chunk_size
    given, until, next_rank = (x[:, None] for x in span)  # [B, 1] each
    elements = Triples(chunk.channels, chunk.positions, chunk.values)  # [B, O + C + 1]
    targets = Triples(*(x[:, config.overlap + 1 :] for x in elements))  # [B, C]
    guidance = Guidance(policy.guidance)
    known = config.window if resumes else None
    encoding, caches, _ = prefill(model, params, guidance.chunks(chunk, config.num_classes), known)

    # The loop starts after the elements that all lists have. A list with more is led through them.
    first = jnp.min(jnp.where(until > given, given, size))  # []
    is_known = jnp.arange(size) < given  # [B, C]
    channels = jnp.where(is_known, targets.channels, stop)
    positions, values = (jnp.where(is_known, x, 0) for x in targets[1:])
    nothing = SampledChunk(channels, positions, values, SymbolNats(*[jnp.zeros((batch, size), jnp.float32)] * 3))
    last = Triples(*(jax.lax.dynamic_slice_in_dim(x, config.overlap + first, 1, 1) for x in elements))
    fixed = _Fixed(encoding, targets, given, until, next_rank, keys)

    def goes_on(loop: _Loop) -> jax.Array:
        return jnp.any((loop.step < until) & (loop.last.channels != stop))

    step = partial(_sample_element, model, apply_to_few_rows(model, params), policy, fixed)
    return jax.lax.while_loop(goes_on, step, _Loop(first, last, caches, encoding.image, nothing)).sampled


def _sample_element(model: DCTransformer, apply: Callable[..., Any], policy: Policy, fixed: _Fixed, loop: _Loop) -> _Loop:
    """Adds an element to each list: a sampled one, the given one, or, after its end, a stopping
    token.

    Args:
        model: it has the vocabulary and the sizes.
        apply: runs a method of the model with the parameters.
        policy, fixed: how and what to sample.
        loop: the lists so far.
    """
    config, stop, largest = model.config, model.vocabulary.stop, model.vocabulary.largest_value
    guidance, rank = Guidance(policy.guidance), jnp.asarray(model.vocabulary.rank[: stop + 1])  # [C + 1]
    index, last, caches = config.overlap + loop.step, guidance.repeat(loop.last), loop.caches
    encoding = fixed.encoding._replace(image=loop.image)
    over = (loop.step >= fixed.until) | (loop.last.channels == stop)  # [B, 1]
    known = loop.step < fixed.given  # [B, 1]
    target = Triples(*(jax.lax.dynamic_slice_in_dim(x, loop.step, 1, 1) for x in fixed.targets))  # [B, 1]

    def sample(of: SymbolPolicy, logits: jax.Array, symbol: int) -> tuple[jax.Array, jax.Array]:
        """Samples from logits [G B, 1, N]. Returns symbols, int32 [B, 1], and their log-likelihood
        under the model, [B, 1]."""
        mixed, own = guidance.mix(logits)  # [B, N] each
        keys = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, loop.step), symbol))(fixed.keys)
        sampled = jax.vmap(jax.random.categorical)(keys, of(mixed))[:, None].astype(jnp.int32)  # [B, 1]
        nats = jnp.take_along_axis(jax.nn.log_softmax(own), sampled, axis=-1)
        return sampled, nats.astype(jnp.float32)  # JAX's 64-bit mode has other types

    logits, stream, channel_caches = apply(last, encoding, Window(caches.channel, index), method="predict_channel")
    logits = jnp.where(rank >= guidance.repeat(fixed.next_rank)[..., None], logits, IMPOSSIBLE)
    channel, channel_nats = sample(policy.channel, logits, 0)
    channel = jnp.where(over, stop, jnp.where(known, target.channels, channel))
    channels = guidance.repeat(channel)  # [G B, 1]
    window = Window(caches.position, index)
    logits, stream, position_caches = apply(stream, channels, last, encoding, window, method="predict_position")
    position, position_nats = sample(policy.position, logits, 1)
    ends = channel == stop
    position = jnp.where(ends, 0, jnp.where(known, target.positions, position))
    positions = guidance.repeat(position)  # [G B, 1]
    logits, value_caches = apply(stream, channels, positions, encoding, Window(caches.value, index), method="predict_value")
    value, value_nats = sample(policy.value, logits, 2)
    value = jnp.where(ends, 0, jnp.where(known, target.values, value - largest))

    triples = Triples(channel, position, value)
    of_places = (jnp.where(ends | known, 0, x) for x in (position_nats, value_nats))
    nats = SymbolNats(jnp.where(over | known, 0, channel_nats), *of_places)
    sampled = jax.tree.map(
        lambda rows, row: jax.lax.dynamic_update_slice_in_dim(rows, row, loop.step, 1),
        loop.sampled,
        SampledChunk(*triples, nats),
    )
    caches = DecoderCaches(channel_caches, position_caches, value_caches)
    return _Loop(loop.step + 1, triples, caches, with_elements(loop.image, guidance.repeat(triples)), sampled)
