"""The cached sampler against the network's whole pass."""

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.dq.holes import check_holes
from dct_jax.dq_transformer.order import Order
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.dq_transformer.sampler import Known, sample_codes
from dct_jax.kernels import without_kernels
from tests.dq_transformer.toys import CODES, DUAL, TRIPLE, all_grids, logits_of, nats_of, random_grids, sequences_of, toy

LABELS = (0, 3, 1, 2)
"""Most tests share a batch, so that they share a program."""


@flax.struct.dataclass
class Recorder:
    """A policy that changes nothing, and writes down the logits of each step, [B, P] and [B, K]."""

    found: Any = flax.struct.field(pytree_node=False)

    def of_positions(self) -> Any:
        return lambda logits: self._note(0, logits)

    def of_codes(self) -> Any:
        return lambda logits: self._note(1, logits)

    def _note(self, kind: int, logits: jax.Array) -> jax.Array:
        jax.debug.callback(self.found[kind].append, logits, ordered=True)
        return logits


class Steps(tuple):
    """A pair of lists that can be a part of a program's key."""

    __hash__ = object.__hash__


def keys_of(*numbers: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(5), jnp.array(numbers))


def sample(
    order: Order = DUAL,
    policy: StackPolicy = StackPolicy(),
    numbers: tuple[int, ...] = (0, 1, 2, 3),
    labels: tuple[int, ...] = LABELS,
    known: Known | None = None,
) -> np.ndarray:
    network, variables = toy(order)
    return np.asarray(sample_codes(network, variables, jnp.array(labels), keys_of(*numbers), policy, known))


def maps_of(order: Order, grids: np.ndarray) -> np.ndarray:
    """The grains of regions, int [B, N], by how many codes each has."""
    side, (rows, columns) = 2 ** (order.grains - 1), order.regions
    counts = (grids < CODES).reshape(-1, rows, side, columns, side).sum(axis=(2, 4))
    return np.log2(counts).astype(int).reshape(len(grids), -1) // 2


@pytest.mark.parametrize(
    ("order", "kernels"),
    [(DUAL, True), pytest.param(DUAL, False, marks=pytest.mark.slow), (TRIPLE, True)],
    ids=["kernels", "plain", "triple"],
)
def test_the_logits_of_steps_are_those_of_the_whole_pass(order: Order, kernels: bool) -> None:
    network, variables = toy(order)
    found = Steps(([], []))
    arguments = network, variables, jnp.array(LABELS), keys_of(0, 1, 2, 3), Recorder(found)
    if kernels:
        grids = sample_codes(*arguments)
    else:
        with without_kernels():
            grids = sample_codes(*arguments)
    jax.effects_barrier()
    sequences = sequences_of(order, grids)
    lengths = (sequences.positions < order.number).sum(axis=1)
    assert len(found[0]) == len(found[1]) == lengths.max() and lengths.min() < lengths.max()
    whole = logits_of(network, variables, grids, jnp.array(LABELS))
    for steps, expected in zip(found, whole):
        for b, length in enumerate(lengths):
            np.testing.assert_allclose([step[b] for step in steps[:length]], expected[b, :length], atol=2e-4)


@pytest.mark.parametrize("order", [DUAL, TRIPLE, Order((2, 2), 2, "regions")], ids=["dual", "triple", "by regions"])
def test_all_samples_have_holes_of_a_grain_and_differ(order: Order) -> None:
    grids = sample(order)
    side = 2 ** (order.grains - 1)
    assert grids.shape == (4, order.regions[0] * side, order.regions[1] * side) and grids.dtype == np.int32
    check_holes(grids, order.grains, CODES)
    assert len(np.unique(maps_of(order, grids), axis=0)) > 1


def test_a_symbol_is_the_choice_of_its_sample_and_time() -> None:
    policy = StackPolicy((0.7, 1.5))
    grids = sample(policy=policy)
    sequences = sequences_of(DUAL, grids)
    logits = logits_of(*toy(DUAL), grids, jnp.array(LABELS))
    choose = jax.jit(lambda key, number, row: jax.random.categorical(jax.random.fold_in(key, number), row))
    for b, key in enumerate(keys_of(0, 1, 2, 3)):
        for t in range((sequences.positions[b] < DUAL.number).sum()):
            assert choose(key, 2 * t, logits.positions[b, t] / 0.7) == sequences.positions[b, t]
            if (code := sequences.codes[b, t]) < CODES:
                assert choose(key, 2 * t + 1, logits.codes[b, t] / 1.5) == code


def test_samples_are_as_frequent_as_their_probabilities_say() -> None:
    """All 324 grids of two regions with two codes: chi-square of 8192 samples, and the frequencies
    of the four grain maps."""
    order, number = Order((1, 2), 2), 8192
    network, variables = toy(order, 2, width=8)
    grids, labels = all_grids(order, 2), np.zeros(324, np.int32)
    nats = nats_of(network, variables, grids, labels)
    expected = number * np.exp(sum(np.asarray(x, np.float64).sum(axis=1) for x in nats))
    zeros = jnp.zeros(number, jnp.int32)
    samples = np.asarray(sample_codes(network, variables, zeros, keys_of(*range(number)), StackPolicy()))
    numbers = {grid.tobytes(): i for i, grid in enumerate(grids.astype(np.int32))}
    counts = np.bincount([numbers[grid.tobytes()] for grid in samples], minlength=324)
    many = expected > 5
    square = (np.square(counts - expected)[many] / expected[many]).sum()
    assert many.sum() > 20 and square < many.sum() + 4 * np.sqrt(2 * many.sum())
    kind = (grids < 2).sum(axis=(1, 2)) * 2 + (grids[:, 0, 1] < 2)  # tells the four grain maps apart
    for one in np.unique(kind):
        share, seen = expected[kind == one].sum() / number, counts[kind == one].sum() / number
        assert abs(share - seen) < 4 * np.sqrt(share * (1 - share) / number)
    assert len(np.unique(kind)) == 4


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole = sample()
    np.testing.assert_array_equal(sample(numbers=(3, 2, 1, 0), labels=LABELS[::-1]), whole[::-1])
    np.testing.assert_array_equal(sample(numbers=(7, 1, 9, 8), labels=(2, 3, 0, 0))[1], whole[1])
    np.testing.assert_array_equal(sample(numbers=(2, 0, 5), labels=(1, 0, 3))[:2], whole[[2, 0]])
    assert (sample(numbers=(5, 1, 2, 3))[0] != whole[0]).any() and (sample(labels=(1, 3, 1, 2))[0] != whole[0]).any()


@pytest.mark.parametrize("order", [DUAL, TRIPLE], ids=["dual", "triple"])
def test_a_known_grain_map_stays(order: Order) -> None:
    """The whole of it, or a part; the rest is as free as it was."""
    nothing = jnp.asarray(np.full_like(sample(order), CODES))
    number = order.regions[0] * order.regions[1]
    grain_map = np.random.default_rng(3).integers(0, order.grains, (4, number))
    grain_map[0], grain_map[1] = 0, order.grains - 1
    grids = sample(order, known=Known(jnp.asarray(grain_map, jnp.int32), nothing))
    np.testing.assert_array_equal(maps_of(order, grids), grain_map)
    grain_map[:, 1:] = -1
    some = [
        sample(order, numbers=tuple(range(i, i + 4)), known=Known(jnp.asarray(grain_map, jnp.int32), nothing)) for i in (0, 9)
    ]
    found = np.concatenate([maps_of(order, one) for one in some])
    np.testing.assert_array_equal(found[:, 0], np.tile(grain_map[:, 0], 2))
    assert len(np.unique(found[:, 1:])) > 1
    free = sample(order, known=Known(jnp.full((4, number), -1), nothing))
    np.testing.assert_array_equal(free, sample(order))


def test_known_codes_stay_and_the_rest_depends_on_them() -> None:
    """Regions 0 and 3 are known. At a temperature near 0 the rest is what is likeliest after it."""
    given = random_grids(DUAL, 4, seed=7)
    is_known = np.zeros((4, 4), bool)
    is_known[:2, :2] = is_known[2:, 2:] = True
    grain_map = np.where([True, False, False, True], maps_of(DUAL, given), -1)
    known = Known(jnp.asarray(grain_map, jnp.int32), jnp.asarray(np.where(is_known, given, CODES)))
    for policy in (StackPolicy(), StackPolicy((1e-6, 1e-6))):
        grids = sample(policy=policy, known=known)
        np.testing.assert_array_equal(grids[:, is_known], given[:, is_known])
        check_holes(grids, 2, CODES)
    sequences = sequences_of(DUAL, grids)
    codes = logits_of(*toy(DUAL), grids, np.array(LABELS)).codes.argmax(axis=-1)
    region = np.append(DUAL.symbols.region, 0)[sequences.positions]
    is_sampled = (sequences.codes < CODES) & ((region == 1) | (region == 2))
    np.testing.assert_array_equal(codes[is_sampled], sequences.codes[is_sampled])
    assert (grids != sample(policy=policy))[:, ~is_known].any()


def test_a_low_temperature_or_a_top_1_takes_the_likeliest() -> None:
    grids = sample(policy=StackPolicy((1e-6, 1e-6)))
    sequences = sequences_of(DUAL, grids)
    for logits, symbols, number in zip(logits_of(*toy(DUAL), grids, jnp.array(LABELS)), sequences, (DUAL.number, CODES)):
        is_own = symbols < number
        np.testing.assert_array_equal(logits.argmax(axis=-1)[is_own], symbols[is_own])
    np.testing.assert_array_equal(sample(policy=StackPolicy(top_k=(1, 1))), grids)
    np.testing.assert_array_equal(sample(policy=StackPolicy(top_p=(1e-6, 1e-6))), grids)


def test_positions_and_codes_have_policies_of_their_own() -> None:
    """With the likeliest positions all samples of a class begin with one position, and have other
    codes; with the likeliest codes, all that begin with a position begin with one code."""
    labels = (0, 0, 0, 0)
    grids = sample(policy=StackPolicy((1e-6, 1.0)), labels=labels)
    of_positions = sequences_of(DUAL, grids)
    assert len(np.unique(of_positions.positions[:, 0])) == 1 and len(np.unique(grids, axis=0)) == 4
    of_codes = sequences_of(DUAL, sample(policy=StackPolicy((1.0, 1e-6)), labels=labels))
    pairs = set(zip(of_codes.positions[:, 0].tolist(), of_codes.codes[:, 0].tolist()))
    assert len(pairs) == len({position for position, _ in pairs}) > 1


@pytest.mark.parametrize("policy", [StackPolicy(top_k=(10**6, 3)), StackPolicy((1e6, 1e6), top_p=(0.9999999, 0.5))])
def test_no_policy_makes_an_impossible_position_possible(policy: StackPolicy) -> None:
    for order in (DUAL, TRIPLE):
        check_holes(sample(order, policy), order.grains, CODES)


def test_another_temperature_needs_no_other_program() -> None:
    sample(policy=StackPolicy((0.5, 0.6)))
    before = sample_codes._cache_size()
    sample(policy=replace(StackPolicy(), temperature=(1.5, 0.9)))
    assert sample_codes._cache_size() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": (1.0, 0.0)}, "temperature is 0.0"),
        ({"top_k": (-1, 0)}, "top_k is -1"),
        ({"top_p": (1.0, 1.5)}, "top_p is 1.5"),
        ({"top_k": (1, 2, 3)}, r"top_k is \(1, 2, 3\); it must have two numbers"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackPolicy(**fields)
