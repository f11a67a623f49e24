"""A model as the source of symbols, with probabilities as integers, for a few chunks of lists at once.

An entropy coder needs the same probabilities, to the last bit, when it writes and when it reads. So both walk through a chunk
one symbol at a time with the same compiled programs on the same shapes, whose number of rows is fixed, and the probabilities
leave these programs as integers. A row does not depend on what the other rows hold, nor on its place among them: that is why a
list can be written with all of its chunks side by side, and be read beside other lists or alone.

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
from dct_jax.dct.chunks import Chunk, make_chunks, moved
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import with_elements
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.nn.blocks import Caches, Window
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.modules import used_variables

RESOLUTION = 2**22
"""Probabilities are multiples of about 1 / RESOLUTION. An alphabet of a thousand symbols loses less than 2e-4 bits a symbol."""

PROBED = 8
"""Elements for which all rows must agree before more than one is used."""

Walk = Generator[jax.Array, np.ndarray, None]
"""Yields the weights of the next symbol of each row, int32 [R, N], and is sent the symbols, integers [R]."""


def integer_weights(logits: jax.Array) -> jax.Array:
    """Float32 logits [..., N] -> int32 weights [..., N] in proportion to the probabilities: 0 for impossible symbols, at least
    1 for all others."""
    weights = jnp.round(jax.nn.softmax(logits) * RESOLUTION).astype(jnp.int32)
    return jnp.where(logits > IMPOSSIBLE / 2, jnp.maximum(weights, 1), 0)


_begin = jax.jit(prefill, static_argnums=0)
_with_elements = jax.jit(with_elements, donate_argnums=0)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _step(model: DCTransformer, method: str, params: Any, caches: Caches, row: int, *args: Any) -> tuple[Any, ...]:
    """What the model's method says of one symbol of each row, with its logits as weights, int32 [R, N]. The caches are written
    where they lie: copying them takes as long as a step of 8 rows."""
    logits, *rest = model.apply(params, *args, Window(caches, row), method=method)
    return integer_weights(logits[:, 0]), *rest


@dataclass(frozen=True, eq=False)
class Walker:
    """Goes through chunks of lists, R at a time.

    Attributes:
        model, params: what gives the probabilities.
        rows: R. Another number is another compiled program, whose probabilities may differ in their last bits.
    """

    model: DCTransformer
    params: Any
    rows: int
    _used: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def walk(self, lists: Sequence[SparseDCT], indices: Sequence[int], labels: Sequence[int]) -> Walk:
        """Goes through one chunk of each list, from its first element on: channel, position, value, channel, and so on.

        Args:
            lists: 1 to R lists, of which what precedes the chunk is read; other rows repeat the last list.
            indices: which chunk of each.
            labels: the class of each; 0 without classes.

        Yields:
            int32 [R, N], 3 C times: the weights of the next symbols. Send it the symbols. Positions are those of the model's
            canvas; values have the vocabulary's largest value added. What is sent for a row whose list has ended makes no
            difference to others.
        """
        config, more = self.model.config, self.rows - len(lists)
        full = ([*given, *[given[-1]] * more] for given in (lists, indices, labels))
        return self._walk(make_chunks(*full, self.model.vocabulary, config.chunk_size, config.overlap))

    def _walk(self, chunk: Chunk) -> Walk:
        config, largest = self.model.config, self.model.vocabulary.largest_value
        encoding, caches, last = _begin(self.model, self.params, chunk)
        last = jax.device_get(last)  # as it is after each triple: another kind of array would be another compiled program
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
        """`_step` with the parameters that the method uses: handing over all of them takes a fifth of a step's time."""
        if method not in self._used:
            self._used[method] = used_variables(self.model, self.params, *args, method=method)
        return _step(self.model, method, self._used[method], caches, row, *args)

    def usable_rows(self, blank: SparseDCT) -> int:
        """R, if this machine computes all rows alike, as far as a few elements of equal lists show it; otherwise 1.

        XLA does not promise it. Where it does not hold, lists have to be written and read in the first row.

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
    """The symbols that a walk is sent for a list of L triples: int32 [3 L + 1]."""
    vocabulary = model.vocabulary
    positions = moved(sparse.positions, sparse.grid, vocabulary.grid)
    triples = np.stack([sparse.channels, positions, sparse.values + vocabulary.largest_value], axis=1)  # [L, 3]
    return np.append(triples.reshape(-1), vocabulary.stop).astype(np.int32)
