"""Classifier-free guidance (Ho and Salimans, 2021): a list runs with its class, and without."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.dct.chunks import Chunk


class Guidance(NamedTuple):
    """The number of copies of a batch that run, G, and the mixture of their logits.

    Attributes:
        strength: w of `Policy.guidance`; if it is None, every list runs once.
    """

    strength: jax.Array | float | None

    def chunks(self, chunk: Chunk[jax.Array], hidden: int) -> Chunk[jax.Array]:
        """Returns the copies, [G B, ...], of a batch [B, ...]; `hidden` is the hidden class's
        label."""
        if self.strength is None:
            return chunk
        without = chunk._replace(label=jnp.full_like(chunk.label, hidden))
        return jax.tree.map(lambda *x: jnp.concatenate(x), chunk, without)

    def repeat(self, tree: Any) -> Any:
        """Repeats arrays [B, 1] to [G B, 1]."""
        return jax.tree.map(lambda x: jnp.tile(x, (1 if self.strength is None else 2, 1)), tree)

    def mix(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mixes logits [G B, 1, N]. Returns those to sample from, and the model's own, [B, N]
        each."""
        if self.strength is None:
            return logits[:, 0], logits[:, 0]
        own, without = jnp.split(logits[:, 0], 2)
        return without + self.strength * (own - without), own  # what is impossible stays so
