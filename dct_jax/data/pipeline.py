"""Sources -> batches: the Grain pipeline for training, and the fixed crops of an evaluation."""

import os
import signal
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import chain
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import grain.python as grain
import numpy as np
from absl import flags

from dct_jax.config import DataConfig, RunConfig
from dct_jax.data.crops import held_out_pictures, seen_size
from dct_jax.data.reader import Reader
from dct_jax.data.skipped import Skip, Skipped, skip_of
from dct_jax.data.sources import Source
from dct_jax.orphans import when_orphaned

TRIES = 100
"""So many pictures are tried for one place of a batch before the run ends."""

MOST_SIZES = 1000
"""So many pictures tell which sizes the training pictures have."""


class Shard(NamedTuple):
    """The part of every global batch that one process makes: each num-th place from `index` on."""

    index: int = 0  # type: ignore[assignment]  # a tuple's method, which is not needed
    num: int = 1


class FoundPicture(NamedTuple):
    """A picture that can be used, as the stage sees it, and those that were tried before it."""

    seen: Any
    skips: list[Skip]


class _WorkerBatch(NamedTuple):
    """A batch that a worker made, and the pictures that it skipped."""

    batch: Any
    skips: list[Skip]


def find(source: Source, index: int, reader: Reader, rng: np.random.Generator, train: bool) -> FoundPicture:
    """Returns the picture `index` as the stage sees it. If it cannot be used, others are chosen at
    random until one can.

    Raises:
        ValueError: if no picture can be used.
    """
    skips: list[Skip] = []
    while len(skips) < TRIES:
        key = f"{source.name}, picture {index}"
        try:
            record = source[index]
            key = record.key
            return FoundPicture(reader.see(record, rng, train), skips)
        except ValueError as error:
            skips.append(skip_of(key, error))
        index = int(rng.integers(len(source)))
    tried = {skip.key: skip for skip in skips}
    raise ValueError(f"{source.name}: none of the {len(tried)} pictures that were tried can be used; {skips[0].message}")


class _BatchMaker:
    """Turns places in the sequence, and their pictures, into a batch. Worker processes get it."""

    def __init__(self, source: Source, reader: Reader, seed: int) -> None:
        self.source, self.reader, self.seed = source, reader, seed

    def __call__(self, places: list[tuple[int, int]]) -> _WorkerBatch:
        # What is random at a place depends on the seed and the place alone, not on batches,
        # processes or workers.
        rngs = [np.random.default_rng((self.seed, place)) for place, _ in places]
        found = [find(self.source, index, self.reader, rng, train=True) for (_, index), rng in zip(places, rngs)]
        batch = self.reader.batch([one.seen for one in found], rngs)
        return _WorkerBatch(batch, [skip for one in found for skip in one.skips])


def training_batches(
    source: Source, config: RunConfig, skipped: Skipped, first: int = 0, shard: Shard = Shard()
) -> Generator[Any, None, None]:
    """Makes the endless sequence of a run's training batches, [batch_size / shard.num, ...].

    Every picture comes once an epoch. The seed and the place in the sequence determine which
    picture it is, its crop and what else is random; a picture that cannot be used is replaced by
    another. So batch k is the same however many processes and workers make it, and a run that is
    resumed at step k needs nothing but that number.

    Args:
        source: the pictures to train on.
        config: of the run.
        skipped: is told of the pictures that cannot be used.
        first: the number of the first batch, from 0.
        shard: the part of each batch that this process makes; the parts together are the batch.

    Raises:
        ValueError: when too many pictures cannot be used.
    """
    size = config.training.batch_size // shard.num
    indices = grain.MapDataset.range(len(source)).seed(config.seed).shuffle().repeat()
    places = indices.map_with_index(lambda place, index: (place, int(index)))[shard.index :: shard.num]
    dataset = places.batch(size, batch_fn=list).map(_BatchMaker(source, config.reader(), config.seed))[first:]
    threads = config.data.threads
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1 if threads else 0)
    batches = dataset.to_iter_dataset(options)
    if config.data.workers:
        flags.FLAGS.mark_as_parsed()  # Grain asks for flags of its own, which only programs of absl have parsed
        options = grain.MultiprocessingOptions(config.data.workers, per_worker_buffer_size=1)
        batches = _keep_signals_from_workers(batches.mp_prefetch(options, partial(_exit_after, os.getpid())))
    for batch, skips in batches:
        skipped.note(size, skips)
        yield batch


def _keep_signals_from_workers(batches: Iterable[_WorkerBatch]) -> Iterator[_WorkerBatch]:
    """Iterates. Ctrl-C and a scheduler's SIGTERM go to worker processes, too, but the training
    process takes some more batches before it stops. So it blocks both signals while it takes the
    first batch: the threads that start workers then, and the workers, inherit that from their first
    moment on. The training process gets the signals when the batch is there."""
    resource_tracker.ensure_running()  # when it starts, which is once, it unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        iterator = iter(batches)
        return chain([next(iterator)], iterator)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_after(parent: int, *_: int) -> None:
    """Runs first in a worker process: when the training process is gone, however it ended, so is
    the worker."""
    when_orphaned(parent, partial(os._exit, 1))


def read_held_out(source: Source, config: RunConfig, skipped: Skipped) -> Any:
    """Reads the crops of `held_out_pictures` as the stage sees crops in training, but unmirrored
    and equal every time. Returns what the run's reader makes of them."""
    reader, seen = config.reader(), []
    for place, index in enumerate(held_out_pictures(len(source), config.data.held_out_crops)):
        found = find(source, index, reader, np.random.default_rng((config.seed, place)), train=False)
        skipped.note(1, found.skips)
        seen.append(found.seen)
    return reader.held_out(seen)


def training_sizes(source: Source, data: DataConfig) -> list[tuple[int, int, int]]:
    """Counts the sizes of the stage's pictures, (H, W, count), at even distances in the source.

    Raises:
        ValueError: if none of them can be used.
    """
    if data.fit == "crop":
        return [(*data.image_size, 1)]
    number = min(len(source), MOST_SIZES)
    sizes: Counter[tuple[int, int]] = Counter()
    for i in range(number):
        try:
            sizes[seen_size(source[i * len(source) // number], data)] += 1
        except ValueError:
            continue  # training skips it too, and says so
    if not sizes:
        raise ValueError(f"{source.name}: none of the {number} pictures whose sizes were asked for can be used")
    return [(*size, count) for size, count in sorted(sizes.items())]
