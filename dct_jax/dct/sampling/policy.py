"""How a symbol is drawn from its logits.

Policies are pytrees: temperatures and the strength of guidance are data, so that another one needs no other program. Whether
there is a top-k, a top-p or guidance decides which program it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from dct_jax.nn.masks import IMPOSSIBLE


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class SymbolPolicy:
    """Temperature, then top-k, then top-p. The defaults draw from the model's own distribution, as the paper does.

    Attributes:
        temperature: divides the logits; below 1 favours likely symbols.
        top_k: only the k likeliest symbols can be drawn; 0 for all.
        top_p: only the likeliest symbols that together have this probability can be drawn; 1 for all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        # Far above, impossible symbols would become possible; far below, logits would no longer be finite.
        if not 1e-6 <= self.temperature <= 1e6:
            raise ValueError(f"temperature is {self.temperature}; it must be from 1e-6 to 1e6")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (all) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")

    def __call__(self, logits: jax.Array) -> jax.Array:
        """The logits to draw from: float32 [..., N] -> float32 [..., N]."""
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

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (self.temperature,), (self.top_k, self.top_p)

    @classmethod
    def tree_unflatten(cls, program: tuple[Any, ...], data: tuple[Any, ...]) -> "SymbolPolicy":
        return _unchecked(cls, zip(("temperature", "top_k", "top_p"), (*data, *program)))


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Policy:
    """One policy for each symbol, after guidance.

    Attributes:
        channel, position, value: how each is drawn from its logits.
        guidance: w of classifier-free guidance (Ho and Salimans, 2021), for a model that was trained with hidden classes: all
            logits become u + w (c - u), where c are those with the class and u those without. 1 draws from the model with the
            class; above 1 pictures are more like their class and less varied, and cost twice as much.
    """

    channel: SymbolPolicy = field(default_factory=SymbolPolicy)
    position: SymbolPolicy = field(default_factory=SymbolPolicy)
    value: SymbolPolicy = field(default_factory=SymbolPolicy)
    guidance: float = 1.0
    is_guided: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.guidance <= 100:
            raise ValueError(f"guidance is {self.guidance}; it must be from 0 (without the class) to 100")
        object.__setattr__(self, "is_guided", self.guidance != 1)

    def tree_flatten(self) -> tuple[tuple[Any, ...], bool]:
        return (self.channel, self.position, self.value, self.guidance), self.is_guided

    @classmethod
    def tree_unflatten(cls, is_guided: bool, data: tuple[Any, ...]) -> "Policy":
        return _unchecked(cls, zip(("channel", "position", "value", "guidance", "is_guided"), (*data, is_guided)))


def _unchecked(policy: type, fields: Iterable[tuple[str, Any]]) -> Any:
    """A policy whose fields may be tracers, which cannot be compared."""
    made = object.__new__(policy)
    for name, value in fields:
        object.__setattr__(made, name, value)
    return made
