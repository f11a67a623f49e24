"""SUNDAE's network: from all codes of a noisy grid to the logits of all codes of a clean one.

It gets no step, no noise level and no absolute positions.

Axes: B batch, h x w cells, K codes, C classes, D width.
"""

import flax.linen as nn
import jax

from dct_jax.nn.embedding import rows_of
from dct_jax.nn.initial import normal
from dct_jax.nn.precision import precision_of
from dct_jax.sundae.config import SundaeModelConfig
from dct_jax.sundae.hourglass import Hourglass


class SundaeNetwork(nn.Module):
    """Embeddings of code and class, an hourglass, and a linear map to logits.

    Attributes:
        config: its sizes.
        num_codes: K.
        num_classes: C; 0 for a model without classes, which does not look at labels.
    """

    config: SundaeModelConfig
    num_codes: int
    num_classes: int = 0

    @nn.compact
    def __call__(self, codes: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns float32 logits [B, h, w, K] of int32 codes [B, h, w] and labels [B].

        Raises:
            ValueError: if the hourglass cannot halve the grid.
        """
        height, width = codes.shape[1:]
        self.config.check_grid((height, width))
        precision = precision_of(self.config.dtype, self.config.products)
        x = self._embed("code_embedding", self.num_codes, codes)  # [B, h, w, D]
        if self.num_classes:
            x = x + self._embed("class_embedding", self.num_classes, labels)[:, None, None]
        x = Hourglass(self.config, name="hourglass")(x.astype(precision.activations))
        x = nn.LayerNorm(dtype=precision.activations, name="norm")(x)
        return precision.head(self.num_codes)(x)

    def _embed(self, name: str, rows: int, index: jax.Array) -> jax.Array:
        """Looks up rows of a table, [..., D] of int32 [...]."""
        return rows_of(self.param(name, normal(1.0), (rows, self.config.width)), index)
