"""Layers of a transformer over a grid: attention among cells and between two resolutions.

All layers are pre-norm residual branches. Keys and values of the other resolution are not
normalised. Units drop out if there is a random generator "dropout", which training alone has.

Axes: B batch, h x w cells, S = h w, H heads, K head size, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.nn.attention import KeysValues, attend
from dct_jax.nn.precision import Precision, precision_of
from dct_jax.sundae.config import SundaeModelConfig
from dct_jax.sundae.rotary import rotate


def to_patches(x: jax.Array) -> jax.Array:
    """Cuts a grid [B, h, w, D] into squares of 2 x 2 cells, [B, h / 2, w / 2, 4, D]."""
    batch, height, width, depth = x.shape
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, depth).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, height // 2, width // 2, 4, depth)


def from_patches(patches: jax.Array) -> jax.Array:
    """Inverts `to_patches`: [B, h / 2, w / 2, 4, D] -> [B, h, w, D]."""
    batch, height, width, _, depth = patches.shape
    squares = patches.reshape(batch, height, width, 2, 2, depth).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, 2 * height, 2 * width, depth)


class GridModule(nn.Module):
    """What all layers have."""

    config: SundaeModelConfig

    @property
    def precision(self) -> Precision:
        """The types of the layer."""
        return precision_of(self.config.dtype, self.config.products)

    @property
    def inner(self) -> int:
        """H K, the channels of all heads."""
        return self.config.heads * self.config.head_size

    def norm(self, x: jax.Array) -> jax.Array:
        """Normalises [..., D] by a LayerNorm of its own."""
        return nn.LayerNorm(dtype=self.precision.activations)(x)

    def drop(self, x: jax.Array) -> jax.Array:
        """Drops units of a branch."""
        return nn.Dropout(self.config.dropout)(x, deterministic=not self.has_rng("dropout"))


class Layer(GridModule):
    """Attention among all cells, then the feed-forward layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, h, w, D]."""
        x = x + self.drop(SelfAttention(self.config, name="attention")(self.norm(x)))
        return FeedForward(self.config, name="feed_forward")(x)


class SelfAttention(GridModule):
    """Multi-head attention among all cells of a grid, whose heads all know where cells are."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, h, w, D]."""
        batch, *size, depth = x.shape
        rows = self.precision.dense(3 * self.inner, use_bias=False)(x)
        rows = rows.reshape(batch, -1, 3, self.config.heads, self.config.head_size)  # [B, S, 3, H, K]
        queries, keys = (rotate(rows[:, :, i], (size[0], size[1])) for i in (0, 1))  # [B, S, H, K] each
        memory = KeysValues(*(part.transpose(0, 2, 3, 1) for part in (keys, rows[:, :, 2])))
        heads = attend(queries.transpose(0, 2, 1, 3), memory, self.precision.operands)  # [B, H, S, K]
        heads = heads.transpose(0, 2, 1, 3).reshape(*x.shape[:3], self.inner)
        return self.precision.dense(depth)(heads)


class FeedForward(GridModule):
    """x + two dense layers of LayerNorm(x), from D to 4 D and back. GELU has its usual formula with
    tanh, which takes half of the time."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, h, w, D]."""
        depth = x.shape[-1]
        hidden = nn.gelu(self.precision.dense(4 * depth)(self.norm(x)))  # [B, h, w, 4 D]
        return x + self.drop(self.precision.dense(depth)(hidden))


class Gather(GridModule):
    """A coarse cell attends to the 2 x 2 fine cells that it stands for; then the feed-forward
    layers."""

    @nn.compact
    def __call__(self, coarse: jax.Array, fine: jax.Array) -> jax.Array:
        """[B, h / 2, w / 2, D] and [B, h, w, D] -> [B, h / 2, w / 2, D]."""
        heads = (self.config.heads, self.config.head_size)
        queries = self.precision.dense(self.inner, use_bias=False)(self.norm(coarse))
        queries = queries.reshape(*coarse.shape[:3], 1, *heads)  # [B, h / 2, w / 2, 1, H, K]
        rows = to_patches(self.precision.dense(2 * self.inner, use_bias=False)(fine))
        keys, values = jnp.moveaxis(rows.reshape(*rows.shape[:4], 2, *heads), 4, 0)  # [B, h / 2, w / 2, 4, H, K] each
        scores = jnp.sum(queries * keys, axis=-1, keepdims=True, dtype=jnp.float32) / np.sqrt(heads[1])
        weights = jax.nn.softmax(scores, axis=3).astype(values.dtype)  # [B, h / 2, w / 2, 4, H, 1]
        means = jnp.sum(weights * values, axis=3).reshape(*coarse.shape[:3], self.inner)
        coarse = coarse + self.drop(self.precision.dense(coarse.shape[-1])(means))
        return FeedForward(self.config, name="feed_forward")(coarse)


class Spread(GridModule):
    """A fine cell attends to the coarse cell that stands for it; then the feed-forward layers.

    A softmax over one key is 1, so queries and keys would change nothing: there are none. (The
    original has them, and the query's LayerNorm: 2 D H K + 2 D parameters that learn nothing.)
    """

    @nn.compact
    def __call__(self, fine: jax.Array, coarse: jax.Array) -> jax.Array:
        """[B, h, w, D] and [B, h / 2, w / 2, D] -> [B, h, w, D]."""
        values = self.precision.dense(self.inner, use_bias=False)(coarse)
        values = self.precision.dense(fine.shape[-1])(values)  # [B, h / 2, w / 2, D]
        values = from_patches(jnp.repeat(values[:, :, :, None], 4, axis=3))  # [B, h, w, D]
        return FeedForward(self.config, name="feed_forward")(fine + self.drop(values))
