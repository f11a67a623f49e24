"""Walks through chunks of lists symbol by symbol, a few chunks at once, as a reader must.

Axes: R rows, one chunk each; C chunk; N symbols.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import with_elements
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.nn.attention import Caches
from dct_jax.nn.blocks import Window
from dct_jax.nn.modules import used_variables

Walk = Generator[jax.Array, np.ndarray, None]
"""It yields what a `Walker` tells of the rows' next symbols, [R, ...], and gets the symbols,
[R]."""


_begin = jax.jit(prefill, static_argnums=0)
_with_elements = jax.jit(with_elements, donate_argnums=0)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _step(
    model: DCTransformer, tell: Callable[[jax.Array], jax.Array], method: str, params: Any, caches: Caches, row: int, *args: Any
) -> tuple[Any, ...]:
    """Calls the model's method for one symbol of each row, and tells of its logits [R, N] what the
    reader needs. The caches are written where they lie: a copy takes as long as a step of 8
    rows."""
    logits, *rest = model.apply(params, *args, Window(caches, row), method=method)
    return tell(logits[:, 0]), *rest


@dataclass(frozen=True, eq=False)
class Walker:
    """Goes through chunks of lists, R at a time.

    Attributes:
        model, params: they give the probabilities.
        rows: R. With another R the program is another one, and its last bits may differ.
        tell: what the reader needs of logits [R, N], an array [R, ...].
    """

    model: DCTransformer
    params: Any
    rows: int
    tell: Callable[[jax.Array], jax.Array]
    _used: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def walk(self, lists: Sequence[SparseDCT], indices: Sequence[int], labels: Sequence[int]) -> Walk:
        """Goes through one chunk of each list: channel, position, value, channel, and so on.

        Args:
            lists: 1 to R lists, read up to the chunk. Other rows repeat the last list.
            indices: which chunk of each.
            labels: the class of each; 0 without classes.

        Yields:
            [R, ...], 3 C times: what is told of the next symbols. Send it the symbols. Positions
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
        return _step(self.model, self.tell, method, self._used[method], caches, row, *args)
