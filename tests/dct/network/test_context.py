"""What elements are told of their neighbours: exactly what the list has before them."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.codec.channel_order import zigzag
from dct_jax.dct.network.context import PositionContext, _known_neighbours
from dct_jax.dct.network.neighbours import neighbours
from dct_jax.nn.precision import Precision
from tests.toys import random_list

FLOAT32 = Precision(np.dtype("float32"), np.dtype("float32"))

vocabularies = pytest.mark.parametrize(
    "vocabulary",
    [
        Vocabulary(4, (4, 6), 3, subsampling, order)
        for subsampling, order in (("4:2:0", "banded"), ("4:4:4", "interleaved"), ("4:0:0", "banded"), ("4:2:0", "luma_first"))
    ],
    ids=lambda v: f"{v.chroma_subsampling}-{v.channel_order}",
)


def image_of(sparse: SparseDCT, vocabulary: Vocabulary) -> np.ndarray:
    """int16 [1, C, P]."""
    image = np.zeros((1, vocabulary.num_channels, vocabulary.num_positions), np.int16)
    image[0, sparse.channels, sparse.positions] = sparse.values
    return image


known_neighbours = jax.jit(_known_neighbours, static_argnums=0)


@cache
def random_params(module: PositionContext) -> Any:
    """Around zero, but for the level: with chances above a half, `chances` would double its
    rounding at every step."""
    v, one = module.vocabulary, np.zeros((1, 1), np.int32)
    image, support = np.zeros((1, v.num_channels, v.num_positions), np.int16), np.ones((1, 1, v.num_positions), bool)
    shapes, rng = jax.eval_shape(module.init, jax.random.key(0), image, one, one, one, support), np.random.default_rng(4)
    params = jax.tree.map(lambda leaf: 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    params["params"]["level"] -= 2
    return params


@partial(jax.jit, static_argnums=0)
def apply(module: PositionContext, params: Any, *args: Any) -> jax.Array:
    return module.apply(params, *args)


def judge(module: PositionContext, *args: Any) -> np.ndarray:
    """What a module with random parameters adds to the logits, float32 [B, S, P]; see its
    `__call__`."""
    return np.asarray(apply(module, random_params(module), *args))


@vocabularies
def test_an_element_gets_the_values_that_the_list_before_it_has(vocabulary: Vocabulary) -> None:
    """Whatever comes later stands in the image, too, and is not seen. The list's beginning is
    written into an image of its own, from which the same places are read one by one."""
    sparse = random_list(np.random.default_rng(0), vocabulary, 150)
    channels, positions = sparse.channels[None], sparse.positions[None]
    values, of_channel = (
        np.asarray(x)[0] for x in known_neighbours(vocabulary, image_of(sparse, vocabulary), channels, positions)
    )
    table, (height, width) = neighbours(vocabulary), vocabulary.grid
    some = 0
    for i, (channel, position) in enumerate(zip(sparse.channels, sparse.positions)):
        before = image_of(sparse[:i], vocabulary)[0].reshape(-1, height, width)
        for k in range(values.shape[1]):
            row, column = position // width + table.row[channel, k], position % width + table.column[channel, k]
            inside = table.is_known[channel, k] and 0 <= row < height and 0 <= column < width
            assert values[i, k] == (before[table.channel[channel, k], row, column] if inside else 0)
            some += values[i, k] != 0
    assert some > 150
    assert (of_channel == table.channel[sparse.channels]).all()


def test_neighbours_of_a_coefficient_by_hand() -> None:
    """B = 2, 4:2:0, banded: Y00 | Cr00 | Cb00 | Y01 Y10 | ...; the channel (0, 1) of luma."""
    vocabulary = Vocabulary(2, (4, 4), 3)
    assert zigzag(2).tolist() == [0, 1, 2, 3]
    table = neighbours(vocabulary)
    found = {
        (int(c), int(i), int(j))
        for c, i, j, known in zip(table.channel[1], table.row[1], table.column[1], table.is_known[1])
        if known
    }
    along_row = {(0, 0, -1), (0, 0, 1), (0, 0, 0), (1, 0, -1)}  # DC of the blocks beside it and of its own; itself on the left
    along_column = {(1, -1, 0)}  # the channel (1, 1) comes later
    corners = {(1, -1, -1), (1, -1, 1)}
    assert found == along_row | along_column | corners  # chroma's (0, 1) comes later
    assert not table.is_known[-2:].any()
    red = {(int(c), int(i), int(j)) for c, i, j, known in zip(*(x[8] for x in table)) if known}
    assert {(0, i, j) for i in (0, 1) for j in (0, 1)} <= red  # DCs of the four luma blocks that a chroma block covers
    assert (8, 0, -2) in red and (8, -2, 2) in red


def chances(row: np.ndarray, possible: np.ndarray) -> dict[int, float]:
    """The chance of each possible position to have a coefficient if none before it has one, from
    the logarithms of the chances to be the next that has one, [P]."""
    found, nobody = {}, 1.0
    for p in np.flatnonzero(possible).tolist():
        found[p] = np.exp(row[p]) / nobody
        nobody *= 1 - found[p]
    return found


@vocabularies
def test_a_position_s_chance_does_not_depend_on_which_others_are_possible(vocabulary: Vocabulary) -> None:
    """So each is what the places before it left, times its own chance."""
    sparse = random_list(np.random.default_rng(1), vocabulary, 60)
    channels, positions = sparse.channels[None], sparse.positions[None]
    support = np.zeros((1, 60, vocabulary.num_positions), bool)
    for i, (channel, _position) in enumerate(zip(sparse.channels, sparse.positions)):
        on_grid = vocabulary.on_grid[vocabulary.is_chroma[channel]]
        same = i and channel == sparse.channels[i - 1]
        support[0, i] = on_grid & (np.arange(vocabulary.num_positions) > (sparse.positions[i - 1] if same else -1))
    last = [np.concatenate([[[start]], x[:, :-1]], axis=1) for start, x in ((vocabulary.start, channels), (0, positions))]
    module, some = PositionContext(vocabulary, FLOAT32), support & (np.arange(vocabulary.num_positions) % 3 > 0)
    of_both = (judge(module, image_of(sparse, vocabulary), channels, *last, x)[0].astype(float) for x in (support, some))
    for row, of_some, possible, possible_of_some in zip(*of_both, support[0], some[0]):  # [P] each
        found = chances(row, possible)
        assert all(0 < chance < 1 for chance in found.values())
        for p, chance in chances(of_some, possible_of_some).items():
            assert found[p] == pytest.approx(chance, rel=1e-3)


def test_one_element_a_list_is_judged_alike_in_a_batch_of_any_size() -> None:
    """A sampler's batch of 192 rows or more once had bfloat16 operands where smaller ones have
    float32, and other samples."""
    vocabulary = Vocabulary(4, (4, 6), 3, "4:2:0", "banded")
    batch = vocabulary.num_channels + 1
    sparse = random_list(np.random.default_rng(3), vocabulary, 40)
    module = PositionContext(vocabulary, Precision(np.dtype("float32"), jnp.dtype("bfloat16")))
    one = [x[None, None] for x in (sparse.channels[9], sparse.channels[8], sparse.positions[8])]
    args = [image_of(sparse, vocabulary), *one, np.ones((1, 1, vocabulary.num_positions), bool)]
    alone, together = judge(module, *args), judge(module, *(np.repeat(x, batch, axis=0) for x in args))
    np.testing.assert_allclose(together, np.repeat(alone, batch, axis=0), rtol=1e-5, atol=1e-5)


@vocabularies
def test_positions_are_judged_by_what_comes_before_alone(vocabulary: Vocabulary) -> None:
    """With the list's beginning in the image and with all of it, to the last bit; and by what is
    there: without it the result is another."""
    sparse = random_list(np.random.default_rng(2), vocabulary, 150)
    module = PositionContext(vocabulary, FLOAT32)
    support = np.ones((1, 1, vocabulary.num_positions), bool)
    for i in range(1, 150, 7):
        now = sparse.channels[None, i : i + 1]
        last = (sparse.channels[None, i - 1 : i], sparse.positions[None, i - 1 : i])
        known, whole, nothing = (image_of(x, vocabulary) for x in (sparse[:i], sparse, sparse[:0]))
        found = judge(module, known, now, *last, support)
        np.testing.assert_array_equal(judge(module, whole, now, *last, support), found)
        assert i < 20 or not np.array_equal(judge(module, nothing, now, *last, support), found)
