"""Embeddings of symbols, normalised.

Axes: N rows of a table, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.initial import normal
from dct_jax.nn.precision import sums_of


class NormalizedEmbed(nn.Module):
    """An embedding whose rows are normalised before they are looked up.

    Every field that is summed into a decoder's input is normalised, both streams and embeddings.
    Otherwise the stream of the previous decoder can outgrow the embedding of the current symbol,
    until the next decoder ignores it.
    """

    num_embeddings: int
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, index: jax.Array) -> jax.Array:
        """Looks up rows, int32 [...]. Returns [..., D]."""
        shape = (self.num_embeddings, self.features)
        table = self.param("embedding", normal(0.1), shape)  # [N, D]
        norm = nn.LayerNorm(dtype=self.dtype, use_bias=False)
        # Many rows: the table is normalised once. Few rows are normalised alone; the numbers are
        # equal.
        return norm(jnp.asarray(table)[index]) if index.size < self.num_embeddings else rows_of(norm(table), index)


@jax.custom_vjp
def rows_of(table: jax.Array, index: jax.Array) -> jax.Array:
    """Returns table[index], [..., D], of a table [N, D] and an index int32 [...].

    On accelerators its gradient is a matrix product: many rows that are added to few places wait
    for one another there, and some versions of XLA add them one by one.
    """
    return table[index]


def _forward(table: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return table[index], (table, index)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    table, index = residuals
    dtype = sums_of(table.dtype)  # in bfloat16 a sum stalls where it is 256 times as large as what comes to it
    if jax.default_backend() == "cpu":
        return jnp.zeros(table.shape, dtype).at[index].add(gradient.astype(dtype)).astype(table.dtype), None
    one_hot = jax.nn.one_hot(index.reshape(-1), len(table), dtype=gradient.dtype)  # [M, N]
    rows = gradient.reshape(-1, gradient.shape[-1])  # [M, D]
    sums = jnp.einsum("MN,MD->ND", one_hot, rows, precision="highest", preferred_element_type=dtype)
    return sums.astype(table.dtype), None


rows_of.defvjp(_forward, _backward)
