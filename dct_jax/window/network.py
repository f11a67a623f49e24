"""The sliding-window transformer: a pre-norm decoder over tokens of codes (see `neighbours`).

It follows the second stage of Esser et al., "Taming Transformers", 2021, where each code depends on
a window around it. Here the window is part of every layer, in training, too.

Axes: B batch, h x n cells, m = n + 1 tokens of a row, T = 1 + h m tokens, K codes, C classes, w the
window, D width; heads of size D / H.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.attention import Caches, KeysValues, attend_step
from dct_jax.nn.embedding import NormalizedEmbed
from dct_jax.nn.gpt import Block
from dct_jax.nn.precision import precision_of
from dct_jax.window.attention import Form, attend_gathered, attend_masked, cheaper_form, seen_around
from dct_jax.window.config import WindowModelConfig
from dct_jax.window.places import Turns, turn, turns, waves

RowCaches = tuple[KeysValues, ...]
"""For each block, keys and values by rows and columns, [B, H, D / H, w, m + 2 w - 1] in place of
[B, H, K, T]: of the row of a step, which comes last, and of those above it, with room for w - 1
columns on the left and w on the right."""


class TurningBlock(Block):
    """A block whose queries and keys turn with the places of tokens."""

    def look_from(self, x: jax.Array, by: Turns) -> tuple[jax.Array, KeysValues]:
        """Makes queries, [B, H, S, D / H], and keys and values of tokens [B, S, D], turned."""
        queries, memory = self.look(x)
        keys = turn(memory.keys.swapaxes(2, 3), by).swapaxes(2, 3)
        return turn(queries, by), KeysValues(keys, memory.values)


class WindowTransformer(nn.Module):
    """Predicts each code of a grid from those of its window, and what these have seen.

    No symbol but the K codes has a logit: the start of a row and the class are inputs alone.

    Attributes:
        config: the sizes.
        num_codes: K.
        num_classes: C, or 0. The table of classes has C + 1 rows. With classes nothing trains the
            last one; without, all labels are 0, and the only row is the token that all begin with.
        form: of attention (see `attention`); the cheaper one by default. They differ in rounding
            alone.
    """

    config: WindowModelConfig
    num_codes: int
    num_classes: int = 0
    form: Form | None = None

    def setup(self) -> None:
        c, float32 = self.config, jnp.dtype(jnp.float32)
        precision = precision_of("float32", c.products)
        self.codes = NormalizedEmbed(self.num_codes + 1, c.width, float32)  # the last one is a row's start
        self.classes = NormalizedEmbed(self.num_classes + 1, c.width, float32)
        self.place = precision.dense(c.width)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = [TurningBlock(c.width, c.heads, c.dropout, precision) for _ in range(c.layers)]
        self.norm = nn.LayerNorm()
        self.head = precision.head(self.num_codes)

    def __call__(self, codes: jax.Array, labels: jax.Array) -> jax.Array:
        """Computes the logits of each code given those before it.

        Args:
            codes: int32 [B, h, n], 0 .. K - 1, of any h and n.
            labels: int32 [B].

        Returns:
            float32 [B, h, n, K].
        """
        c, (batch, rows, cells) = self.config, codes.shape
        grid = rows, cells
        by = turns(grid, c.window, c.head_size)
        by = Turns(*(jnp.pad(x.reshape(-1, x.shape[-1]), ((1, 0), (0, 0))) for x in by))  # [T, .], nothing for SOS
        inputs = self.codes(jnp.pad(codes, ((0, 0), (0, 0), (1, 0)), constant_values=self.num_codes))  # [B, h, m, D]
        inputs = (inputs + self.places(grid)).reshape(batch, -1, c.width)
        x = jnp.concatenate([self.classes(labels)[:, None], inputs], axis=1)  # [B, T, D]
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        form = self.form or cheaper_form(grid, c.window)
        attend = attend_gathered if form == "gathered" else attend_masked
        for block in self.blocks:
            queries, memory = block.look_from(x, by)
            x = block.finish(x, attend(queries, memory, grid, c.window))
        predicting = x[:, 1:].reshape(batch, rows, cells + 1, -1)[:, :, :-1]
        return self.head(self.norm(predicting))

    def places(self, grid: tuple[int, int]) -> jax.Array:
        """Embeds the places of tokens, [h, m, D]."""
        return self.place(waves(grid))

    def start(self, labels: jax.Array) -> Caches:
        """Runs SOS, the token of the class: for each block, keys and values [B, H, D / H, 1]."""
        x, found = self.classes(labels)[:, None], []
        nowhere = Turns(*(jnp.zeros((1, self.config.head_size // 4)),) * 2)
        for block in self.blocks:
            _, memory = block.look_from(x, nowhere)
            x = block.finish(x, memory.values.swapaxes(2, 3))  # it sees itself alone
            found.append(memory)
        return tuple(found)

    def step(
        self, code: jax.Array, place: jax.Array, by: Turns, at: tuple[jax.Array, jax.Array], start: Caches, caches: RowCaches
    ) -> tuple[jax.Array, RowCaches]:
        """Runs one token of each grid, without a backward pass.

        Args:
            code: int32 [B], of the token; K for a row's start.
            place: [D], its embedding by `places`.
            by: [D / H / 4] each, its turns.
            at: its row and column, int32 [].
            start: what `start` returns.
            caches: of the tokens before it.

        Returns:
            The logits of the cell that it predicts, float32 [B, K], and the caches with the token.
        """
        w, length = self.config.window, caches[0].keys.shape[4] - 2 * self.config.window + 1
        (row, column), batch = at, len(code)
        x = (self.codes(code) + place)[:, None]  # [B, 1, D]
        seen = jnp.broadcast_to(seen_around((1, 1), (row, column), length, w), (batch, 1 + 2 * w * w))
        new_caches = []
        for block, first, cache in zip(self.blocks, start, caches):
            queries, new = block.look_from(x, by)
            index = (0, 0, 0, w - 1, column + w - 1)
            cache = KeysValues(*(jax.lax.dynamic_update_slice(old, one[..., None], index) for old, one in zip(cache, new)))
            sizes = (*queries.shape[:2], queries.shape[3], w, 2 * w)
            around = (jax.lax.dynamic_slice(rows, (0, 0, 0, 0, column), sizes) for rows in cache)
            around = (rows.reshape(*sizes[:3], -1) for rows in around)
            memory = KeysValues(*(jnp.concatenate(pair, axis=3) for pair in zip(first, around)))  # [B, H, ., 1 + 2 w w]
            x = block.finish(x, attend_step(queries, memory, seen))
            new_caches.append(cache)
        return self.head(self.norm(x[:, 0])), tuple(new_caches)
