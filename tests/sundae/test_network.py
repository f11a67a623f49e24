"""The network of SUNDAE: its sizes, its squares of 2 x 2 cells, and what its heads see."""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.nn.initial import initial_params
from dct_jax.sundae import layers
from dct_jax.sundae.config import SundaeModelConfig
from dct_jax.sundae.hourglass import Merge, Unmerge
from dct_jax.sundae.layers import Gather, SelfAttention, Spread, from_patches, to_patches
from dct_jax.sundae.network import SundaeNetwork
from tests.nn.toys import operands_of

TINY = SundaeModelConfig(width=8, heads=2, head_size=8, before=(1,), valley=1, after=(1,))
K = 5


def random(shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


build = partial(initial_params, seed=1)
"""What `module.init` makes, without a program of all its initialisers."""


@partial(jax.jit, static_argnums=0)
def run(module: nn.Module, variables: Any, *inputs: jax.Array) -> Any:
    return module.apply(variables, *inputs)


def random_grid(size: tuple[int, int], batch: int = 2) -> jax.Array:
    return jax.random.randint(jax.random.key(2), (batch, *size), 0, K)


@pytest.mark.parametrize(
    ("codes", "side", "width", "heads", "depth", "classes", "millions"),
    [
        (1024, 16, 1024, 8, (2, 10), 0, 178),  # ffhq256 2102
        pytest.param(8192, 32, 2048, 8, (2, 14), 0, 823, marks=pytest.mark.slow),  # ffhq1024 2142-large
        pytest.param(1024, 16, 2048, 12, (3, 14), 1000, 917, marks=pytest.mark.slow),  # imagenet 3143
        pytest.param(256, 28, 1024, 8, (2, 8), 10, 156, marks=pytest.mark.slow),  # mnist
    ],
)
def test_sizes_are_those_of_the_original_but_for_queries_that_learn_nothing(
    codes: int, side: int, width: int, heads: int, depth: tuple[int, int], classes: int, millions: int
) -> None:
    """A published count has the query, the key and the LayerNorm of attention to a single cell."""
    outer, valley = depth
    config = SundaeModelConfig(width=width, heads=heads, before=(outer,), valley=valley, after=(outer,))
    network = SundaeNetwork(config, codes, classes)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side), int), jnp.zeros(1, int))
    number = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert round((number + 2 * width * heads * 64 + 2 * width) / 1e6) == millions


def test_squares_are_two_by_two_cells() -> None:
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = np.asarray(to_patches(jnp.asarray(x)))
    for i, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        assert np.array_equal(patches[:, :, :, i], x[:, row::2, column::2])
    assert np.array_equal(from_patches(jnp.asarray(patches)), x)


def test_merge_and_unmerge_invert_each_other() -> None:
    """Kernels that pick one cell of a square carry it there and back."""
    x, total = random((2, 4, 6, 8)), np.zeros((2, 4, 6, 8))
    for i, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        pick = np.zeros((4, 8, 8), np.float32)
        pick[i] = np.eye(8)
        there = {"Dense_0": {"kernel": pick.reshape(32, 8), "bias": np.zeros(8)}}
        back = {"Dense_0": {"kernel": pick.transpose(2, 0, 1).reshape(8, 32), "bias": np.zeros(32)}}
        merged = run(Merge(TINY), {"params": there}, x)
        np.testing.assert_allclose(merged, np.asarray(x)[:, row::2, column::2], rtol=1e-6)
        total += np.asarray(run(Unmerge(TINY), {"params": back}, merged))
    np.testing.assert_allclose(total, x, rtol=1e-6)


def test_a_coarse_cell_reads_its_own_square() -> None:
    coarse, fine = random((1, 2, 3, 8)), random((1, 4, 6, 8), 1)
    variables = build(Gather(TINY), coarse, fine)
    before = run(Gather(TINY), variables, coarse, fine)
    for row, column in np.ndindex(4, 6):
        after = run(Gather(TINY), variables, coarse, fine.at[0, row, column].add(1))
        changed = np.argwhere(np.asarray(after != before).any(axis=-1)[0])
        assert changed.tolist() == [[row // 2, column // 2]]


def test_a_fine_cell_reads_the_cell_of_its_square() -> None:
    coarse, fine = random((1, 2, 3, 8)), random((1, 4, 6, 8), 1)
    variables = build(Spread(TINY), fine, coarse)
    before = run(Spread(TINY), variables, fine, coarse)
    for row, column in np.ndindex(2, 3):
        after = run(Spread(TINY), variables, fine, coarse.at[0, row, column].add(1))
        changed = np.argwhere(np.asarray(after != before).any(axis=-1)[0])
        assert changed.tolist() == [[2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]


def test_a_coarse_cell_weighs_the_four_cells() -> None:
    coarse, fine = random((1, 1, 1, 8)), random((1, 2, 2, 8), 1)
    params = build(Gather(TINY), coarse, fine)["params"]
    params["feed_forward"]["Dense_1"] = jax.tree.map(jnp.zeros_like, params["feed_forward"]["Dense_1"])
    found = run(Gather(TINY), {"params": params}, coarse, fine)[0, 0, 0]
    query, key_value, out = (np.asarray(params[f"Dense_{i}"]["kernel"], np.float64) for i in range(3))
    x = np.asarray(coarse, np.float64).ravel()
    q = ((x - x.mean()) / np.sqrt(x.var() + 1e-6) @ query).reshape(2, 8)
    k, v = (np.asarray(fine, np.float64).reshape(4, 8) @ key_value).reshape(4, 2, 2, 8).transpose(1, 0, 2, 3)
    weights = np.exp(np.einsum("HK,THK->TH", q, k) / np.sqrt(8))
    means = np.einsum("TH,THK->HK", weights / weights.sum(axis=0), v)
    np.testing.assert_allclose(found, x + means.ravel() @ out, rtol=1e-4, atol=1e-5)


def reference_scores(size: tuple[int, int], queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Scores [B, H, S, S] of queries and keys [B, S, H, K], by complex numbers, cell by cell."""
    turned = []
    for x in (queries, keys):
        pairs = x[..., ::2] + 1j * x[..., 1::2]  # [B, S, H, K / 2]
        for s, cell in enumerate(np.ndindex(size)):
            for axis in (0, 1):
                side, number = size[axis], pairs.shape[-1] // 2
                u = -1 + 2 * cell[axis] / (side - 1) if side > 1 else 0.0
                for f in range(number):
                    frequency = 1 + f * (max(side, 3) / 2 - 1) / (number - 1)
                    pairs[:, s, :, axis * number + f] *= np.exp(1j * np.pi * frequency * u)
        turned.append(pairs)
    return np.einsum("BSHF,BTHF->BHST", turned[0], turned[1].conj()).real / np.sqrt(queries.shape[-1])


@pytest.mark.parametrize("size", [(2, 2), (3, 4), (1, 5)])
def test_attention_is_that_of_the_formula(size: tuple[int, int]) -> None:
    x = random((2, *size, 8))
    variables = build(SelfAttention(TINY), x)
    into, out = (np.asarray(variables["params"][f"Dense_{i}"]["kernel"], np.float64) for i in (0, 1))
    rows = (np.asarray(x, np.float64).reshape(2, -1, 8) @ into).reshape(2, -1, 3, 2, 8)
    scores = np.exp(reference_scores(size, rows[:, :, 0], rows[:, :, 1]))
    weights = scores / scores.sum(axis=-1, keepdims=True)
    heads = np.einsum("BHST,BTHK->BSHK", weights, rows[:, :, 2]).reshape(2, *size, 16)
    found = run(SelfAttention(TINY), variables, x)
    np.testing.assert_allclose(found, heads @ out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (16, 16)])
def test_scores_of_every_head_depend_on_both_coordinates(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells with equal contents differ by their places alone; no two places look alike."""
    config, seen = dataclasses.replace(TINY, heads=3, head_size=16), []
    attend = layers.attend

    def spy(queries: jax.Array, memory: Any, operands: Any) -> jax.Array:
        seen.append(np.einsum("BHSK,BHKT->BHST", queries, memory.keys))
        return attend(queries, memory, operands)

    x = jnp.broadcast_to(random((8,)), (1, *size, 8))
    variables = build(SelfAttention(config), x)
    monkeypatch.setattr(layers, "attend", spy)
    SelfAttention(config).apply(variables, x)
    for scores in seen[-1][0]:  # [S, S] each: the first cell's scores of all others
        grid = scores[0].reshape(size)
        assert len(np.unique(np.round(grid[0], 4))) == size[1]
        assert len(np.unique(np.round(grid[:, 0], 4))) == size[0]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        pytest.param({}, (4, 4), marks=pytest.mark.slow),
        ({}, (2, 6)),  # a valley of 1 x 3
        ({"before": (), "after": (), "valley": 2}, (3, 5)),  # a plain transformer
        ({"before": (1, 0), "after": (0, 1)}, (4, 8)),  # an hourglass in an hourglass
    ],
)
def test_logits_of_a_cell_depend_on_all_codes_and_the_label(changes: dict[str, Any], size: tuple[int, int]) -> None:
    network = SundaeNetwork(dataclasses.replace(TINY, **changes), K, 3)
    codes, labels = random_grid(size), jnp.array([0, 2])
    variables = build(network, codes, labels)
    before = run(network, variables, codes, labels)
    assert before.shape == (2, *size, K)
    assert before.dtype == jnp.float32
    for row, column in ((0, 0), (size[0] - 1, size[1] - 1)):
        after = run(network, variables, codes.at[0, row, column].set((codes[0, row, column] + 1) % K), labels)
        assert np.asarray(after != before).any(axis=-1)[0].all()
        assert np.array_equal(after[1], before[1])
    assert np.asarray(run(network, variables, codes, labels.at[0].set(1)) != before).any(axis=-1)[0].all()


def test_depth_is_what_the_configuration_says() -> None:
    config = dataclasses.replace(TINY, before=(3, 1), valley=4, after=(2, 5))
    shapes = jax.eval_shape(SundaeNetwork(config, K).init, jax.random.key(0), random_grid((8, 4)), jnp.zeros(2, int))
    outer = shapes["params"]["hourglass"]
    inner = outer["inner_hourglass"]

    def count(tree: Any, name: str) -> int:
        return sum(key.startswith(name) for key in tree)

    assert (count(outer, "before"), count(outer, "after")) == (3, 2)
    assert (count(inner, "before"), count(inner, "after")) == (1, 5)
    assert count(inner["inner_hourglass"], "valley") == len(inner["inner_hourglass"]) == 4


def test_without_classes_labels_are_not_looked_at() -> None:
    network, codes = SundaeNetwork(TINY, K), random_grid((2, 2))
    variables = build(network, codes, jnp.zeros(2, int))
    assert "class_embedding" not in variables["params"]
    pair = [run(network, variables, codes, jnp.full(2, label)) for label in (0, 7)]
    assert np.array_equal(*pair)


def test_units_drop_out_only_with_a_generator() -> None:
    network, codes, labels = SundaeNetwork(dataclasses.replace(TINY, dropout=0.5), K), random_grid((2, 2)), jnp.zeros(2, int)
    variables = build(network, codes, labels)
    plain = run(network, variables, codes, labels)
    assert np.array_equal(plain, run(SundaeNetwork(TINY, K), variables, codes, labels))
    dropping = jax.jit(partial(network.apply, rngs={"dropout": jax.random.key(0)}))
    assert not np.allclose(plain, dropping(variables, codes, labels))


def test_products_have_bfloat16_operands() -> None:
    """Forward and backward; there was no test of it."""
    network = SundaeNetwork(dataclasses.replace(TINY, products="bfloat16"), K)
    codes, labels = random_grid((2, 2)), jnp.zeros(2, int)
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, labels)
    gradient = jax.grad(lambda variables: network.apply(variables, codes, labels).sum())
    assert {x.dtype.name for pair in operands_of(gradient, shapes) for x in pair} == {"bfloat16"}


@pytest.mark.parametrize("size", [(3, 4), (4, 7), (0, 2)])
def test_grids_that_cannot_be_halved_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"grid is {size[0]} x {size[1]} codes; both sides must be divisible by 2\^1"):
        TINY.check_grid(size)
    if min(size):
        with pytest.raises(ValueError, match="divisible"):
            build(SundaeNetwork(TINY, K), random_grid(size), jnp.zeros(2, int))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": (1, 1)}, "each halving"),
        ({"width": 0}, "model.width"),
        ({"heads": 0}, "model.heads"),
        ({"head_size": 6}, "multiple of 4"),
        ({"before": (-1,)}, "model.before"),
        ({"after": (1,) * 11}, "model.after"),
        ({"valley": 0}, "model.valley"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"dtype": "float16"}, "model.dtype"),
        ({"products": "int8"}, "model.products"),
    ],
)
def test_sizes_out_of_bounds_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)
