"""The support masks against a plain enumeration of what can follow."""

from functools import partial

import jax
import numpy as np
import pytest

from dct_jax.codec import Vocabulary
from dct_jax.dct.network.support import channel_support, position_support, value_support
from tests.toys import random_list


def entries_after(vocabulary: Vocabulary, channel: int, position: int) -> list[tuple[int, int]]:
    """Every (channel, position) that may come after a triple, by walking through the sorted list of
    all entries."""
    entries = [(c, p) for c in vocabulary.channels for p in np.flatnonzero(vocabulary.on_grid[vocabulary.is_chroma[c]])]
    if channel == vocabulary.start:
        return entries
    return entries[entries.index((channel, position)) + 1 :]


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "4:0:0"])
@pytest.mark.parametrize("order", ["banded", "interleaved", "luma_first"])
def test_supports_equal_the_enumeration(subsampling: str, order: str) -> None:
    """Images of several grids on one canvas of 3 x 4, each in a batch with an image that fills
    it."""
    canvas = Vocabulary(2, (3, 4), 2, subsampling, order)
    channels_after, positions_after = (jax.jit(partial(support, canvas)) for support in (channel_support, position_support))
    for grid in ((3, 3), (1, 4), (3, 2), (2, 1)):
        own, grids = Vocabulary(2, grid, 2, subsampling, order), np.array([grid, (3, 4)])
        sparse = random_list(np.random.default_rng(0), own, own.longest_list)  # every entry there is
        channels, positions = (np.zeros(canvas.longest_list + 1, np.int32) for _ in range(2))  # [S], longer than the list
        channels[0], channels[1 : len(sparse) + 1] = own.start, sparse.channels
        positions[1 : len(sparse) + 1] = sparse.positions
        on_canvas = positions // grid[1] * 4 + positions % grid[1]
        last = [np.tile(x, (2, 1)) for x in (channels, on_canvas)]  # [2, S] each
        allowed_channels = np.asarray(channels_after(grids, *last))[0]
        masks = {c: np.asarray(positions_after(grids, np.full_like(last[0], c), *last))[0] for c in own.channels}
        for i in range(len(sparse) + 1):
            after = entries_after(own, channels[i], positions[i])
            expected = {c for c, _ in after} | {own.stop}
            assert set(np.flatnonzero(allowed_channels[i])) == expected
            for c in expected - {own.stop}:
                assert set(np.flatnonzero(masks[c][i])) == {p // grid[1] * 4 + p % grid[1] for c_, p in after if c_ == c}


def test_only_the_value_zero_is_impossible() -> None:
    np.testing.assert_array_equal(value_support(Vocabulary(1, (1, 1), 2)), [True, True, False, True, True])
