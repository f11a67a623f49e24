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


@pytest.mark.parametrize("grid", [(3, 3), (1, 4), (3, 2), (2, 1)])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "4:0:0"])
@pytest.mark.parametrize("order", ["banded", "interleaved", "luma_first"])
def test_supports_equal_the_enumeration(grid: tuple[int, int], subsampling: str, order: str) -> None:
    """Images of several grids on one canvas of 3 x 4, in one batch with an image that fills it."""
    own, canvas = Vocabulary(2, grid, 2, subsampling, order), Vocabulary(2, (3, 4), 2, subsampling, order)
    sparse = random_list(np.random.default_rng(0), own, own.longest_list)  # every entry there is
    channels = np.array([own.start, *sparse.channels])
    positions = np.array([0, *sparse.positions])
    on_canvas = positions // grid[1] * 4 + positions % grid[1]
    grids = jnp.array([grid, (3, 4)])
    last = [jnp.tile(jnp.array(x), (2, 1)) for x in (channels, on_canvas)]  # [2, S] each
    allowed_channels = np.asarray(channel_support(canvas, grids, *last))[0]
    masks = {c: np.asarray(position_support(canvas, grids, jnp.full_like(last[0], c), *last))[0] for c in own.channels}
    for i, (channel, position) in enumerate(zip(channels, positions)):
        after = entries_after(own, channel, position)
        expected = {c for c, _ in after} | {own.stop}
        assert set(np.flatnonzero(allowed_channels[i])) == expected
        for c in expected - {own.stop}:
            assert set(np.flatnonzero(masks[c][i])) == {p // grid[1] * 4 + p % grid[1] for c_, p in after if c_ == c}


def test_only_the_value_zero_is_impossible() -> None:
    np.testing.assert_array_equal(value_support(Vocabulary(1, (1, 1), 2)), [True, True, False, True, True])
