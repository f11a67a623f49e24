"""The network: equal forms, causality, field of view, places, and probabilities that sum to 1."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.nn.attention import KeysValues
from dct_jax.nn.log_prob import log_prob
from dct_jax.window.attention import Form, attend_gathered, attend_masked, cheaper_form
from dct_jax.window.config import WindowModelConfig
from dct_jax.window.places import turn, turns, waves
from tests.nn.toys import operands_of
from tests.window.toys import CODES, logits_of, random_codes, seen_cells, toy

SHAPES = [((1, 1), 2), ((9, 4), 1), ((5, 20), 3), ((6, 2), 8)]
"""Grids of fewer and of more tokens than a tile, and a window that is larger than the grid."""


def random_heads(grid: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, KeysValues]:
    tokens = 1 + grid[0] * (grid[1] + 1)
    q, k, v = np.random.default_rng(seed).normal(size=(3, 2, 3, tokens, 4)).astype(np.float32)
    return q, KeysValues(k.swapaxes(2, 3), v.swapaxes(2, 3))


def changed_cells(window: int, layers: int, grid: tuple[int, int]) -> np.ndarray:
    """Which cells' logits change, [N, ...], with the code of which cell, [..., N]: bool [N, N]."""
    network, variables = toy(window, layers)
    codes = random_codes(1, *grid)
    number = grid[0] * grid[1]
    others = (codes.reshape(-1) + np.eye(number, dtype=np.int32)) % CODES  # [N, N]: one cell of each differs
    grids = np.concatenate([codes, others.reshape(number, *grid)])
    logits = logits_of(network, variables, grids, np.zeros(len(grids), np.int32)).reshape(len(grids), number, CODES)
    return (np.abs(logits[1:] - logits[:1]).max(axis=-1) > 1e-6).T


@pytest.mark.parametrize(("grid", "window"), SHAPES)
def test_both_forms_and_their_gradients_are_equal(grid: tuple[int, int], window: int) -> None:
    heads, outward = random_heads(grid), random_heads(grid, seed=1)[0]

    def both(form: Callable[..., jax.Array]) -> tuple[jax.Array, Any]:
        outputs, back = jax.vjp(lambda *heads: form(*heads, grid, window), *heads)
        return outputs, back(outward)

    of = jax.jit(lambda: [both(form) for form in (attend_gathered, attend_masked)])()
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), *of)


@pytest.mark.parametrize(("grid", "window"), [((5, 12), 2), ((2, 3), 8)])
def test_both_forms_give_the_same_logits(grid: tuple[int, int], window: int) -> None:
    network, variables = toy(window)
    codes, labels = random_codes(2, *grid), np.array([0, 3])
    gathered, masked = (logits_of(network.clone(form=form), variables, codes, labels) for form in ("gathered", "masked"))
    assert gathered.shape == (2, *grid, CODES) and gathered.std() > 0.5
    np.testing.assert_allclose(gathered, masked, atol=1e-4)


def test_masked_attention_is_that_of_a_plain_loop() -> None:
    grid, window = (3, 4), 2
    queries, memory = random_heads(grid)
    outputs = np.asarray(jax.jit(partial(attend_masked, grid=grid, window=window))(queries, memory))
    q, k, v = (np.asarray(x, np.float64) for x in (queries, *memory))
    cells = np.pad(seen_cells(grid, window), ((0, 1), (0, 1)))
    for i, j in itertools.product(range(3), range(4)):
        own = 1 + 5 * i + j
        seen = [0, *([own] if j == 0 else [])]
        seen += [2 + 5 * (m // 4) + m % 4 for m in np.flatnonzero(cells[4 * i + j]) if m != 4 * i + j]
        scores = np.einsum("bhk,bhkt->bht", q[:, :, own], k[..., seen]) / 2
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(outputs[:, :, own], np.einsum("bht,bhkt->bhk", weights, v[..., seen]), atol=1e-5)


@pytest.mark.parametrize(("grid", "window"), [((4, 6), 2), ((5, 4), 3)])
def test_one_layer_sees_the_window_and_nothing_else(grid: tuple[int, int], window: int) -> None:
    np.testing.assert_array_equal(
        changed_cells(window, 1, grid), seen_cells(grid, window) & ~np.eye(grid[0] * grid[1], dtype=bool)
    )


def test_more_layers_see_what_their_neighbours_have_seen_and_nothing_later() -> None:
    changed = changed_cells(2, 3, (5, 6))
    assert not np.triu(changed).any()
    assert (changed & ~seen_cells((5, 6), 2)).any()
    assert not changed[4 * 6 + 0, 0]  # three layers of one row above each do not reach four rows


def test_the_probabilities_of_all_grids_sum_to_one() -> None:
    network, variables = toy(2, codes=3)
    grids = np.array(list(itertools.product(range(3), repeat=4)), np.int32).reshape(-1, 2, 2)
    for label in (0, 1):
        logits = logits_of(network, variables, grids, np.full(len(grids), label))
        nats = jax.jit(log_prob)(logits, grids)
        assert nats.shape == grids.shape
        probabilities = np.exp(np.asarray(nats, np.float64).sum(axis=(1, 2)))
        assert abs(probabilities.sum() - 1) < 1e-5 and probabilities.std() > 1e-3


def test_the_likelihood_of_a_code_is_its_share() -> None:
    logits = np.log(np.array([[[[1.0, 3.0, 4.0], [2.0, 2.0, 4.0]]]], np.float32))
    nats = jax.jit(log_prob)(logits, np.array([[[1, 2]]]))
    np.testing.assert_allclose(np.exp(nats), [[[3 / 8, 1 / 2]]], rtol=1e-6)


def test_the_class_changes_all_logits() -> None:
    network, variables = toy(2)
    logits = logits_of(network, variables, np.tile(random_codes(1, 4, 5), (4, 1, 1)), np.arange(4))
    assert (np.abs(logits[1:] - logits[:-1]).max(axis=-1) > 1e-4).all()


def test_a_network_without_classes_has_one_start() -> None:
    network = toy(2)[0].clone(num_classes=0)
    variables = jax.eval_shape(network.init, jax.random.key(0), random_codes(1, 2, 2), np.zeros(1, np.int32))
    assert variables["params"]["classes"]["embedding"].shape == (1, 32)


def test_products_of_turned_heads_depend_on_differences_of_places() -> None:
    by = turns((9, 12), 4, 16)
    equal = np.random.default_rng(0).normal(size=(2, 1, 1, 16)).astype(np.float32).repeat(9, axis=1).repeat(13, axis=2)
    q, k = np.asarray(jax.jit(turn)(equal, by))  # [9, 13, 16] each
    here = q[3, 4] @ k[1, 6]
    np.testing.assert_allclose(q[8, 9] @ k[6, 11], here, rtol=1e-4)
    assert abs(q[3, 4] @ k[2, 6] - here) > 1e-2 and abs(q[3, 4] @ k[1, 5] - here) > 1e-2


def test_places_are_shares_of_the_picture() -> None:
    """The middle one of the 3 x 3 cells that a cell becomes in a larger grid has its place."""
    np.testing.assert_allclose(waves((2, 4))[:, :4], waves((6, 12))[1::3, 1:12:3], atol=1e-6)


def test_dropout_is_on_where_there_is_a_generator() -> None:
    network, variables = toy(2)
    dropping = network.clone(config=WindowModelConfig(width=32, heads=2, layers=2, window=2, dropout=0.5))
    codes, labels = random_codes(1, 3, 3), np.zeros(1, np.int32)
    plain = logits_of(network, variables, codes, labels)
    np.testing.assert_array_equal(logits_of(dropping, variables, codes, labels), plain)
    apply = jax.jit(lambda key: dropping.apply(variables, codes, labels, rngs={"dropout": key}))
    assert np.abs(np.asarray(apply(jax.random.key(0))) - plain).max() > 0.1


@pytest.mark.parametrize("form", ["gathered", "masked"])
def test_products_of_dense_layers_have_bfloat16_operands(form: Form) -> None:
    """Forward and backward; attention's have float32. A test once compared one program with itself
    on machines without units for bfloat16, and passed if the field was ignored."""
    network, variables = toy(2)
    network = network.clone(form=form, config=replace(network.config, products="bfloat16"))
    codes, labels = random_codes(2, 5, 12), np.array([0, 3])
    gradient = jax.grad(lambda variables: network.apply(variables, codes, labels).sum())
    of_layers, of_attention = set(), set()
    for operands in operands_of(gradient, variables):
        is_attention = all(x.ndim >= 4 for x in operands)
        (of_attention if is_attention else of_layers).update(x.dtype.name for x in operands)
    assert (of_layers, of_attention) == ({"bfloat16"}, {"float32"})


def test_small_grids_are_masked_and_large_ones_gathered() -> None:
    assert [cheaper_form((side, side), 8) for side in (7, 16, 32, 64)] == ["masked", "masked", "gathered", "gathered"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 36, "heads": 4}, "model.width is 36 and model.heads is 4; width / heads must be a multiple of 8"),
        ({"heads": 0}, "model.heads is 0"),
        ({"layers": 0}, "model.layers is 0"),
        ({"window": 0}, "model.window is 0"),
        ({"window": 2**20}, "model.window is 1048576"),
        ({"width": 2**20}, "model.width is 1048576"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
        ({"products": "float16"}, "model.products is float16"),
    ],
)
def test_sizes_out_of_bounds_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowModelConfig(**fields)
