"""A step of training by gradients: a pure function of state and batch, for any stage with a
loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.training.stage import TrainState

Loss = Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]
"""Variables, a part of the batch and a key -> the part's share of the loss, and sums to report."""


def gradient_step(
    loss: Loss, optimizer: optax.GradientTransformation, state: TrainState, batch: Any, seed: int, accumulate: int
) -> tuple[TrainState, Any, jax.Array]:
    """Takes a step on a device's part of the batch; it runs under the axis "data" over the devices.

    Args:
        loss: the step lowers its sum over a device's parts, averaged over devices. It divides by
            what is known of the whole batch, so that the result does not depend on how the batch is
            spread.
        optimizer: of the variables.
        state: equal on all devices.
        batch: this device's rows, a tree of [b, ...].
        seed: of all that is random in the loss, with the step, the device and the part.
        accumulate: A, parts of the batch, one after the other; their gradients are added up.

    Returns:
        The state after the step; the loss's reports, summed over the global batch; the gradient's
        norm before clipping.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), jax.lax.axis_index(DATA_AXIS))

    def add(total: tuple[Any, Any], part: tuple[Any, jax.Array]) -> tuple[tuple[Any, Any], None]:
        return jax.tree.map(jnp.add, total, jax.grad(loss, has_aux=True)(state.variables, *part)), None

    parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)  # [A, b / A, ...]
    first = jax.tree.map(lambda x: x[0], parts)
    reports = jax.eval_shape(loss, state.variables, first, key)[1]
    nothing = jax.tree.map(jnp.zeros_like, state.variables), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), reports)
    (gradient, sums), _ = jax.lax.scan(add, nothing, (parts, jax.random.split(key, accumulate)))
    gradient = jax.lax.pmean(gradient, DATA_AXIS)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.variables)
    after = TrainState(state.step + 1, optax.apply_updates(state.variables, updates), optimizer_state)
    return after, jax.lax.psum(sums, DATA_AXIS), optax.tree.norm(gradient)
