"""Embeddings of symbols, normalised.

Axes: N rows of a table, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dct_jax.nn.initial import normal


class NormalizedEmbed(nn.Module):
    """An embedding whose rows are normalised before they are looked up.

    Every field that is summed into a decoder's input is normalised, streams and embeddings alike: otherwise the stream of
    the previous decoder can outgrow the embedding of the current symbol until the next decoder ignores it.
    """

    num_embeddings: int
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, index: jax.Array) -> jax.Array:
        """int32 [...] -> [..., D]."""
        shape = (self.num_embeddings, self.features)
        table = self.param("embedding", normal(0.1), shape)  # [N, D]
        norm = nn.LayerNorm(dtype=self.dtype, use_bias=False)
        # The same numbers either way: the table is normalised once for many rows, and the rows alone if they are few.
        return norm(jnp.asarray(table)[index]) if index.size < self.num_embeddings else rows_of(norm(table), index)


@jax.custom_vjp
def rows_of(table: jax.Array, index: jax.Array) -> jax.Array:
    """table[index], [N, D] and int32 [...] -> [..., D].

    On accelerators its gradient is a matrix product: many rows that are added to few places wait for one another there, and
    some versions of XLA add them one by one.
    """
    return table[index]


def _forward(table: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return table[index], (table, index)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    table, index = saved
    if jax.default_backend() == "cpu":
        return jnp.zeros_like(table).at[index].add(gradient), None
    chosen = jax.nn.one_hot(index.reshape(-1), len(table), dtype=gradient.dtype)  # [M, N]
    rows = gradient.reshape(-1, gradient.shape[-1])  # [M, D]
    sums = jnp.einsum("MN,MD->ND", chosen, rows, precision="highest", preferred_element_type=jnp.float32)
    return sums.astype(table.dtype), None


rows_of.defvjp(_forward, _backward)
