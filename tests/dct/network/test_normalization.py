"""The probabilities of all valid lists sum to 1: exact support, chunk borders and the stopping
token together."""

import dataclasses

import numpy as np
import pytest

from dct_jax.codec import Vocabulary
from dct_jax.dct.likelihood import list_log_prob
from dct_jax.dct.network import DCTransformer
from tests.toys import TINY, all_lists, batch_of, random_params


@pytest.mark.parametrize("channel_order", ["banded", "luma_first"])
@pytest.mark.parametrize(("chunk_size", "overlap"), [(3, 2), (2, 0)])
def test_probabilities_of_all_lists_sum_to_one(channel_order: str, chunk_size: int, overlap: int) -> None:
    vocabulary = Vocabulary(1, (1, 2), 1, "4:4:4", channel_order)
    model = DCTransformer(vocabulary, dataclasses.replace(TINY, chunk_size=chunk_size, overlap=overlap, max_chunks=2))
    lists = list(all_lists(vocabulary))
    assert len(lists) == 729
    params = random_params(model, batch_of(model, lists[:1]))
    nats = sum(list_log_prob(model, params, lists, batch_size=64))  # [729]
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-4)
    assert np.exp(nats).max() < 0.5  # no single list carries the sum


def test_chroma_on_its_own_grid_sums_to_one() -> None:
    """A 1 x 3 grid in 4:2:0 has 3 luma and 2 x 2 chroma entries: 3^7 lists."""
    vocabulary = Vocabulary(1, (1, 3), 1, "4:2:0", "interleaved")
    model = DCTransformer(vocabulary, dataclasses.replace(TINY, chunk_size=3, overlap=1, max_chunks=2))
    lists = [s for s in all_lists(vocabulary) if not ((s.channels > 0) & (s.positions == 1)).any()]
    assert len(lists) == 3**7
    params = random_params(model, batch_of(model, lists[:1]))
    nats = sum(list_log_prob(model, params, lists, batch_size=64))
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1)])
def test_lists_of_every_grid_on_one_canvas_sum_to_one(grid: tuple[int, int]) -> None:
    """Each aspect ratio has its own distribution, given the grid; blocks outside the image have no
    probability."""
    canvas = Vocabulary(1, (2, 2), 1, "4:4:4", "banded")
    model = DCTransformer(canvas, dataclasses.replace(TINY, chunk_size=3, overlap=2, max_chunks=2, encoder_stride=2))
    lists = list(all_lists(dataclasses.replace(canvas, grid=grid)))
    assert len(lists) == 27 ** (grid[0] * grid[1])
    params = random_params(model, batch_of(model, lists[:1]))
    nats = sum(list_log_prob(model, params, lists, batch_size=64))
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-4)
    assert np.exp(nats).max() < 0.9
