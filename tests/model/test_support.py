"""The support masks against a plain enumeration of what can follow."""

import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codec import Vocabulary
from dct_jax.model.support import channel_support, position_support, value_support
from tests.toys import random_list


def entries_after(vocabulary: Vocabulary, channel: int, position: int) -> list[tuple[int, int]]:
    """Every (channel, position) that may come after a triple, by walking through the sorted list of all entries."""
    entries = [(c, p) for c in vocabulary.channels for p in np.flatnonzero(vocabulary.on_grid[vocabulary.is_chroma[c]])]
    if channel == vocabulary.start:
        return entries
    return entries[entries.index((channel, position)) + 1 :]


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("order", ["banded", "interleaved", "luma_first"])
def test_supports_equal_the_enumeration(subsampling: str, order: str) -> None:
    vocabulary = Vocabulary(2, (3, 3), 2, subsampling, order)
    sparse = random_list(np.random.default_rng(0), vocabulary, vocabulary.longest_list)  # every entry there is
    channels = np.array([vocabulary.start, *sparse.channels])
    positions = np.array([0, *sparse.positions])
    allowed_channels = np.asarray(channel_support(vocabulary, jnp.array(channels), jnp.array(positions)))
    for i, (channel, position) in enumerate(zip(channels, positions)):
        after = entries_after(vocabulary, channel, position)
        expected = {c for c, _ in after} | {vocabulary.stop}
        assert set(np.flatnonzero(allowed_channels[i])) == expected
        for c in expected - {vocabulary.stop}:
            mask = position_support(vocabulary, jnp.array(c), jnp.array(channel), jnp.array(position))
            assert set(np.flatnonzero(mask)) == {p for c_, p in after if c_ == c}


def test_only_the_value_zero_is_impossible() -> None:
    np.testing.assert_array_equal(value_support(Vocabulary(1, (1, 1), 2)), [True, True, False, True, True])
