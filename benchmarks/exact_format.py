"""Writes files of versions 1 and 2 of the compressed format, which the package only reads.

Tests and benchmarks compare with them.
"""

import constriction
import numpy as np

from dct_jax import TrainedModel
from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import move, num_chunks
from dct_jax.dct.compression.exact import ROWS, integer_weights
from dct_jax.dct.compression.steps import Walker
from dct_jax.dct.compression.stream import Group, Stream, list_check, short


def symbols_of(sparse: SparseDCT, model: TrainedModel) -> np.ndarray:
    """Returns the symbols that a walk gets for a list of L triples, int32 [3 L + 1]."""
    vocabulary = model.network.vocabulary
    positions = move(sparse.positions, sparse.grid, vocabulary.grid)
    triples = np.stack([sparse.channels, positions, sparse.values + vocabulary.largest_value], axis=1)  # [L, 3]
    return np.append(triples.reshape(-1), vocabulary.stop).astype(np.int32)


def write_exactly(model: TrainedModel, sparse: SparseDCT, version: int) -> bytes:
    """Writes a file of a list of the canvas's size, one chunk after another."""
    walker = Walker(model.network, model.variables, ROWS[version], integer_weights)
    encoder, sent = constriction.stream.queue.RangeEncoder(), symbols_of(sparse, model)
    size = 3 * model.config.model.chunk_size
    for index in range(num_chunks(len(sparse), model.config.model.chunk_size)):
        part = sent[size * index : size * (index + 1)]
        walk = walker.walk([sparse], [index], [0])
        told = next(walk)
        for i, symbol in enumerate(part.tolist()):
            weights = np.asarray(told[0], np.float64)
            encoder.encode(symbol, constriction.stream.model.Categorical(weights, perfect=False))
            if i + 1 < len(part):
                told = walk.send(np.full(walker.rows, symbol))
    start = short(model.fingerprint), None, 0, None, list_check(sparse, version)
    return Stream(*start, 0, (Group(encoder.get_compressed()),), version).to_bytes()
