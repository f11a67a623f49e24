"""Muon (Jordan et al., 2024) for many small matrices at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib


def stacked_muon(learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Optax's Muon, for a tree whose leaves are all matrices.

    Matrices of one shape go through its products together, and tall ones as wide ones, which Muon
    does not notice: so it takes a third of the time on CPUs, and a seventh to compile. Updates have
    one size for all shapes, 0.2 times the learning rate (Liu et al., 2025).
    """
    inner = optax.contrib.muon(
        learning_rate,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=lambda stacks: {name: optax.contrib.MuonDimensionNumbers(1, 2) for name in stacks},
    )

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        stacks, unstack = _stack(updates)
        stacks, state = inner.update(stacks, state, None if params is None else _stack(params)[0])
        return unstack(stacks), state

    return optax.GradientTransformation(lambda params: inner.init(_stack(params)[0]), update)


def _stack(matrices: Any) -> tuple[dict[str, jax.Array], Callable[[dict[str, jax.Array]], Any]]:
    """Stacks a tree's matrices [n, K, N], K <= N, by shape; also returns the inverse."""
    leaves, tree = jax.tree.flatten(matrices)
    groups: dict[str, list[int]] = {}
    for i, leaf in enumerate(leaves):
        rows, columns = sorted(leaf.shape)
        groups.setdefault(f"{rows}x{columns}", []).append(i)

    def wide(i: int, matrix: jax.Array) -> jax.Array:
        """Matrix i as it lies in its stack, or, given that, as it lies in the tree."""
        return matrix.T if leaves[i].shape[0] > leaves[i].shape[1] else matrix

    def unstack(stacks: dict[str, jax.Array]) -> Any:
        flat = {i: wide(i, matrix) for name, group in groups.items() for i, matrix in zip(group, stacks[name])}
        return jax.tree.unflatten(tree, [flat[i] for i in range(len(leaves))])

    return {name: jnp.stack([wide(i, leaves[i]) for i in group]) for name, group in groups.items()}, unstack
