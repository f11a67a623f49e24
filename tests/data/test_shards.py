"""The batches of several processes, which together are those of one."""

import jax
import numpy as np

from dct_jax.data.pipeline import Shard, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dct.chunks import Chunk
from tests.toys import tiny_config


def batches(number: int, first: int = 0, shard: Shard = Shard()) -> list[Chunk]:
    source = open_source("landscapes", "")
    iterator = training_batches(source, tiny_config(batch_size=8), Skipped(len(source), 0.1), first, shard)
    return [next(iterator) for _ in range(number)]


def test_the_shards_together_are_the_batches_of_one_process() -> None:
    """Every picture comes once an epoch in one process (test_pipeline.py), so it does in all of
    them together."""
    whole = batches(4)
    for first in (0, 3):
        for num in (2, 4):
            shards = [batches(1, first, Shard(i, num)) for i in range(num)]
            for i, (part,) in enumerate(shards):
                jax.tree.map(lambda x, y, i=i, num=num: np.testing.assert_array_equal(x[i::num], y), whole[first], part)
