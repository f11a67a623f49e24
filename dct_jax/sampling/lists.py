"""Whole lists, chunk by chunk: the rows of a batch go on independently, and one that ends makes room for the next."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import extended, make_chunks
from dct_jax.model import DCTransformer, SymbolNats
from dct_jax.sampling.policy import Policy
from dct_jax.sampling.sampler import SampledChunk, Span, sample_chunk


@dataclass(frozen=True)
class Start:
    """What a sample begins with.

    Attributes:
        number: i of the i-th sample of a seed. It alone tells samples that begin alike from one another.
        given: the triples that it begins with, perhaps none (`SparseDCT.empty`); of the size that it will have.
        label: its class, or the number of classes if it is hidden; 0 without classes.
        next_rank: drawn triples have channels of at least this rank in the channel order; see `conditioning`.
    """

    number: int
    given: SparseDCT
    label: int = 0
    next_rank: int = 0


class Sample(NamedTuple):
    """A sample, which may not be complete yet.

    Attributes:
        start: what it began with.
        sparse: the list so far, the given triples included.
        nats: its log-likelihood under the model (whatever the policy), given what it began with: a number for each symbol.
        state: "growing"; "complete", if its stopping token was drawn; or "cut", at the limit.
    """

    start: Start
    sparse: SparseDCT
    nats: SymbolNats
    state: Literal["growing", "complete", "cut"] = "growing"


def draw_lists(
    model: DCTransformer,
    params: Any,
    starts: Sequence[Start],
    seed: int,
    policy: Policy,
    rows: int,
    limit: int | None = None,
) -> Iterator[list[Sample]]:
    """Draws lists, of which `rows` grow at a time.

    Args:
        model, params: what to draw from.
        starts: what the samples begin with, in the order in which they are begun; their lists fit on the model's canvas.
        seed: sample i of a seed is the same list in whatever batch it is drawn.
        policy: how to draw.
        rows: B, the size of the batch.
        limit: lists are cut off when they have so many triples; None for no limit.

    Yields:
        After each chunk, the samples that got triples or ended, as they are then.
    """
    chunk_size, vocabulary = model.config.chunk_size, model.vocabulary
    longest = vocabulary.longest_list + chunk_size if limit is None else limit
    waiting = iter(starts)

    def begun() -> Sample | None:
        start = next(waiting, None)
        return start and Sample(start, start.given, SymbolNats(0.0, 0.0, 0.0))

    growing = [begun() for _ in range(rows)]
    while any(growing):
        filler = next(sample for sample in growing if sample)  # rows without a sample need some list
        now = [sample or filler for sample in growing]
        lists, begun_with = [sample.sparse for sample in now], [sample.start for sample in now]
        indices, given = np.divmod([len(sparse) for sparse in lists], chunk_size)  # [B] each
        is_growing = np.array([sample is not None for sample in growing])
        until = np.where(is_growing, np.minimum(chunk_size, longest - indices * chunk_size), 0)
        next_rank = np.array([start.next_rank for start in begun_with])

        labels = [start.label for start in begun_with]
        chunk = make_chunks(lists, indices, labels, vocabulary, chunk_size, model.config.overlap)
        keys = _chunk_keys(
            np.uint32(seed), np.array([start.number for start in begun_with], np.uint32), indices.astype(np.uint32)
        )
        span = Span(*(x.astype(np.int32) for x in (given, until, next_rank)))
        drawn = jax.device_get(sample_chunk(model, bool(given.any()), policy, params, chunk, keys, span))
        grown = [
            sample and _grown(sample, _row(drawn, i, slice(given[i], until[i])), longest, vocabulary.grid)
            for i, sample in enumerate(growing)
        ]
        yield [sample for sample in grown if sample]
        growing = [sample if sample and sample.state == "growing" else begun() for sample in grown]


@jax.jit
def _chunk_keys(seed: jax.Array, numbers: jax.Array, chunks: jax.Array) -> jax.Array:
    """A key for each sample's chunk, [B]: it depends on nothing else."""
    return jax.vmap(lambda *data: functools.reduce(jax.random.fold_in, data, jax.random.key(seed)))(numbers, chunks)


def _row(drawn: SampledChunk, i: int, part: slice) -> SampledChunk:
    """Some elements of one list, [n] each."""
    return jax.tree.map(lambda x: x[i, part], drawn)


def _grown(sample: Sample, drawn: SampledChunk, longest: int, canvas: tuple[int, int]) -> Sample:
    """The sample with what was drawn for it, [n] each."""
    stop = sample.sparse.codec.vocabulary(sample.sparse.size).stop
    is_triple = drawn.channels < stop  # [n]
    triples = (x[is_triple].astype(np.int32) for x in (drawn.channels, drawn.positions, drawn.values))
    sparse = extended(sample.sparse, *triples, canvas)
    nats = SymbolNats(*(before + float(x.sum(dtype=np.float64)) for before, x in zip(sample.nats, drawn.nats)))
    state = "complete" if not is_triple.all() else "cut" if len(sparse) >= longest else "growing"
    return Sample(sample.start, sparse, nats, state)
