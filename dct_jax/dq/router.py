"""What decides the grains of a DQ-VAE's regions, and the loss that keeps a learned router within
its budget.

Axes: B batch, h x w regions, G grains, C channels.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.initial import fan_in
from dct_jax.vq.gan.blocks import Normalize


class FeatureRouter(nn.Module):
    """Features of all grains -> the logits of each region's grain."""

    groups: int

    @nn.compact
    def __call__(self, heads: Sequence[jax.Array]) -> jax.Array:
        """Features of each grain, from coarse to fine, [B, h 2^g, w 2^g, C] -> [B, h, w, G]."""
        pooled = []
        for grain, x in enumerate(heads):
            side, groups = 2**grain, math.gcd(self.groups, x.shape[-1])
            pooled.append(nn.avg_pool(Normalize(groups, name=f"norm{grain}")(x), (side, side), (side, side)))
        x = jnp.concatenate(pooled, axis=-1)  # [B, h, w, G C]
        x = nn.silu(nn.Dense(x.shape[-1], kernel_init=fan_in, name="hidden")(x))
        return nn.Dense(len(heads), kernel_init=fan_in, name="logits")(x)


def choose_grains(logits: jax.Array, noise: jax.Array | None) -> jax.Array:
    """Chooses a grain by logits, [..., G] -> gates [..., G], 1 at the grain and 0 elsewhere.

    Without noise the largest logit is chosen. With noise of the Gumbel distribution, [..., G], a
    grain is chosen with its softmax probability, and the gradient of the gates is that of the
    softmax of the sums (the straight-through Gumbel softmax at a temperature of 1: Jang et al.,
    "Categorical Reparameterization with Gumbel-Softmax", 2017).
    """
    sums = logits if noise is None else logits + noise
    hard = jax.nn.one_hot(jnp.argmax(sums, axis=-1), logits.shape[-1])
    if noise is None:
        return hard
    soft = nn.softmax(sums)
    return hard + (soft - jax.lax.stop_gradient(soft))


def compare_with_thresholds(numbers: jax.Array, thresholds: jax.Array) -> jax.Array:
    """Chooses as grain how many of the thresholds, [G - 1], lie below a number: [...] -> gates
    [..., G]. They have no gradient."""
    grain = (numbers[..., None] > thresholds).sum(axis=-1)
    return jax.nn.one_hot(grain, len(thresholds) + 1)


def count_shares(gates: jax.Array) -> jax.Array:
    """Returns the share of regions of each grain but the coarsest: [B, h, w, G] -> [G - 1]."""
    return gates.mean(axis=(0, 1, 2))[1:]


def budget_loss(shares: jax.Array, ratios: Sequence[float], budget: float) -> jax.Array:
    """Returns the weighted sum of the squared differences between the shares of the global batch,
    [G - 1], and what they should be."""
    return budget * jnp.square(shares - jnp.asarray(ratios)).sum()
