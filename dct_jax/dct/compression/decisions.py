"""Writes a symbol as binary decisions whose probabilities need not be the same to the last bit.

The symbols of an alphabet are the leaves of a balanced binary tree, and a symbol is the path to it:
D decisions between left (0) and right (1). A decision's log-odds come from the network, and another
machine finds slightly other ones. Both therefore round them to multiples of `STEP`. Where the
writer's log-odds lie so near to the boundary between two multiples that a reader might round them
to the other side, the writer notes the number of the decision, a *hint*. With a hint both round
down, not to the nearest multiple: near a boundary all machines do that alike. PMATIC (arXiv
2601.10678) has hints of this kind.

A tolerance t means: the logits of writer and reader differ by at most t, up to a constant that all
logits of a symbol share. The logarithm of a subtree's mass then differs by at most t, and a
decision's log-odds by 2 t.

Axes: N symbols, D = ceil(log2 N) decisions, 2^D - 1 nodes, level by level from the root.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.masks import IMPOSSIBLE

STEP = 1 / 16
"""Of the log-odds, in nats. Rounding costs at most STEP^2 / 32 = 1.2e-4 nats a decision, if both
sides are equally likely, and a third of it on average."""

LARGEST = 224
"""Log-odds beyond so many steps, 14 nats, count as so many."""

CERTAIN = 2**15 - 1
"""It stands in place of rounded log-odds where one side is impossible, so nothing is decided."""

_LEAST = 2.0**-24
_PROBABILITIES = np.round(1 / (1 + np.exp(-STEP * np.arange(-LARGEST, LARGEST + 1))) / _LEAST) * _LEAST


def probability(steps: np.ndarray) -> np.ndarray:
    """Returns the probability of the right side, float64 [...], a multiple of 2^-24 and so the same
    on every machine, at log-odds of so many steps, int [...] from -LARGEST to LARGEST."""
    return _PROBABILITIES[steps + LARGEST]


def depth(symbols: int) -> int:
    """Returns D for an alphabet of N symbols."""
    return (symbols - 1).bit_length()


def all_log_odds(logits: jax.Array) -> jax.Array:
    """Returns the log-odds of every decision, [..., 2^D - 1], from logits, [..., N].

    Where one side is impossible they are about +-1e30; where both are, 0.
    """
    levels = [right - left for left, right in _sides(logits)]
    return jnp.concatenate([logits[..., :0], *reversed(levels)], axis=-1)


def path_log_odds(logits: jax.Array, symbols: jax.Array) -> jax.Array:
    """Returns the log-odds of the decisions on the way to known symbols.

    Args:
        logits: [..., N].
        symbols: int32 [...].

    Returns:
        [..., D], from the root on.
    """
    path = []
    for level, (left, right) in enumerate(_sides(logits), start=1):
        node = (symbols >> level)[..., None]
        path.append(jnp.take_along_axis(right - left, node, axis=-1))
    return jnp.concatenate([logits[..., :0], *reversed(path)], axis=-1)


def _sides(logits: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Returns the logarithms of the masses of the left and right sides of all nodes of a level, for
    each level from the leaves' parents up to the root."""
    number = logits.shape[-1]
    padding = [(0, 0)] * (logits.ndim - 1) + [(0, 2 ** depth(number) - number)]
    mass = jnp.pad(logits, padding, constant_values=IMPOSSIBLE)
    levels = []
    for _ in range(depth(number)):
        left, right = mass[..., 0::2], mass[..., 1::2]
        levels.append((left, right))
        mass = jnp.logaddexp(left, right)
    return levels


def round_all(log_odds: jax.Array) -> jax.Array:
    """Rounds log-odds [...] to what a `PathReader` reads: int16 [..., 2], the nearest number of
    steps, and the nearest one below."""
    steps = log_odds / STEP
    both = jnp.stack([jnp.round(steps), jnp.floor(steps)], axis=-1)
    is_open = jnp.abs(both) < -IMPOSSIBLE / 2
    return jnp.where(is_open, jnp.clip(both, -LARGEST, LARGEST), jnp.sign(both) * CERTAIN).astype(jnp.int16)


def round_path(log_odds: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Rounds the log-odds of decisions that are written.

    Args:
        log_odds: float64 [M], none of certain decisions.
        tolerance: t.

    Returns:
        The numbers of steps, int64 [M]; and whether each needs a hint, bool [M].
    """
    steps = log_odds / STEP
    below = np.floor(steps)
    # A hundredth more allows for the rounding of sums and differences.
    is_near = np.abs(steps - below - 0.5) <= 1.01 * 2 * tolerance / STEP
    is_near &= (-LARGEST <= below) & (below < LARGEST)
    rounded = np.clip(np.where(is_near, below, np.rint(steps)), -LARGEST, LARGEST)
    return rounded.astype(np.int64), is_near


def sides_to(symbols: np.ndarray, decisions: int) -> np.ndarray:
    """Returns the sides, int32 [..., D], that lead to symbols, int [...]."""
    return (np.asarray(symbols)[..., None] >> np.arange(decisions)[::-1] & 1).astype(np.int32)
