"""Blocks of a pre-norm decoder (GPT-2: Radford et al., 2019), and a stack of them in which a token
sees those before it. They serve the window transformer and the DQ-Transformer.

GELU has its usual formula with tanh, as in GPT-2, which takes half of the time; the minGPT of both
models' authors has torch's exact one.

Axes: B batch, S new tokens, T keys, D width; heads of size D / H.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.attention import Attention, Caches, KeysValues, attend, attend_window
from dct_jax.nn.precision import Precision


class Block(nn.Module):
    """Attention, then two dense layers, with a LayerNorm before each. Units drop out if there is a
    random generator "dropout", which training alone has."""

    width: int
    heads: int
    dropout: float
    precision: Precision

    def setup(self) -> None:
        self.attention = Attention(self.width, self.heads, self.precision)
        self.attention_norm, self.dense_norm = nn.LayerNorm(), nn.LayerNorm()
        self.widen, self.narrow = self.precision.dense(4 * self.width), self.precision.dense(self.width)
        self.drop = nn.Dropout(self.dropout)

    def look(self, x: jax.Array) -> tuple[jax.Array, KeysValues]:
        """Makes queries, [B, H, S, D / H], and keys and values of tokens [B, S, D]."""
        x = self.attention_norm(x)
        memory = self.attention.remember(x)
        return self.attention.queries(x), memory

    def finish(self, x: jax.Array, heads: jax.Array) -> jax.Array:
        """Adds to tokens [B, S, D] what attention found, [B, H, S, D / H], and goes on."""
        off = not self.has_rng("dropout")
        x = x + self.drop(self.attention.merge(heads), deterministic=off)
        hidden = nn.gelu(self.widen(self.dense_norm(x)))  # [B, S, 4 D]
        return x + self.drop(self.narrow(hidden), deterministic=off)


class CausalStack(nn.Module):
    """Blocks one above the other. A token sees itself and those before it."""

    layers: int
    width: int
    heads: int
    dropout: float
    precision: Precision

    def setup(self) -> None:
        self.blocks = [Block(self.width, self.heads, self.dropout, self.precision) for _ in range(self.layers)]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Runs whole sequences of tokens, [B, S, D]."""
        length = x.shape[1]
        # cuDNN's attention takes even lengths alone. Nothing sees the last token.
        x = jnp.pad(x, ((0, 0), (0, length % 2), (0, 0)))
        for block in self.blocks:
            queries, memory = block.look(x)
            x = block.finish(x, attend(queries, memory, self.precision.operands, causal=True))
        return x[:, :length]

    def go_on(self, x: jax.Array, caches: Caches, index: jax.Array | int) -> tuple[jax.Array, Caches]:
        """Runs S new tokens, without a backward pass.

        Args:
            x: [B, S, D].
            caches: of the tokens before, with room for the new ones; see `empty_caches`.
            index: the place of the first new token.

        Returns:
            [B, S, D], and the caches with the new tokens.
        """
        new_caches = []
        for block, cache in zip(self.blocks, caches):
            queries, new = block.look(x)
            heads, cache = attend_window(queries, new, cache, index)
            x = block.finish(x, heads)
            new_caches.append(cache)
        return x, tuple(new_caches)
