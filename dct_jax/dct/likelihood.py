"""Computes the log-likelihood of whole lists, over all of their chunks."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import jax
import numpy as np

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.data.pipeline import Shard
from dct_jax.dct.chunks import Chunk, make_chunks, num_chunks
from dct_jax.dct.network import DCTransformer, SymbolNats, log_likelihood
from dct_jax.dct.network.transformer import Logits
from dct_jax.distributed.parallel import DATA_AXIS, parallel, place, replicate

LogProb = Callable[[Any, Chunk], SymbolNats[jax.Array]]


@lru_cache(maxsize=8)
def parallel_log_prob(model: DCTransformer, devices: tuple[jax.Device, ...]) -> LogProb:
    """Returns a function of replicated parameters and a placed batch. It computes log p of each
    target element of each chunk given what comes before it: float32 [B, C] for each symbol, in
    nats, with the rows of all devices."""

    def log_prob(params: Any, batch: Chunk[jax.Array]) -> SymbolNats[jax.Array]:
        nats = log_likelihood(cast(Logits, model.apply(params, batch)), batch, model.vocabulary)  # [b, O + C] each
        targets = SymbolNats(*(x[:, model.config.overlap :] for x in nats))  # [b, C] each
        return jax.lax.all_gather(targets, DATA_AXIS, tiled=True)

    return parallel(log_prob, devices)


def all_chunks(
    lists: Sequence[SparseDCT],
    labels: np.ndarray,
    vocabulary: Vocabulary,
    chunk_size: int,
    overlap: int,
    batch_size: int,
    shard: Shard = Shard(),
) -> Iterator[tuple[list[tuple[int, int]], Chunk[np.ndarray]]]:
    """Makes every chunk of every list, in batches of one shape. Rows without targets fill up the
    last.

    Yields:
        The list and the number of the chunk of each of batch_size rows; and a batch with the rows
        of the shard alone, the shard.index-th of shard.num equal parts.
    """
    chunks = [num_chunks(len(sparse), chunk_size) for sparse in lists]
    jobs = [(i, k) for i, number in enumerate(chunks) for k in range(number)]
    jobs += [(0, chunks[0])] * (-len(jobs) % batch_size)  # one more than the list has
    rows = batch_size // shard.num
    for first in range(0, len(jobs), batch_size):
        owners, indices = np.array(jobs[first + shard.index * rows :][:rows]).T
        ours = [lists[i] for i in owners]
        batch = make_chunks(ours, indices, labels[owners], vocabulary, chunk_size, overlap)
        yield jobs[first : first + batch_size], batch


def element_log_prob(
    model: DCTransformer,
    params: Any,
    lists: Sequence[SparseDCT],
    labels: np.ndarray | None = None,
    batch_size: int = 16,
    devices: Sequence[jax.Device] | None = None,
) -> list[SymbolNats[np.ndarray]]:
    """Computes log p of every symbol of whole lists given all that comes before it, exactly.

    Args:
        model, params: the network and its parameters.
        lists: valid lists whose images fit on the model's canvas.
        labels: int32 [N], the class of each; None stands for class 0.
        batch_size: about how many chunks run at a time; the result does not depend on it, up to
            rounding.
        devices: the chunks are spread over them; by default over one local device. If they belong
            to several processes, each of these must call this.

    Returns:
        For each list of L triples float32 [L + 1] for each symbol, in nats. The last element is the
        stopping token: a channel, without position and value (0).

    Raises:
        ValueError: if a list is not one of the model's vocabulary.
    """
    for i, sparse in enumerate(lists):
        try:
            sparse.validate(model.vocabulary_of(sparse.codec))
        except ValueError as error:
            raise ValueError(f"list {i}: {error}") from None
    devices = tuple(devices or jax.local_devices()[:1])
    processes = sorted({device.process_index for device in devices})
    shard = Shard(processes.index(jax.process_index()), len(processes))
    labels = np.zeros(len(lists), np.int32) if labels is None else labels
    log_prob, params = parallel_log_prob(model, devices), replicate(params, devices)
    if not lists:
        return []
    nats = [SymbolNats(*np.zeros((3, len(sparse) + 1), np.float32)) for sparse in lists]
    size, rows = model.config.chunk_size, -(-batch_size // len(devices)) * len(devices)

    def take(jobs: list[tuple[int, int]], results: SymbolNats[jax.Array]) -> None:
        for ours, theirs in zip(range(3), jax.device_get(results)):
            for row, (i, k) in zip(theirs, jobs):
                part = nats[i][ours][k * size : (k + 1) * size]
                part[:] = row[: len(part)]

    pending: tuple[list[tuple[int, int]], SymbolNats[jax.Array]] | None = None
    for jobs, batch in all_chunks(lists, labels, model.vocabulary, size, model.config.overlap, rows, shard):
        results = log_prob(params, place(batch, devices))
        if pending:
            take(*pending)  # while the devices work
        pending = jobs, results
    if pending:
        take(*pending)
    return nats


def list_log_prob(
    model: DCTransformer,
    params: Any,
    lists: Sequence[SparseDCT],
    labels: np.ndarray | None = None,
    batch_size: int = 16,
    devices: Sequence[jax.Device] | None = None,
) -> SymbolNats[np.ndarray]:
    """Computes log p of each whole list: the sums of `element_log_prob`, with its arguments.

    Returns:
        float64 [N] for each symbol, in nats.
    """
    elements = element_log_prob(model, params, lists, labels, batch_size, devices)
    sums = np.array([[x.sum(dtype=np.float64) for x in one] for one in elements]).reshape(-1, 3)  # [N, 3]
    return SymbolNats(*sums.T)


def bits_per_pixel(nats: SymbolNats[np.ndarray], lists: Sequence[SparseDCT]) -> float:
    """Returns the bits that the model needs for a pixel of the lists' images, on average.

    Args:
        nats: log-likelihoods [N], as list_log_prob gives them.
        lists: the N lists.
    """
    pixels = sum(sparse.size[0] * sparse.size[1] for sparse in lists)
    return float(-sum(np.sum(symbol) for symbol in nats) / np.log(2) / pixels)
