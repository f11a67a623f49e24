"""Samples whole lists, chunk by chunk. The rows of a batch go on independently, and one that ends
makes room for the next."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import extend, make_chunks
from dct_jax.dct.network import DCTransformer, SymbolNats
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import SampledChunk, Span, sample_chunk

State = Literal["growing", "complete", "cut"]


@dataclass(frozen=True)
class Start:
    """What a sample begins with.

    Attributes:
        number: i of the i-th sample of a seed. It tells samples apart that begin alike.
        given: the triples that the sample begins with, perhaps none (`SparseDCT.empty`). They have
            the size of the sample.
        label: the class, or the number of classes if the class is hidden; 0 without classes.
        next_rank: sampled channels have at least this rank in the channel order; see
            `conditioning`.
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
        nats: the log-likelihood under the model (whatever the policy), given what it began with: a
            number for each symbol.
        state: "growing"; "complete", if the stopping token was sampled; or "cut", at the limit.
    """

    start: Start
    sparse: SparseDCT
    nats: SymbolNats[float]
    state: State = "growing"

    @property
    def keeps_given(self) -> bool:
        """Tells whether the list begins with what was given, as it must."""
        return self.sparse[: len(self.start.given)] == self.start.given


def ended_samples(results: Iterable[list[Sample]]) -> Iterator[Sample]:
    """Picks, of what `sample_lists` yields, the samples that have ended."""
    return (sample for samples in results for sample in samples if sample.state != "growing")


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
        model, params: the network that they are sampled from.
        starts: what the samples begin with, in their order. The lists fit on the model's canvas.
        seed: sample i of a seed is one list, whatever its batch, up to rounding, which may rarely
            turn a choice.
        policy: how symbols are sampled.
        rows: B, the size of the batch.
        limit: lists are cut off when they have so many triples; None for no limit.

    Yields:
        After each chunk, the samples that got triples or ended, as they are then.
    """
    chunk_size = model.config.chunk_size
    longest = model.vocabulary.longest_list + chunk_size if limit is None else limit
    step = functools.partial(_advance, model, params, seed, policy, longest)
    waiting = iter([Sample(start, start.given, SymbolNats(0.0, 0.0, 0.0)) for start in starts])
    ready: list[Sample] = []
    newcomers: list[Sample] = []
    growing: list[Sample | None] = [None] * rows
    while True:
        if len(ready) < growing.count(None) and (newcomers := list(itertools.islice(waiting, rows))):
            # Lists that end within a chunk first go to its end together. For what is given a batch
            # takes one parallel pass, whether for one list or for all; and few steps are left.
            within = [sample if len(sample.sparse) % chunk_size else None for sample in newcomers]
            if any(within):
                results = step(within + [None] * (rows - len(within)))
                yield [sample for sample in results if sample]
                newcomers = [one or other for one, other in zip(results, newcomers)]
            ready += [sample for sample in newcomers if sample.state == "growing"]
        growing = [sample or (ready.pop(0) if ready else None) for sample in growing]
        if any(growing):
            results = step(growing)
            yield [sample for sample in results if sample]
            growing = [sample if sample and sample.state == "growing" else None for sample in results]
        elif not newcomers:
            return


def _advance(
    model: DCTransformer, params: Any, seed: int, policy: Policy, longest: int, samples: Sequence[Sample | None]
) -> list[Sample | None]:
    """Samples in each row of a batch to the end of its chunk, or of its list, or to the limit."""
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
    sampled = jax.device_get(sample_chunk(model, bool(given.any()), policy, params, chunk, keys, span))
    return [
        sample and _grow(sample, _row(sampled, i, slice(given[i], until[i])), longest, vocabulary.grid)
        for i, sample in enumerate(samples)
    ]


@jax.jit
def _chunk_keys(seed: jax.Array, numbers: jax.Array, chunks: jax.Array) -> jax.Array:
    """Makes a key for each sample's chunk, [B]: it depends on nothing else."""
    return jax.vmap(lambda *data: functools.reduce(jax.random.fold_in, data, jax.random.key(seed)))(numbers, chunks)


def _row(sampled: SampledChunk[np.ndarray], i: int, part: slice) -> SampledChunk[np.ndarray]:
    """Returns some elements of one list, [n] each."""
    return jax.tree.map(lambda x: x[i, part], sampled)


def _grow(sample: Sample, sampled: SampledChunk[np.ndarray], longest: int, canvas: tuple[int, int]) -> Sample:
    """Adds to a sample what was sampled for it, [n] each."""
    stop = sample.sparse.codec.vocabulary(sample.sparse.size).stop
    is_triple = sampled.channels < stop  # [n]
    channels, positions, values = (x[is_triple].astype(np.int32) for x in sampled[:3])
    sparse = extend(sample.sparse, channels, positions, values, canvas)
    nats = SymbolNats(*(before + float(x.sum(dtype=np.float64)) for before, x in zip(sample.nats, sampled.nats)))
    state: State = "complete" if not is_triple.all() else "cut" if len(sparse) >= longest else "growing"
    return Sample(sample.start, sparse, nats, state)
