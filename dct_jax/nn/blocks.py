"""PAR blocks ("pay attention when required") with pre-LayerNorm and ReZero. A block has one
attention, then several feed-forward layers. A scalar that starts at 0 gates every residual branch.

Axes: B batch, S new rows, T keys, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from dct_jax.nn.attention import Attention, Caches, KeysValues, attend, attend_step, attend_window
from dct_jax.nn.precision import Precision


class Memory(NamedTuple):
    """What a decoder's cross-attention reads.

    Attributes:
        blocks: T keys and values for each block, from `Decoder.remember`.
        visible: bool [B, T], the keys that may be attended to.
    """

    blocks: Caches
    visible: jax.Array


class Window(NamedTuple):
    """What new rows go on from.

    Attributes:
        caches: the keys and values of earlier rows, with room for the new ones.
        start: the place of the first new row in the caches.
    """

    caches: Caches
    start: jax.Array | int


class FeedForward(nn.Module):
    """Two dense layers, from D to 4 D and back."""

    precision: Precision

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        hidden = nn.relu(self.precision.dense(4 * width)(x))  # [B, S, 4 D]
        return self.precision.dense(width)(hidden)  # [B, S, D]


class Branch(nn.Module):
    """What surrounds the function f of a residual branch: x + gate * dropout(f(LayerNorm(x))).
    Units drop out if there is a random generator "dropout", which training alone has."""

    dropout: float
    precision: Precision

    def setup(self) -> None:
        self.norm = nn.LayerNorm(dtype=self.precision.activations)
        self.gate = self.param("gate", nn.initializers.zeros, ())
        self.drop = nn.Dropout(self.dropout)

    def add(self, x: jax.Array, f_x: jax.Array) -> jax.Array:
        """Adds f(LayerNorm(x)) to x, [B, S, D] each."""
        f_x = self.drop(f_x, deterministic=not self.has_rng("dropout"))
        gated = self.gate * f_x.astype(self.precision.sums)  # so that the gate's gradient, a sum of B S D numbers, is one
        return x + gated.astype(self.precision.activations)


class EncoderBlock(nn.Module):
    """Self-attention over the whole grid, then feed-forward layers."""

    heads: int
    layers: int
    dropout: float
    precision: Precision

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """Runs rows [B, T, D] through the block, which attends to `visible` rows, bool [B, T]."""
        attention = Attention(x.shape[-1], self.heads, self.precision, name="attention")
        branch = Branch(self.dropout, self.precision, name="attention_branch")
        y = branch.norm(x)
        heads = attend(attention.queries(y), attention.remember(y), self.precision.operands, visible)  # [B, H, T, K]
        x = branch.add(x, attention.merge(heads))
        return FeedForwardLayers(self.layers, self.dropout, self.precision, name="feed_forward")(x)


class FeedForwardLayers(nn.Module):
    """The feed-forward layers that follow an attention."""

    layers: int
    dropout: float
    precision: Precision

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Runs rows [B, S, D] through the layers."""
        for i in range(self.layers):
            branch = Branch(self.dropout, self.precision, name=f"branch_{i}")
            x = branch.add(x, FeedForward(self.precision, name=f"layer_{i}")(branch.norm(x)))
        return x


class DecoderBlock(nn.Module):
    """Causal self-attention and cross-attention to the encoding, then feed-forward layers."""

    width: int
    heads: int
    layers: int
    dropout: float
    precision: Precision

    def setup(self) -> None:
        self.self_attention = Attention(self.width, self.heads, self.precision)
        self.self_branch = Branch(self.dropout, self.precision)
        self.cross_attention = Attention(self.width, self.heads, self.precision)
        self.cross_branch = Branch(self.dropout, self.precision)
        self.feed_forward = FeedForwardLayers(self.layers, self.dropout, self.precision)

    def __call__(
        self, x: jax.Array, memory: KeysValues, visible: jax.Array, cache: KeysValues | None, index: jax.Array | int
    ) -> tuple[jax.Array, KeysValues]:
        """Runs S new rows through the block; see Decoder."""
        operands = self.precision.operands
        attention, y = self.self_attention, self.self_branch.norm(x)
        queries, rows = attention.queries(y), attention.remember(y)
        if cache is None:
            heads = attend(queries, rows, operands, causal=True)  # [B, H, S, K]
        else:
            heads, rows = attend_window(queries, rows, cache, index)
        x = self.self_branch.add(x, attention.merge(heads))
        attention, y = self.cross_attention, self.cross_branch.norm(x)
        queries = attention.queries(y)
        heads = attend(queries, memory, operands, visible) if cache is None else attend_step(queries, memory, visible)
        x = self.cross_branch.add(x, attention.merge(heads))
        return self.feed_forward(x), rows


class Decoder(nn.Module):
    """A stack of decoder blocks. One code path serves training (no caches, all rows at once), the
    sampler's prefill (as in training, but it keeps the keys and values) and its steps (one row,
    caches)."""

    width: int
    heads: int
    layers: Sequence[int]
    dropout: float
    precision: Precision
    rematerialise: bool = False

    def setup(self) -> None:
        block = nn.remat(DecoderBlock) if self.rematerialise else DecoderBlock
        self.blocks = [block(self.width, self.heads, n, self.dropout, self.precision) for n in self.layers]
        self.norm = nn.LayerNorm(dtype=self.precision.activations)

    def remember(self, encoding: jax.Array) -> Caches:
        """Makes, of the encoder's output [B, T, D], what cross-attention reads at every step."""
        return tuple(block.cross_attention.remember(encoding) for block in self.blocks)

    def __call__(self, x: jax.Array, memory: Memory, window: Window | None = None) -> tuple[jax.Array, Caches]:
        """Runs S new rows.

        Args:
            x: [B, S, D].
            memory: the memory of the encoder's output.
            window: the earlier rows; None if there are none.

        Returns:
            [B, S, D], normalised, and the self-attention's keys and values: the caches with the new
            rows, or those of the S rows alone if there was no cache.
        """
        caches, index = ((None,) * len(self.blocks), 0) if window is None else window
        new_caches = []
        for block, keys_values, cache in zip(self.blocks, memory.blocks, caches):
            x, cache = block(x, keys_values, memory.visible, cache, index)
            new_caches.append(cache)
        return self.norm(x), tuple(new_caches)
