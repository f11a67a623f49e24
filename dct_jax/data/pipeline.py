"""Sources -> batches: the Grain pipeline for training, and the fixed lists of an evaluation."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import grain.python as grain
import numpy as np
from absl import flags

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.config import Config, ModelConfig
from dct_jax.data.skipped import Skip, Skipped, skip_of
from dct_jax.data.sources import Source
from dct_jax.dct.chunks import Chunk, draw_chunk, make_chunks, num_chunks
from dct_jax.dct.reader import drawn_image, drawn_own_list, drawn_size, encode_all, label_of

TRIES = 100
"""So many pictures are tried for one place of a batch before the run ends."""

MOST_SIZES = 1000
"""So many pictures tell which sizes the training pictures have."""


class Shard(NamedTuple):
    """The part of every global batch that one process makes: each num-th place, from the index-th on."""

    index: int = 0
    num: int = 1


class Drawn(NamedTuple):
    """One place of a batch: the picture that the model sees there, and those that were tried before it."""

    seen: np.ndarray | SparseDCT
    label: int
    skips: list[Skip]


class _Made(NamedTuple):
    """What a worker makes: a batch, and the pictures that it had to skip for it."""

    batch: Chunk
    skips: list[Skip]


def draw(source: Source, index: int, config: Config, flip: bool, rng: np.random.Generator) -> Drawn:
    """The picture `index` as the model sees it, or if it cannot be used others, chosen at random, until one can.

    Raises:
        ValueError: if none can.
    """
    skips: list[Skip] = []
    while len(skips) < TRIES:
        key = f"{source.name}, picture {index}"
        try:
            record = source[index]
            key = record.key
            label = label_of(record, config.model.num_classes)
            if config.data.own_coefficients:
                return Drawn(drawn_own_list(record, config, flip, rng), label, skips)
            return Drawn(drawn_image(record, config.data, flip, rng), label, skips)
        except ValueError as error:
            skips.append(skip_of(key, error))
        index = int(rng.integers(len(source)))
    tried = {skip.key: skip for skip in skips}
    raise ValueError(f"{source.name}: none of the {len(tried)} pictures that were tried can be used; {skips[0].message}")


def _lists(drawn: Sequence[Drawn], config: Config) -> list[SparseDCT]:
    if config.data.own_coefficients:
        return [one.seen for one in drawn]
    return encode_all(config.codec, [one.seen for one in drawn])


class _BatchMaker:
    """From the places of a batch in the whole sequence, and their pictures, to the batch. It is sent to worker processes."""

    def __init__(self, source: Source, config: Config) -> None:
        self.source, self.config = source, config

    def __call__(self, places: list[tuple[int, int]]) -> _Made:
        config, model = self.config, self.config.model
        # What is random at a place depends on the seed and the place alone, not on batches, processes or workers.
        rngs = [np.random.default_rng((config.seed, place)) for place, _ in places]
        drawn = [draw(self.source, index, config, config.data.flip, rng) for (_, index), rng in zip(places, rngs)]
        lists = _lists(drawn, config)
        indices = [draw_chunk(len(one), model.chunk_size, model.max_chunks, rng) for one, rng in zip(lists, rngs)]
        labels = [_perhaps_hidden(one.label, config, rng) for one, rng in zip(drawn, rngs)]
        batch = make_chunks(lists, indices, labels, _canvas(config), model.chunk_size, model.overlap)
        return _Made(batch, [skip for one in drawn for skip in one.skips])


def _perhaps_hidden(label: int, config: Config, rng: np.random.Generator) -> int:
    """The label, or with the probability of `training.label_dropout` the number that hides it."""
    dropout = config.training.label_dropout
    return config.model.num_classes if dropout and rng.random() < dropout else label


def training_batches(
    source: Source, config: Config, skipped: Skipped, first: int = 0, shard: Shard = Shard()
) -> Iterator[Chunk]:
    """The endless sequence of training batches, Chunk [batch_size / shard.num, ...].

    Every picture comes once an epoch. The seed and the place in the sequence determine which picture it is, its crop and its
    chunk; a picture that cannot be used is replaced by another. So batch k is the same however many processes and workers make
    it, and a run that is resumed at step k needs nothing but that number.

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
    made = places.batch(size, batch_fn=list).map(_BatchMaker(source, config))[first:]
    threads = config.data.threads
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1 if threads else 0)
    batches = made.to_iter_dataset(options)
    if config.data.workers:
        flags.FLAGS.mark_as_parsed()  # Grain asks for flags of its own, which only programs of absl have parsed
        options = grain.MultiprocessingOptions(config.data.workers, per_worker_buffer_size=1)
        batches = batches.mp_prefetch(options, partial(_stay_until, os.getpid()))
    for batch, skips in batches:
        skipped.note(size, skips)
        yield batch


def _stay_until(parent: int, *_: int) -> None:
    """Runs first in a worker process. Ctrl-C and a scheduler's SIGTERM go to it, too, but the training process takes some more
    batches before it stops; and when that process is gone, however it ended, so is the worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def held_out_pictures(pictures: int, crops: int) -> list[int]:
    """Which picture each of so many crops is of: all of them by turns, or as many at even distances."""
    return [place * pictures // crops if crops < pictures else place % pictures for place in range(crops)]


def held_out_lists(source: Source, config: Config, skipped: Skipped) -> tuple[list[SparseDCT], np.ndarray]:
    """The lists and the classes, int32 [N], of the crops of `held_out_pictures`, the same ones every time, as the model sees
    them in training, unmirrored."""
    lists, labels = [], []
    for place, index in enumerate(held_out_pictures(len(source), config.data.held_out_crops)):
        rng = np.random.default_rng((config.seed, place))
        one = draw(source, index, config, False, rng)
        skipped.note(1, one.skips)
        lists += _lists([one], config)
        labels.append(one.label)
    return lists, np.array(labels, np.int32)


def training_sizes(source: Source, config: Config) -> list[tuple[int, int, int]]:
    """Which sizes the model's pictures have, and how often: (H, W, count), from pictures at even distances in the source.

    Raises:
        ValueError: if none of them can be used.
    """
    if config.data.fit == "crop":
        return [(*config.data.image_size, 1)]
    number, sizes = min(len(source), MOST_SIZES), Counter()
    for i in range(number):
        try:
            sizes[drawn_size(source[i * len(source) // number], config.data)] += 1
        except ValueError:
            continue  # training skips it too, and says so
    if not sizes:
        raise ValueError(f"{source.name}: none of the {number} pictures whose sizes were asked for can be used")
    return [(*size, count) for size, count in sorted(sizes.items())]


def all_chunks(
    lists: Sequence[SparseDCT],
    labels: np.ndarray,
    vocabulary: Vocabulary,
    model: ModelConfig,
    batch_size: int,
    shard: Shard = Shard(),
) -> Iterator[tuple[list[tuple[int, int]], Chunk]]:
    """Every chunk of every list, in batches of one shape, the last of which is filled up with chunks without targets.

    Yields:
        Which list and which of its chunks each of batch_size rows is, and the Chunk batch; of the latter, only the shard's
        rows, the shard.index-th of shard.num equal parts.
    """
    chunks = [num_chunks(len(sparse), model.chunk_size) for sparse in lists]
    jobs = [(i, k) for i, number in enumerate(chunks) for k in range(number)]
    jobs += [(0, chunks[0])] * (-len(jobs) % batch_size)  # one more than the list has
    rows = batch_size // shard.num
    for first in range(0, len(jobs), batch_size):
        owners, indices = np.array(jobs[first + shard.index * rows :][:rows]).T
        ours = [lists[i] for i in owners]
        batch = make_chunks(ours, indices, labels[owners], vocabulary, model.chunk_size, model.overlap)
        yield jobs[first : first + batch_size], batch


def example_batch(config: Config, batch_size: int = 1) -> Chunk:
    """Chunks of empty lists, for their shapes."""
    blanks, zeros = [SparseDCT.empty(config.data.image_size, config.codec)] * batch_size, [0] * batch_size
    return make_chunks(blanks, zeros, zeros, _canvas(config), config.model.chunk_size, config.model.overlap)


def _canvas(config: Config) -> Vocabulary:
    return config.codec.vocabulary(config.data.image_size)
