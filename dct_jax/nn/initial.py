"""Makes initial parameters without compiling the network's sixty initialisers into one program.

XLA spends its time on the code of the random numbers, anew for every shape. Number i of a key does
not depend on how many are generated (JAX's partitionable Threefry), so all short arrays are cut
from random numbers of one length. Only what the parameters depend on is evaluated, one operation
after another.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

SHORTEST = 2**16
"""At least so many random numbers are generated for an array."""

Initializer = Callable[..., jax.Array]


def initial_params(model: nn.Module, *inputs: Any, seed: int) -> Any:
    """Returns what `model.init(jax.random.key(seed), *inputs)` does. Inputs give shapes only."""
    key = jax.random.key(seed)
    program, shapes = jax.make_jaxpr(model.init, return_shape=True)(key, *inputs)
    jaxpr, _ = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.out_avals), instantiate=True)
    leaves = jax.core.eval_jaxpr(jaxpr, program.consts, key, *jax.tree.leaves(inputs))
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def normal(deviation: float) -> Initializer:
    """Returns Flax's `normal(deviation)`: the normal distribution."""
    return partial(_initial, jax.random.normal, deviation)


def fan_in(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Does what Flax's `lecun_normal()` does for dense layers and convolutions: the normal
    distribution, cut off at two standard deviations, of the variance 1 / inputs of a unit."""
    return _initial(_cut_off, math.prod(shape[:-1]) ** -0.5 / 0.87962566103423978, key, shape, dtype)


def _cut_off(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype)  # of the standard deviation 0.8796


def _initial(
    distribution: Callable[..., jax.Array], deviation: float, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32
) -> jax.Array:
    numbers = _generate(distribution, key, max(math.prod(shape), SHORTEST), dtype)  # [N]
    return _first(numbers, np.asarray(deviation, dtype), tuple(shape))


@partial(jax.jit, static_argnums=(0, 2, 3))
def _generate(distribution: Callable[..., jax.Array], key: jax.Array, number: int, dtype: Any) -> jax.Array:
    return distribution(key, (number,), dtype)


@partial(jax.jit, static_argnums=2)
def _first(numbers: jax.Array, deviation: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    """Returns the first of the numbers, as an array of the shape and standard deviation."""
    return numbers[: math.prod(shape)].reshape(shape) * deviation
