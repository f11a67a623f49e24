"""Classifier-free guidance (Ho and Salimans, 2021): every list runs twice, with its class and with the hidden one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.dct.chunks import Chunk


class Guidance(NamedTuple):
    """How many copies of a batch run, G, and what their logits come to.

    Attributes:
        strength: w of `Policy.guidance`; None runs every list once.
    """

    strength: jax.Array | float | None

    def chunks(self, chunk: Chunk, hidden: int) -> Chunk:
        """A batch [B, ...] -> [G B, ...]; `hidden` is the label of a hidden class."""
        if self.strength is None:
            return chunk
        without = chunk._replace(label=jnp.full_like(chunk.label, hidden))
        return jax.tree.map(lambda *x: jnp.concatenate(x), chunk, without)

    def repeat(self, tree: Any) -> Any:
        """Arrays [B, 1] -> [G B, 1]."""
        return jax.tree.map(lambda x: jnp.tile(x, (1 if self.strength is None else 2, 1)), tree)

    def mix(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[G B, 1, N] -> the logits to sample from, and those of the model itself, [B, N] each."""
        if self.strength is None:
            return logits[:, 0], logits[:, 0]
        own, without = jnp.split(logits[:, 0], 2)
        return without + self.strength * (own - without), own  # what is impossible stays so
