"""Gives a model's probabilities of symbols as integers, for a few chunks of lists at once.

An entropy coder needs the same probabilities, to the last bit, when it writes and when it reads. So
both walk through a chunk one symbol at a time, with the same compiled programs on the same shapes.
The number of rows is fixed, and the probabilities leave the programs as integers. A row depends
neither on the other rows nor on its place among them. So the chunks of a list can be written side
by side, and the list can be read beside others or alone.

Axes: R rows, one chunk each; C chunk; N symbols.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import Chunk, make_chunks, move
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import with_elements
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.nn.blocks import Caches, Window
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.modules import used_variables

RESOLUTION = 2**22
"""Probabilities are multiples of about 1 / RESOLUTION. An alphabet of a thousand symbols loses less
than 2e-4 bits a symbol."""

PROBED = 8
"""All rows must agree for so many elements before more than one row is used."""

Walk = Generator[jax.Array, np.ndarray, None]
"""It yields the weights of the rows' next symbols, int32 [R, N], and gets the symbols, [R]."""


def integer_weights(logits: jax.Array) -> jax.Array:
    """Turns float32 logits [..., N] into int32 weights [..., N] in proportion to the probabilities:
    0 for impossible symbols, at least 1 for all others."""
    weights = jnp.round(jax.nn.softmax(logits) * RESOLUTION).astype(jnp.int32)
    return jnp.where(logits > IMPOSSIBLE / 2, jnp.maximum(weights, 1), 0)


_begin = jax.jit(prefill, static_argnums=0)
_with_elements = jax.jit(with_elements, donate_argnums=0)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _step(model: DCTransformer, method: str, params: Any, caches: Caches, row: int, *args: Any) -> tuple[Any, ...]:
    """Calls the model's method for one symbol of each row, and turns its logits into weights, int32
    [R, N]. The caches are written where they lie: a copy takes as long as a step of 8 rows."""
    logits, *rest = model.apply(params, *args, Window(caches, row), method=method)
    return integer_weights(logits[:, 0]), *rest


@dataclass(frozen=True, eq=False)
class Walker:
    """Goes through chunks of lists, R at a time.

    Attributes:
        model, params: they give the probabilities.
        rows: R. With another R the program is another one, and its last bits may differ.
    """

    model: DCTransformer
    params: Any
    rows: int
    _used: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def walk(self, lists: Sequence[SparseDCT], indices: Sequence[int], labels: Sequence[int]) -> Walk:
        """Goes through one chunk of each list: channel, position, value, channel, and so on.

        Args:
            lists: 1 to R lists, read up to the chunk. Other rows repeat the last list.
            indices: which chunk of each.
            labels: the class of each; 0 without classes.

        Yields:
            int32 [R, N], 3 C times: the weights of the next symbols. Send it the symbols. Positions
            are those of the model's canvas; values have the vocabulary's largest value added. For a
            row whose list has ended any symbol can be sent.
        """
        config, more = self.model.config, self.rows - len(lists)
        lists, indices, labels = ([*given, *[given[-1]] * more] for given in (lists, indices, labels))
        return self._walk(make_chunks(lists, indices, labels, self.model.vocabulary, config.chunk_size, config.overlap))

    def _walk(self, chunk: Chunk[np.ndarray]) -> Walk:
        config, largest = self.model.config, self.model.vocabulary.largest_value
        encoding, caches, last = _begin(self.model, self.params, chunk)
        last = jax.device_get(last)  # NumPy's arrays, as after each triple: others would need another compiled program
        channel_caches, position_caches, value_caches = caches
        for row in range(config.overlap, config.window):
            weights, stream, channel_caches = self._step("predict_channel", channel_caches, row, last, encoding)
            c = (yield weights)[:, None].astype(np.int32)  # [R, 1]
            weights, stream, position_caches = self._step("predict_position", position_caches, row, stream, c, last, encoding)
            p = (yield weights)[:, None].astype(np.int32)
            weights, value_caches = self._step("predict_value", value_caches, row, stream, c, p, encoding)
            v = (yield weights)[:, None].astype(np.int32) - largest
            last = Triples(c, p, v)
            encoding = encoding._replace(image=_with_elements(encoding.image, last))

    def _step(self, method: str, caches: Caches, row: int, *args: Any) -> tuple[Any, ...]:
        """Calls `_step` with the parameters that it uses: to hand over all takes a fifth of a
        step."""
        if method not in self._used:
            self._used[method] = used_variables(self.model, self.params, *args, method=method)
        return _step(self.model, method, self._used[method], caches, row, *args)

    def usable_rows(self, blank: SparseDCT) -> int:
        """Returns R if this machine computes all rows alike, as far as a few elements of equal
        lists show it. Otherwise returns 1.

        XLA does not promise it. Without it, lists have to be written and read in the first row.

        Args:
            blank: a list without triples.
        """
        walk = self.walk([blank], [0], [0])
        weights = np.asarray(next(walk))  # [R, N]
        for _ in range(3 * min(PROBED, self.model.config.chunk_size) - 1):
            if (weights != weights[:1]).any():
                return 1
            weights = np.asarray(walk.send(weights.argmax(axis=1)))
        return self.rows


def symbols(sparse: SparseDCT, model: DCTransformer) -> np.ndarray:
    """Returns the symbols that a walk gets for a list of L triples, int32 [3 L + 1]."""
    vocabulary = model.vocabulary
    positions = move(sparse.positions, sparse.grid, vocabulary.grid)
    triples = np.stack([sparse.channels, positions, sparse.values + vocabulary.largest_value], axis=1)  # [L, 3]
    return np.append(triples.reshape(-1), vocabulary.stop).astype(np.int32)
