"""The network: causality, impossible positions, classes, and probabilities that sum to 1."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dq_transformer.config import StackConfig
from dct_jax.dq_transformer.order import Order
from dct_jax.nn.masks import IMPOSSIBLE
from tests.dq_transformer.toys import (
    CLASSES,
    CODES,
    DUAL,
    TRIPLE,
    all_grids,
    logits_of,
    nats_of,
    random_grids,
    sequences_of,
    toy,
)
from tests.nn.toys import operands_of


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = np.asarray(logits, np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("order", "codes"),
    [
        (Order((1, 2), 2), 2),
        (Order((1, 2), 2, "regions"), 2),
        pytest.param(Order((2, 2), 2), 2, marks=pytest.mark.slow),
        (Order((1, 2), 3), 1),
        pytest.param(Order((1, 1), 3), 2, marks=pytest.mark.slow),
    ],
    ids=lambda x: f"{x.regions} {x.grains}" if isinstance(x, Order) else None,
)
def test_the_probabilities_of_all_grids_sum_to_one(order: Order, codes: int) -> None:
    network, variables = toy(order, codes, width=8)
    grids = all_grids(order, codes)
    assert len(grids) == sum(codes ** (4**g) for g in range(order.grains)) ** (order.regions[0] * order.regions[1])
    found = []
    for part in np.array_split(grids, -(-len(grids) // 8192)):
        nats = nats_of(network, variables, part, np.full(len(part), 1, np.int32))
        found.append(sum(x.sum(axis=1, dtype=np.float64) for x in nats))
    probabilities = np.exp(np.concatenate(found))
    assert abs(probabilities.sum() - 1) < 1e-5 and probabilities.max() > 4 / len(grids)


@pytest.mark.parametrize("order", [DUAL, TRIPLE], ids=["dual", "triple"])
def test_the_likelihood_is_that_of_own_symbols(order: Order) -> None:
    """Summed in NumPy over the symbols that a sequence has: 0 of ends' codes, and of padding."""
    network, variables = toy(order)
    grids, labels = random_grids(order, 6), np.arange(6, dtype=np.int32) % CLASSES
    nats, logits = nats_of(network, variables, grids, labels), logits_of(network, variables, grids, labels)
    sequences = sequences_of(order, grids)
    of_positions, of_codes = map(log_softmax, logits)
    for b, t in np.ndindex(6, order.longest):
        position, code = int(sequences.positions[b, t]), int(sequences.codes[b, t])
        expected = of_positions[b, t, position] if position < order.number else 0
        assert nats.positions[b, t] == pytest.approx(expected, abs=1e-4)
        assert nats.codes[b, t] == pytest.approx(of_codes[b, t, code] if code < CODES else 0, abs=1e-4)
    assert (logits.positions == IMPOSSIBLE).any(axis=-1).all()


@pytest.mark.parametrize("order", [DUAL, Order((2, 2), 2, "regions"), TRIPLE], ids=["rows", "regions", "triple"])
def test_a_symbol_changes_nothing_before_it(order: Order) -> None:
    """Pairs of random grids: up to where their sequences differ first, all logits are equal, and
    those that follow differ. A code knows its own position, a position not its code."""
    network, variables = toy(order)
    grids, labels = random_grids(order, 24, seed=2), np.zeros(24, np.int32)
    grids[1] = np.where(grids[0] < CODES, (grids[0] + np.eye(*grids[0].shape, dtype=int)) % CODES, CODES)
    logits, sequences = logits_of(network, variables, grids, labels), sequences_of(order, grids)
    codes_first = 0
    for a in range(24):
        for b in range(a):
            differ = np.stack([x[a] != x[b] for x in sequences])  # [2, L]
            t = int(differ.any(axis=0).argmax())
            of_positions, of_codes = (np.abs(x[a] - x[b]).max(axis=-1) for x in logits)
            assert of_positions[: t + 1].max() < 1e-4  # the position is said before what differs
            assert (of_codes[:t] < 1e-4).all()
            is_code = not differ[0, t]
            assert (of_codes[t] < 1e-4) == is_code
            codes_first += is_code
            if t + 1 < order.longest and sequences.positions[a, t] < order.number > sequences.positions[b, t]:
                assert of_codes[t + 1] > 1e-4
    assert 0 < codes_first < 24 * 23 / 2


def test_the_class_changes_all_logits() -> None:
    network, variables = toy(DUAL)
    grids = np.repeat(random_grids(DUAL, 2)[-1:], CLASSES + 1, axis=0)
    positions, codes = logits_of(network, variables, grids, np.arange(CLASSES + 1))
    assert (np.abs(codes[1:] - codes[:-1]).max(axis=-1) > 1e-4).all()
    assert (np.abs(positions[1:] - positions[:-1]).max(axis=-1) > 1e-4).all()


def test_what_a_token_says_is_told_apart_by_each_table() -> None:
    """Of code, position, grain and time: without one of them the logits are others."""
    network, variables = toy(DUAL)
    grids, labels = random_grids(DUAL, 3), np.zeros(3, np.int32)
    codes = logits_of(network, variables, grids, labels).codes
    for name in ("codes", "positions", "grains", "times"):
        params = dict(variables["params"])
        params[name] = jax.tree.map(np.zeros_like, params[name])
        other = logits_of(network, {"params": params}, grids, labels).codes
        assert np.abs(other - codes)[:, 1:].mean() > 1e-2, name


def test_tables_have_the_sizes_of_the_alphabet() -> None:
    """One table of codes for all grains, with a row for no code; a position has a row in each
    grain; fresh times are zeros."""
    network, _ = toy(TRIPLE)
    example = jnp.asarray(random_grids(TRIPLE, 1)), jnp.zeros(1, jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), *example)["params"]
    rows = {name: len(params[name]["embedding"]) for name in ("codes", "positions", "grains", "classes")}
    assert rows == {"codes": CODES + 1, "positions": 2 + 1 + 8 + 1 + 32, "grains": 3, "classes": CLASSES + 1}
    assert params["times"].shape == (2 * 16 + 2, 16)
    fresh = jax.jit(lambda key: network.init(key, *example)["params"]["times"])(jax.random.key(0))
    assert not fresh.any()
    assert params["position_head"]["kernel"].shape == (16, 44) and params["content_head"]["kernel"].shape == (16, CODES)


def test_dropout_is_on_where_there_is_a_generator() -> None:
    network, variables = toy(DUAL)
    dropping = network.clone(config=replace(network.config, dropout=0.5))
    grids, labels = random_grids(DUAL, 2), np.zeros(2, np.int32)
    plain = logits_of(network, variables, grids, labels).codes
    np.testing.assert_array_equal(logits_of(dropping, variables, grids, labels).codes, plain)
    apply = jax.jit(lambda key: dropping.apply(variables, grids, labels, rngs={"dropout": key}))
    assert np.abs(apply(jax.random.key(0)).codes - plain).max() > 0.1


def test_products_have_bfloat16_operands() -> None:
    """Forward and backward. A test once compared one program with itself on machines without units
    for bfloat16, and passed if the field was ignored."""
    network, variables = toy(DUAL)
    network = network.clone(config=replace(network.config, products="bfloat16"))
    grids, labels = random_grids(DUAL, 3), np.zeros(3, np.int32)
    gradient = jax.grad(lambda variables: sum(x.sum() for x in network.apply(variables, grids, labels)))
    assert {x.dtype.name for pair in operands_of(gradient, variables) for x in pair} == {"bfloat16"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 30, "heads": 4}, "model.width is 30 and model.heads is 4; the heads must divide the width"),
        ({"heads": 0}, "model.heads is 0"),
        ({"position_layers": 0}, "model.position_layers is 0"),
        ({"content_layers": 2**20}, "model.content_layers is 1048576"),
        ({"order": "columns"}, "model.order is columns; it must be rows or regions"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
        ({"products": "float16"}, "model.products is float16"),
    ],
)
def test_sizes_out_of_bounds_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackConfig(**fields)
