"""Sources -> batches: the Grain pipeline for training, and the fixed lists of an evaluation."""

from collections.abc import Iterator, Sequence

import grain.python as grain
import numpy as np

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.config import Config, ModelConfig
from dct_jax.data.chunks import Chunk, chunk_weights, make_chunk, num_chunks, stack_chunks
from dct_jax.data.crops import random_crop
from dct_jax.data.sources import Pictures


def random_list(
    pictures: Pictures, index: int, config: Config, flip: bool, rng: np.random.Generator
) -> tuple[SparseDCT, int] | None:
    """The list of a random crop of a picture, and its class; None if the picture cannot be used."""
    try:
        picture = pictures[index]
        crop = random_crop(picture.image, config.data.image_size, config.data.crop, flip, rng)
    except ValueError as error:
        pictures.skip(index, error)
        return None
    return config.codec.encode(crop), picture.label


def training_batches(pictures: Pictures, config: Config) -> grain.IterDataset:
    """An endless dataset of Chunk batches of shape [batch_size, ...].

    Every picture comes once an epoch, in an order, and with a crop and a chunk, that the seed and the place in the sequence
    determine. The iterator's state is a few integers: with `get_state` and `set_state` a resumed run continues with exactly
    the next batch.
    """
    model, vocabulary = config.model, config.codec.vocabulary(config.data.image_size)

    def random_chunk(index: int, rng: np.random.Generator) -> Chunk | None:
        drawn = random_list(pictures, index, config, config.data.flip, rng)
        if drawn is None:
            return None
        sparse, label = drawn
        chunks = num_chunks(len(sparse), model.chunk_size)
        chosen = int(rng.choice(chunks, p=chunk_weights(chunks, model.max_chunks)))
        return make_chunk(sparse, chosen, vocabulary, model.chunk_size, model.overlap, label)

    indices = grain.MapDataset.range(len(pictures)).seed(config.seed).shuffle().repeat()
    chunks = indices.random_map(random_chunk).to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=64))
    return chunks.batch(config.training.batch_size)


def held_out_lists(pictures: Pictures, config: Config) -> tuple[list[SparseDCT], np.ndarray]:
    """The lists and the classes, int32 [N], of `held_out_crops` crops, the same ones every time: the pictures by turns, with
    crops from the training distribution, unmirrored."""
    lists: list[SparseDCT] = []
    labels: list[int] = []
    for draw in range(config.data.held_out_crops):
        rng = np.random.default_rng((config.seed, draw))
        drawn = random_list(pictures, draw % len(pictures), config, False, rng)
        if drawn is not None:
            lists.append(drawn[0])
            labels.append(drawn[1])
    if not lists:
        raise pictures.none_usable("held-out pictures")
    return lists, np.array(labels, np.int32)


def all_chunks(
    lists: Sequence[SparseDCT], labels: np.ndarray, vocabulary: Vocabulary, model: ModelConfig, batch_size: int
) -> Iterator[tuple[np.ndarray, Chunk]]:
    """Every chunk of every list, in batches of one shape, the last of which is filled up with chunks without targets.

    Yields:
        int64 [batch_size], the list that each chunk belongs to, and the Chunk batch.
    """
    jobs = [(i, k) for i, sparse in enumerate(lists) for k in range(num_chunks(len(sparse), model.chunk_size))]
    for first in range(0, len(jobs), batch_size):
        batch = jobs[first : first + batch_size]
        made = [make_chunk(lists[i], k, vocabulary, model.chunk_size, model.overlap, int(labels[i])) for i, k in batch]
        filler = made[0]._replace(is_target=np.zeros_like(made[0].is_target))
        missing = batch_size - len(batch)
        owners = np.array([i for i, _ in batch] + [0] * missing)
        yield owners, stack_chunks(made + [filler] * missing)
