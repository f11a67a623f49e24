"""Samples grain maps and codes, one symbol after another, with caches.

Axes: B batch, L symbols of a sequence at most, P position symbols, N regions, n x m cells, K codes.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.codes.random_keys import choose
from dct_jax.dq_transformer.network import DQTransformer, Spoken
from dct_jax.dq_transformer.order import Sequences, lengths, say, start_map, unpack
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.nn.attention import Caches, empty_caches
from dct_jax.nn.few_rows import apply_to_few_rows


class Known(NamedTuple):
    """What is not sampled.

    Attributes:
        grain_map: int32 [B, N], the grains of regions; -1 where a region may have any.
        codes: int32 [B, n, m], a code where it is known, which must be in a region of known grain;
            K where it is not known, and at holes.
    """

    grain_map: jax.Array
    codes: jax.Array


class _State(NamedTuple):
    """What a step changes."""

    time: jax.Array  # int32 [], symbols that were sampled
    spoken: Spoken
    sequences: Sequences
    caches: tuple[Caches, Caches]  # of positions, of codes


@partial(jax.jit, static_argnums=0)
def sample_codes(
    network: DQTransformer,
    variables: Any,
    labels: jax.Array,
    keys: jax.Array,
    policy: StackPolicy,
    known: Known | None = None,
) -> jax.Array:
    """Samples grids with holes.

    Args:
        network, variables: what they are sampled from.
        labels: int32 [B], as the network takes them.
        keys: [B], a random key for each grid: a sample does not depend on the other rows.
        policy: how a position, and how a code is sampled from its logits.
        known: what is not sampled. What is sampled depends on what comes before it alone.

    Returns:
        int32 [B, n, m].
    """
    order, k, batch, c = network.order, network.num_codes, len(keys), network.config
    grains = None if known is None else known.grain_map
    apply = apply_to_few_rows(network, variables)
    rows = jnp.arange(batch)

    def step(state: _State) -> _State:
        """Samples a position, and the code there."""
        time, spoken, (of_positions, of_codes) = state.time, state.spoken, state.caches
        is_over = time >= lengths(order, spoken.grain_map)  # [B]
        logits, x, of_positions = apply(labels, time, spoken, grains, of_positions, method="step_position")
        position = choose(policy.of_positions()(logits), keys, 2 * time)
        position = jnp.where(is_over, order.number, position)
        logits, of_codes = apply(x, position, time, of_codes, method="step_code")
        code = choose(policy.of_codes()(logits), keys, 2 * time + 1)
        symbol = jnp.minimum(position, order.number - 1)
        if known is not None:
            given = known.codes.reshape(batch, -1)[rows, jnp.asarray(order.symbols.cell)[symbol]]
            code = jnp.where(given < k, given, code)
        code = jnp.where(is_over | jnp.asarray(order.symbols.is_end)[symbol], k, code)
        spoken = Spoken(position, code, say(order, spoken.grain_map, position))
        sequences = Sequences(*(old.at[:, time].set(new) for old, new in zip(state.sequences, (position, code))))
        return _State(time + 1, spoken, sequences, (of_positions, of_codes))

    start = Spoken(jnp.full(batch, -1), jnp.full(batch, k), start_map(order, batch))
    nothing = Sequences(*(jnp.full((batch, order.longest), symbol) for symbol in (order.number, k)))
    layers = c.position_layers, c.content_layers
    of_positions, of_codes = (empty_caches(number, batch, c.width, c.heads, order.longest) for number in layers)
    state = _State(jnp.int32(0), start, nothing, (of_positions, of_codes))
    state = jax.lax.while_loop(lambda state: (state.time < lengths(order, state.spoken.grain_map)).any(), step, state)
    return unpack(order, state.sequences, k)
