"""Samples grids: all cells at once, again and again, in one compiled loop.

Axes: B batch, h x w cells, K codes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codes.random_keys import fold_keys
from dct_jax.sundae.network import SundaeNetwork
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.random_codes import sample_cells, uniform_cells, uniform_codes


class Schedule(NamedTuple):
    """A policy as data of a program.

    Attributes:
        steps, min_steps: int32 [] each.
        temperature, proportion: at the first and at the last step, float32 [2] each.
    """

    steps: jax.Array | np.ndarray
    min_steps: jax.Array | np.ndarray
    temperature: jax.Array | np.ndarray
    proportion: jax.Array | np.ndarray


class Denoised(NamedTuple):
    """Sampled grids.

    Attributes:
        codes: int32 [B, h, w].
        steps: int32 [B], how many steps each took, the one without a change included.
        history: int32 [room, B, h, w], the start and what each step left, as far as there is room;
            a sample that is frozen stays. Rows after the last step repeat what it left.
    """

    codes: jax.Array
    steps: jax.Array
    history: jax.Array


class _State(NamedTuple):
    """What a step changes: its number, int32 []; which samples are frozen, bool [B]; the rest."""

    number: jax.Array
    is_frozen: jax.Array
    denoised: Denoised


def schedule_of(policy: SundaePolicy) -> Schedule:
    """Returns a policy's numbers as arrays, whose types are always equal."""
    numbers, pairs = (policy.steps, policy.min_steps), (policy.temperature, policy.proportion)
    return Schedule(*(np.asarray(x, np.int32) for x in numbers), *(np.asarray(x, np.float32) for x in pairs))


def sample_start(keys: jax.Array, size: tuple[int, int], num_codes: int) -> jax.Array:
    """Returns the uniform codes that samples begin with, int32 [B, h, w]."""
    return uniform_codes(fold_keys(keys, 0), size, num_codes)


def sample_grids(
    network: SundaeNetwork,
    params: Any,
    keys: jax.Array,
    labels: jax.Array | np.ndarray,
    start: jax.Array | np.ndarray,
    policy: SundaePolicy,
    known: jax.Array | np.ndarray | None = None,
    room: int = 0,
) -> Denoised:
    """Samples grids from a network.

    Args:
        network, params: what they are sampled from.
        keys: one for each sample, [B]; see `codes.random_keys.sample_keys`.
        labels: int32 [B].
        start: the codes of known cells, and what other cells begin with; int32 [B, h, w]. See
            `sample_start`.
        policy: how they are sampled. Another one needs no other program.
        known: bool [B, h, w], the cells that never change; none by default.
        room: the length of the history, one more than the policy's steps for all of it; 0 for none.
            Another room needs another program.
    """
    known = np.zeros(start.shape, bool) if known is None else known
    return _sample_grids(network, room, params, keys, labels, start, known, schedule_of(policy))


@partial(jax.jit, static_argnums=(0, 1))
def _sample_grids(
    network: SundaeNetwork,
    room: int,
    params: Any,
    keys: jax.Array,
    labels: jax.Array,
    start: jax.Array,
    known: jax.Array,
    schedule: Schedule,
) -> Denoised:
    return denoise(lambda codes: network.apply(params, codes, labels), start, known, keys, schedule, room)


def denoise(
    logits_of: Callable[[jax.Array], Any],
    start: jax.Array,
    known: jax.Array,
    keys: jax.Array,
    schedule: Schedule,
    room: int,
) -> Denoised:
    """Samples grids, step by step, until all are frozen or the steps are over.

    Args:
        logits_of: codes int32 [B, h, w] -> logits float32 [B, h, w, K].
        start: int32 [B, h, w].
        known: bool [B, h, w], the cells that never change.
        keys: one for each sample, [B].
        schedule: how they are sampled.
        room: the length of the history, one more than the schedule's steps for all of it; 0 for
            none.
    """
    start = jnp.asarray(start, jnp.int32)
    batch = start.shape[0]
    history = jnp.broadcast_to(start, (room, *start.shape))
    nothing = Denoised(start, jnp.zeros(batch, jnp.int32), history)

    def goes_on(state: _State) -> jax.Array:
        return (state.number < schedule.steps) & ~state.is_frozen.all()

    def step(state: _State) -> _State:
        n, is_frozen, (codes, steps, history) = state
        share = n / jnp.maximum(schedule.steps - 1, 1)  # from 0 to 1
        temperature, proportion = (
            first + share * (last - first) for first, last in (schedule.temperature, schedule.proportion)
        )
        proposed = sample_cells(logits_of(codes), fold_keys(keys, 2 * n + 1), temperature)
        is_taken = uniform_cells(fold_keys(keys, 2 * n + 2), (start.shape[1], start.shape[2])) < proportion
        is_taken &= ~known & ~is_frozen[:, None, None]
        after = jnp.where(is_taken, proposed, codes)
        is_same = (after == codes).all(axis=(1, 2))  # [B]
        steps = steps + ~is_frozen
        if room:
            # Rows of steps that are never reached get the last grid, too: then nothing changes.
            is_later = (jnp.arange(room) > n)[:, None, None, None]
            history = jnp.where(is_later, after, history)
        return _State(n + 1, is_frozen | (is_same & (n >= schedule.min_steps)), Denoised(after, steps, history))

    first = _State(jnp.zeros((), jnp.int32), jnp.zeros(batch, bool), nothing)
    return jax.lax.while_loop(goes_on, step, first).denoised
