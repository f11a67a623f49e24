"""Settings of how a symbol is sampled from its logits."""

import numbers

import flax.struct
import jax
import jax.numpy as jnp

from dct_jax.nn.masks import IMPOSSIBLE


@flax.struct.dataclass
class SymbolPolicy:
    """Temperature, then top-k, then top-p. The defaults change nothing, as in the paper.

    The temperature is data: another one needs no other program. Another top-k or top-p does.

    Attributes:
        temperature: divides the logits; below 1 favours likely symbols.
        top_k: only the k likeliest symbols can be sampled; 0 for all.
        top_p: only the likeliest symbols that together have this probability remain; 1 for all.
    """

    temperature: float = 1.0
    top_k: int = flax.struct.field(default=0, pytree_node=False)
    top_p: float = flax.struct.field(default=1.0, pytree_node=False)

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, numbers.Real):
            return  # in a program, where a policy was checked before
        # Far above, impossible symbols become possible; far below, logits are no longer finite.
        if not 1e-6 <= self.temperature <= 1e6:
            raise ValueError(f"temperature is {self.temperature}; it must be from 1e-6 to 1e6")
        if not isinstance(self.top_k, numbers.Integral) or self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (all) or a larger integer")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")

    def __call__(self, logits: jax.Array) -> jax.Array:
        """Returns the logits to sample from, float32 [..., N], of float32 [..., N]."""
        logits = logits / self.temperature
        if self.top_k:
            kth = jax.lax.top_k(logits, min(self.top_k, logits.shape[-1]))[0][..., -1:]  # [..., 1]
            logits = jnp.where(logits >= kth, logits, IMPOSSIBLE)
        if self.top_p < 1:
            ordered = -jnp.sort(-logits, axis=-1)  # [..., N], falling
            probabilities = jax.nn.softmax(ordered)
            before = jnp.cumsum(probabilities, axis=-1) - probabilities  # [..., N]: of the symbols ahead of each
            smallest = jnp.where(before < self.top_p, ordered, jnp.inf).min(axis=-1, keepdims=True)
            logits = jnp.where(logits >= smallest, logits, IMPOSSIBLE)
        return logits
