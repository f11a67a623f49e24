"""Whole lists, chunk by chunk: the rows of a batch go on independently, and one that ends makes room for the next."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import extended, make_chunks
from dct_jax.dct.network import DCTransformer, SymbolNats
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import SampledChunk, Span, sample_chunk


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

    @property
    def keeps_given(self) -> bool:
        """Whether the list begins with what was given, as it must."""
        return self.sparse[: len(self.start.given)] == self.start.given


def ended(grown: Iterable[list[Sample]]) -> Iterator[Sample]:
    """Of what `sample_lists` yields, the samples that have ended."""
    return (sample for samples in grown for sample in samples if sample.state != "growing")


def sample_lists(
    model: DCTransformer,
    params: Any,
    starts: Sequence[Start],
    seed: int,
    policy: Policy,
    rows: int,
    limit: int | None = None,
) -> Iterator[list[Sample]]:
    """Samples lists, of which `rows` grow at a time.

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
    chunk_size = model.config.chunk_size
    longest = model.vocabulary.longest_list + chunk_size if limit is None else limit
    step = functools.partial(_advanced, model, params, seed, policy, longest)
    waiting = iter([Sample(start, start.given, SymbolNats(0.0, 0.0, 0.0)) for start in starts])
    ready: list[Sample] = []
    growing: list[Sample | None] = [None] * rows
    while True:
        if len(ready) < growing.count(None) and (begun := list(itertools.islice(waiting, rows))):
            # Lists that end within a chunk are first brought to its end, together: going through what is given in parallel
            # costs a batch as much for one of them as for all, and few steps are left.
            within = [sample if len(sample.sparse) % chunk_size else None for sample in begun]
            if any(within):
                brought = step(within + [None] * (rows - len(within)))
                yield [sample for sample in brought if sample]
                begun = [one or other for one, other in zip(brought, begun)]
            ready += [sample for sample in begun if sample.state == "growing"]
        growing = [sample or (ready.pop(0) if ready else None) for sample in growing]
        if any(growing):
            grown = step(growing)
            yield [sample for sample in grown if sample]
            growing = [sample if sample and sample.state == "growing" else None for sample in grown]
        elif not begun:
            return


def _advanced(
    model: DCTransformer, params: Any, seed: int, policy: Policy, longest: int, samples: Sequence[Sample | None]
) -> list[Sample | None]:
    """The rows of a batch, each brought to the end of its chunk, or of its list, or to the limit."""
    chunk_size, vocabulary = model.config.chunk_size, model.vocabulary
    filler = next(sample for sample in samples if sample)  # rows without a sample need some list
    lists, starts = [(sample or filler).sparse for sample in samples], [(sample or filler).start for sample in samples]
    indices, given = np.divmod([len(sparse) for sparse in lists], chunk_size)  # [B] each
    is_sample = np.array([sample is not None for sample in samples])
    until = np.where(is_sample, np.minimum(chunk_size, longest - indices * chunk_size), 0)
    next_rank = np.array([start.next_rank for start in starts])

    labels = [start.label for start in starts]
    chunk = make_chunks(lists, indices, labels, vocabulary, chunk_size, model.config.overlap)
    keys = _chunk_keys(np.uint32(seed), np.array([start.number for start in starts], np.uint32), indices.astype(np.uint32))
    span = Span(*(x.astype(np.int32) for x in (given, until, next_rank)))
    drawn = jax.device_get(sample_chunk(model, bool(given.any()), policy, params, chunk, keys, span))
    return [
        sample and _grown(sample, _row(drawn, i, slice(given[i], until[i])), longest, vocabulary.grid)
        for i, sample in enumerate(samples)
    ]


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
