"""DQ-Transformer: a stack of two transformers. The lower one says where the next code is, the upper
one which code is there.

A sequence of T = L tokens begins with that of the class. Token t stands for symbol t - 1 of the
sequence (see `order`), its position and its code, and predicts symbol t.

Axes: B batch, L symbols of a sequence at most, P position symbols, N regions, K codes, D width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.dq.grains import map_of
from dct_jax.dq_transformer.config import StackConfig
from dct_jax.dq_transformer.order import Order, pack, support
from dct_jax.nn.attention import Caches
from dct_jax.nn.embedding import NormalizedEmbed
from dct_jax.nn.gpt import CausalStack
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.precision import precision_of


class Logits(NamedTuple):
    """What is predicted of each symbol. No symbol but the K codes has a logit of codes.

    Attributes:
        positions: float32 [B, L, P]; `IMPOSSIBLE` for positions that cannot come next.
        codes: float32 [B, L, K], of the code at the symbol's own position.
    """

    positions: jax.Array
    codes: jax.Array


class Spoken(NamedTuple):
    """What sequences have said before a token.

    Attributes:
        position: int32 [B], of the last symbol; -1 if there is none.
        code: int32 [B], of the last symbol; K at an end.
        grain_map: int32 [B, N], of all symbols; see `order.start_map`.
    """

    position: jax.Array
    code: jax.Array
    grain_map: jax.Array


class DQTransformer(nn.Module):
    """Predicts each symbol of a sequence from those before it.

    Attributes:
        config: the sizes.
        order: of the symbols.
        num_codes: K.
        num_classes: C, or 0. The table of classes has C + 1 rows. With classes nothing trains the
            last one; without, all labels are 0, and the only row is the token that all begin with.
    """

    config: StackConfig
    order: Order
    num_codes: int
    num_classes: int = 0

    def setup(self) -> None:
        c, float32 = self.config, jnp.dtype(jnp.float32)
        precision = precision_of("float32", c.products)
        self.codes = NormalizedEmbed(self.num_codes + 1, c.width, float32)  # of all grains; the last one is no code
        self.positions = NormalizedEmbed(self.order.number, c.width, float32)
        self.grains = NormalizedEmbed(self.order.grains, c.width, float32)
        self.classes = NormalizedEmbed(self.num_classes + 1, c.width, float32)
        self.times = self.param("times", nn.initializers.zeros, (self.order.longest, c.width))
        self.drop = nn.Dropout(c.dropout)
        self.position_stack = CausalStack(c.position_layers, c.width, c.heads, c.dropout, precision)
        self.content_stack = CausalStack(c.content_layers, c.width, c.heads, c.dropout, precision)
        self.position_norm, self.content_norm = nn.LayerNorm(), nn.LayerNorm()
        self.position_head, self.content_head = precision.head(self.order.number), precision.head(self.num_codes)

    def __call__(self, codes: jax.Array, labels: jax.Array) -> Logits:
        """Computes the logits of each symbol of pictures given those before it.

        Args:
            codes: grids with holes, int32 [B, n, m].
            labels: int32 [B].
        """
        order, batch = self.order, len(codes)
        sequences = pack(order, codes, self.num_codes)
        places = self.place(sequences.positions)  # [B, L, D]
        symbols = self.codes(sequences.codes) + places + self.grain(sequences.positions)
        x = jnp.concatenate([self.classes(labels)[:, None], symbols[:, :-1]], axis=1) + self.times  # [B, L, D]
        x = self.position_stack(self.drop(x, deterministic=not self.has_rng("dropout")))
        positions = self.position_head(self.position_norm(x))
        before = jnp.pad(sequences.positions[:, :-1], ((0, 0), (1, 0)), constant_values=-1)  # [B, L]
        grain_map = map_of(codes, order.grains, self.num_codes).reshape(batch, -1)
        positions = jnp.where(support(order, before, grain_map), positions, IMPOSSIBLE)
        x = self.content_stack(x + places)
        return Logits(positions, self.content_head(self.content_norm(x)))

    def place(self, positions: jax.Array) -> jax.Array:
        """Embeds position symbols, int32 [...]; another after the last one of a sequence counts for
        nothing. Returns [..., D]."""
        return self.positions(jnp.clip(positions, 0, self.order.number - 1))

    def grain(self, positions: jax.Array) -> jax.Array:
        """Embeds the grains of position symbols, int32 [...]. Returns [..., D]."""
        grains = jnp.asarray(self.order.symbols.grain, jnp.int32)
        return self.grains(grains[jnp.clip(positions, 0, self.order.number - 1)])

    def step_position(
        self, labels: jax.Array, time: jax.Array, spoken: Spoken, known: jax.Array | None, caches: Caches
    ) -> tuple[jax.Array, jax.Array, Caches]:
        """Runs a token of each sequence through the lower transformer, without a backward pass.

        Args:
            labels: int32 [B].
            time: t, int32 [].
            spoken: what the sequences have said.
            known: int32 [B, N], grains that regions must have; see `order.support`.
            caches: of the tokens before.

        Returns:
            The logits of the next position, float32 [B, P]; what the upper transformer reads, [B,
            D]; and the caches with the token.
        """
        symbol = self.codes(spoken.code) + self.place(spoken.position) + self.grain(spoken.position)
        x = jnp.where(time == 0, self.classes(labels), symbol) + self.times[time]  # [B, D]
        x, caches = self.position_stack.go_on(x[:, None], caches, time)
        x = x[:, 0]
        is_possible = support(self.order, spoken.position[:, None], spoken.grain_map, known)[:, 0]
        return jnp.where(is_possible, self.position_head(self.position_norm(x)), IMPOSSIBLE), x, caches

    def step_code(self, x: jax.Array, position: jax.Array, time: jax.Array, caches: Caches) -> tuple[jax.Array, Caches]:
        """Runs a token of each sequence through the upper transformer, without a backward pass.

        Args:
            x: [B, D], what `step_position` returns.
            position: int32 [B], the next position.
            time: t, int32 [].
            caches: of the tokens before.

        Returns:
            The logits of the code at that position, float32 [B, K], and the caches with the token.
        """
        x, caches = self.content_stack.go_on((x + self.place(position))[:, None], caches, time)
        return self.content_head(self.content_norm(x[:, 0])), caches
