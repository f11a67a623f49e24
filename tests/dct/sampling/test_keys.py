"""Every number that is drawn at random has a key of its own: the same key twice would be the same
noise twice."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.dct.sampling.lists import Start, sample_lists
from dct_jax.dct.sampling.policy import Policy
from tests.toys import BLANK, SMALLEST, batch_of, random_params, tiny_model


def test_symbols_steps_chunks_samples_and_seeds_share_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(dataclasses.replace(SMALLEST, chunk_size=6, overlap=3))  # another size: it is traced here
    params, original = random_params(model, batch_of(model, [BLANK])), jax.random.categorical
    keys: list[tuple[int, ...]] = []

    def categorical(key: jax.Array, logits: jax.Array, **rest: Any) -> jax.Array:
        jax.debug.callback(lambda data: keys.append(tuple(np.ravel(data).tolist())), jax.random.key_data(key))
        return original(key, logits, **rest)

    monkeypatch.setattr(jax.random, "categorical", categorical)
    chunks = 0
    for seed in (0, 1):
        for number in (0, 1):
            # A row alone, so that none is led through another one's chunk.
            chunks += sum(1 for _ in sample_lists(model, params, [Start(number, BLANK)], seed, Policy(), 1, limit=24))
    jax.effects_barrier()
    assert chunks > 4, "the lists must have several chunks"
    assert len(keys) == len(set(keys)) > 3 * chunks
