"""The hourglass transformer on a grid: most layers work at a coarser resolution.

See Nawrot et al., "Hierarchical Transformers Are More Efficient Language Models", 2021, and, for
grids, McKinney and Willcocks, "Megapixel Image Generation with Step-Unrolled Denoising
Autoencoders", 2022. Here merging and attention between the resolutions share their 2 x 2 squares.

Axes: B batch, h x w cells, D width.
"""

import flax.linen as nn
import jax

from dct_jax.sundae.layers import Gather, GridModule, Layer, Spread, from_patches, to_patches


class Hourglass(GridModule):
    """Layers, then an hourglass of half the resolution, then layers; at the last level the layers
    of the valley alone.

    Attributes:
        level: how often the grid was halved before.
    """

    level: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, h, w, D]."""
        c = self.config
        if self.level == c.levels:
            return self._layers(c.valley, "valley", x)
        x = self._layers(c.before[self.level], "before", x)
        coarse = Gather(c, name="gather")(Merge(c, name="merge")(x), x)  # [B, h / 2, w / 2, D]
        coarse = Hourglass(c, self.level + 1, name="inner_hourglass")(coarse)
        x = x + Unmerge(c, name="unmerge")(coarse)
        x = Spread(c, name="spread")(x, coarse)
        return self._layers(c.after[self.level], "after", x)

    def _layers(self, number: int, name: str, x: jax.Array) -> jax.Array:
        for i in range(number):
            x = Layer(self.config, name=f"{name}_{i}")(x)
        return x


class Merge(GridModule):
    """A linear map from the 2 x 2 cells of a square to one cell."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, D] -> [B, h / 2, w / 2, D]."""
        patches = to_patches(x)  # [B, h / 2, w / 2, 4, D]
        return self.precision.dense(x.shape[-1])(patches.reshape(*patches.shape[:3], -1))


class Unmerge(GridModule):
    """A linear map from one cell to the 2 x 2 cells of a square."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h / 2, w / 2, D] -> [B, h, w, D]."""
        patches = self.precision.dense(4 * x.shape[-1])(x)
        return from_patches(patches.reshape(*x.shape[:3], 4, x.shape[-1]))
