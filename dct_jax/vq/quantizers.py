"""Vectors -> codes -> vectors, and what keeps a table of codes alive.

Axes: N vectors of D coordinates, K codes.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.vq.config import QuantizerConfig

KMEANS_ROUNDS = 10
SMOOTHING = 1e-5


class Quantized(NamedTuple):
    """Vectors after a quantiser.

    Attributes:
        codes: int32 [...].
        vectors: [..., D], those of the codes; their gradient goes to the vectors before, as it is
            (the straight-through estimator: Bengio et al., 2013).
        codebook_loss: float32 [], which moves the table to the vectors; 0 without gradients.
        commitment_loss: float32 [], which moves the vectors to the table.
        weights: how much each vector counts, float32 [...]; None if each counts once.
    """

    codes: jax.Array
    vectors: jax.Array
    codebook_loss: jax.Array
    commitment_loss: jax.Array
    weights: jax.Array | None = None


class Codebook(NamedTuple):
    """The decayed statistics of a table; it is itself sums / smoothed counts.

    Attributes:
        table: [K, D].
        counts: [K], how many vectors had each code.
        sums: [K, D], of these vectors.
    """

    table: jax.Array
    counts: jax.Array
    sums: jax.Array


class Quantizer(nn.Module):
    """One of three quantisers; `config.kind` says which."""

    config: QuantizerConfig

    def setup(self) -> None:
        k, d = self.config.num_codes, self.config.width
        if self.config.kind == "gradient":
            self.table = self.param("table", _small, (k, d))
        elif self.config.kind == "ema":
            self.codebook = {
                "table": self.variable("codebook", "table", lambda: _small(self.make_rng("params"), (k, d))),
                "counts": self.variable("codebook", "counts", jnp.zeros, (k,)),
                "sums": self.variable("codebook", "sums", jnp.zeros, (k, d)),
            }

    def __call__(self, vectors: jax.Array, weights: jax.Array | None = None) -> Quantized:
        """Turns vectors into codes and their vectors.

        Args:
            vectors: float32 [..., D].
            weights: how much the squared error of each counts in the losses, float32 [...]; None
                if each counts once. The losses are means over all vectors, whatever they count.
        """
        if self.config.kind == "fsq":
            rounded = round_levels(vectors, self.config.levels)
            nothing = jnp.zeros(())
            return Quantized(codes_of_levels(rounded, self.config.levels), rounded, nothing, nothing, weights)
        codes = nearest_codes(jax.lax.stop_gradient(vectors), self._table())
        chosen = self._table()[codes]  # [..., D]
        stop = jax.lax.stop_gradient
        factors = jnp.ones(()) if weights is None else weights[..., None]
        to_table, to_vectors = jnp.square(stop(vectors) - chosen), jnp.square(vectors - stop(chosen))
        codebook_loss = (factors * to_table).mean() if self.config.kind == "gradient" else jnp.zeros(())
        commitment_loss = (factors * to_vectors).mean()
        return Quantized(codes, vectors + stop(chosen - vectors), codebook_loss, commitment_loss, weights)

    def look_up(self, codes: jax.Array) -> jax.Array:
        """int32 [...] -> [..., D]."""
        if self.config.kind == "fsq":
            return levels_of_codes(codes, self.config.levels)
        return self._table()[codes]

    def _table(self) -> jax.Array:
        return self.table if self.config.kind == "gradient" else self.codebook["table"].value


def _small(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Makes a table of numbers between -1 / K and 1 / K."""
    return jax.random.uniform(key, shape, minval=-1 / shape[0], maxval=1 / shape[0])


def nearest_codes(vectors: jax.Array, table: jax.Array) -> jax.Array:
    """Finds the nearest row of a table, [K, D], to each vector, [..., D] -> int32 [...]."""
    products = jnp.matmul(vectors, table.T, precision="highest")  # [..., K]
    distances = jnp.square(table).sum(axis=1) - 2 * products  # [..., K], without the vectors' own squares
    return jnp.argmin(distances, axis=-1).astype(jnp.int32)


def round_levels(vectors: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Squashes each coordinate and rounds it to one of its L levels (finite scalar quantisation:
    Mentzer et al., 2023, section 3).

    The levels lie evenly from -1 to 1, or if L is even, from -1 to 1 - 2 / L. The gradient is that
    of the squashing. Where L is even, the tanh is shifted so that 0 stays 0, the level in the
    middle. Of two levels, 0 is the upper one, and would be hardly ever left: they meet at 0.
    """
    number = np.asarray(levels, np.float32)
    half = (number - 1 + 1e-3) / 2
    offset = np.where(number % 2 == 0, 0.5, 0.0).astype(np.float32)
    shift = np.where(number > 2, np.arctanh(offset / half), 0.0).astype(np.float32)
    squashed = jnp.tanh(vectors + shift) * half - offset
    rounded = squashed + jax.lax.stop_gradient(jnp.round(squashed) - squashed)
    return rounded / (number // 2)


def codes_of_levels(rounded: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Numbers the vectors of `round_levels`, [..., D] -> int32 [...]."""
    number = np.asarray(levels, np.int32)
    digits = jnp.round(rounded * (number // 2)).astype(jnp.int32) + number // 2  # [..., D], 0 .. L - 1
    return (digits * _bases(levels)).sum(axis=-1)


def levels_of_codes(codes: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Turns a code into its vector again: int32 [...] -> float32 [..., D]."""
    number = np.asarray(levels, np.int32)
    digits = codes[..., None] // _bases(levels) % number
    return (digits - number // 2) / (number // 2).astype(np.float32)


def _bases(levels: tuple[int, ...]) -> np.ndarray:
    """The weight of each digit of a code, int32 [D]."""
    return np.cumprod([1, *levels[:-1]]).astype(np.int32)


def count_codes(codes: jax.Array, num_codes: int, weights: jax.Array | None = None) -> jax.Array:
    """Counts the vectors of each code, float32 [K]; arguments are those of `counts_and_sums`. It
    makes no array of N x K, which finite scalars may make large."""
    return jnp.zeros(num_codes).at[codes].add(1.0 if weights is None else weights)


def counts_and_sums(
    vectors: jax.Array, codes: jax.Array, num_codes: int, weights: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Counts the vectors of each code, float32 [K], and adds them up, [K, D].

    Args:
        vectors: float32 [N, D].
        codes: int32 [N].
        num_codes: K.
        weights: how often each vector counts, float32 [N]; None if each counts once.
    """
    chosen = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)  # [N, K]
    chosen = chosen if weights is None else chosen * weights[:, None]
    return chosen.sum(axis=0), jnp.matmul(chosen.T, vectors, precision="highest")


def update(config: QuantizerConfig, before: Codebook, counts: jax.Array, sums: jax.Array, spare: jax.Array) -> Codebook:
    """Moves the means of a table by one step, with Laplace smoothing (van den Oord et al., 2017,
    appendix A.1). A code that hardly any vector has becomes a vector of the batch, whose count is
    one that would not be restarted. If the batch has fewer vectors than there are codes, the counts
    settle below 1, and both numbers become smaller by the same factor.

    Args:
        config: of the quantiser.
        before: the codebook that the batch was quantised with.
        counts, sums: of the global batch, [K] and [K, D].
        spare: [K, D], vectors of the batch, for codes that are restarted.
    """
    kept, k = config.decay, config.num_codes
    expected = jnp.minimum(counts.sum() / k, 1.0)
    counts = kept * before.counts + (1 - kept) * counts
    sums = kept * before.sums + (1 - kept) * sums
    is_dead = counts < config.restart * expected  # [K]
    fresh = max(1.0, config.restart) * expected
    counts = jnp.where(is_dead, fresh, counts)
    sums = jnp.where(is_dead[:, None], fresh * spare, sums)
    total = counts.sum()
    smoothed = total * (counts + SMOOTHING) / (total + k * SMOOTHING)  # [K]
    table = jnp.where(counts[:, None] > 0, sums / smoothed[:, None], before.table)
    return Codebook(table, counts, sums)


def choose_rows(rows: jax.Array, number: int, key: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Chooses rows of [N, D] at random -> [number, D], by their weights if there are some, [N];
    rows repeat if there are fewer. Rows of the weight 0 are chosen only if no others are left."""
    shares = None if weights is None else weights / weights.sum()
    return rows[jax.random.choice(key, len(rows), (number,), replace=len(rows) < number, p=shares)]


def kmeans(vectors: jax.Array, num_codes: int, key: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Finds K means of vectors, [N, D] -> [K, D], from K vectors that are chosen at random. With
    weights, [N], each vector counts as often as its weight says.

    A mean that is the nearest one of no vector stays where it is.
    """

    def move(_: Any, table: jax.Array) -> jax.Array:
        counts, sums = counts_and_sums(vectors, nearest_codes(vectors, table), num_codes, weights)
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], table)

    return jax.lax.fori_loop(0, KMEANS_ROUNDS, move, choose_rows(vectors, num_codes, key, weights))


def perplexity(counts: jax.Array) -> jax.Array:
    """Tells how many codes, in equally frequent use, have the entropy of these counts, [K]."""
    share = counts / jnp.maximum(counts.sum(), 1)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))
