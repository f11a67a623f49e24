"""Decisions write every symbol with its probability, and logits may differ within the tolerance."""

import zlib

import jax
import numpy as np
import pytest

from dct_jax.dct.compression.decisions import (
    LARGEST,
    STEP,
    all_log_odds,
    depth,
    path_log_odds,
    probability,
    round_all,
    round_path,
    sides_to,
)
from dct_jax.dct.compression.paths import PathReader, write_paths
from dct_jax.nn.masks import IMPOSSIBLE


@jax.jit
def _log_odds(logits: jax.Array, symbols: jax.Array) -> tuple[jax.Array, jax.Array]:
    return path_log_odds(logits, symbols), all_log_odds(logits)


@jax.jit
def _rounded(logits: jax.Array) -> jax.Array:
    return round_all(all_log_odds(logits))


def find_log_odds(logits: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the decisions on the way to symbols [S], and of all decisions: float64 [S, D] and
    [S, 2^D - 1] from logits [S, N]."""
    with jax.enable_x64(True):
        return jax.device_get(_log_odds(logits, symbols))


def round_logits(logits: np.ndarray) -> np.ndarray:
    """What is read, int16 [S, 2^D - 1, 2]."""
    with jax.enable_x64(True):
        return np.asarray(_rounded(logits))


def written(logits: np.ndarray, symbols: np.ndarray, tolerance: float) -> tuple[np.ndarray, list[int]]:
    """Writes symbols [S] with logits [S, N]."""
    log_odds, _ = find_log_odds(logits, symbols)
    is_open = np.abs(log_odds) < 1e29
    return write_paths(sides_to(symbols, log_odds.shape[1])[is_open], log_odds[is_open], tolerance)


def read(logits: np.ndarray, words: np.ndarray, hints: list[int]) -> list[int | None]:
    reader = PathReader(words, hints)
    return [reader.read(one) for one in round_logits(logits)]


def toys(rng: np.random.Generator, alphabet: int, symbols: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Logits [S, N] with some impossible symbols, and possible symbols [S]."""
    logits = rng.normal(0, 3, (symbols, alphabet))
    chosen = rng.integers(alphabet, size=symbols)
    logits[rng.random(logits.shape) < 0.3] = IMPOSSIBLE
    logits[np.arange(symbols), chosen] = rng.normal(0, 3, symbols)
    return logits, chosen


def test_many_unlikely_decisions_come_back() -> None:
    """Each costs the coder less than its probability says. A right file was refused after some 700,
    as if more had been read than its words can hold."""
    log_odds = np.full(2000, -14.0)
    words, hints = write_paths(np.ones(2000, np.int32), log_odds, 2**-24)
    steps, _ = round_path(log_odds, 2**-24)
    reader = PathReader(words, hints)
    assert [reader.read(np.array([[one, one]], np.int16)) for one in steps] == [1] * 2000
    forever = PathReader(words[:9])
    assert None in [forever.read(np.array([[one, one]], np.int16)) for one in steps]


@pytest.mark.parametrize("alphabet", [1, 2, 3, 7, 8, 9, 33])
def test_probabilities_of_paths_multiply_to_those_of_symbols(alphabet: int) -> None:
    """By enumeration: the parallel pass and the tree of all decisions, against softmax."""
    logits, _ = toys(np.random.default_rng(alphabet), alphabet, 5)
    possible = logits > IMPOSSIBLE / 2
    expected = np.where(possible, np.exp(logits), 0)
    expected /= expected.sum(axis=1, keepdims=True)
    for symbol in range(alphabet):
        path, tree = find_log_odds(logits, np.full(5, symbol))
        assert path.shape == (5, depth(alphabet)) and tree.shape == (5, 2 ** depth(alphabet) - 1)
        nodes, node = [], 0
        for side in sides_to(np.array(symbol), depth(alphabet)):
            nodes.append(node)
            node = 2 * node + 1 + side
        sides = sides_to(np.full(5, symbol), depth(alphabet))
        ours = possible[:, symbol]
        np.testing.assert_array_equal(path[ours], tree[:, nodes][ours])
        signed = np.where(sides == 1, path, -path)
        product = np.prod(1 / (1 + np.exp(-np.clip(signed, -700, 700))), axis=1)
        np.testing.assert_allclose(product[ours], expected[ours, symbol], rtol=1e-9)


def test_the_table_of_probabilities_is_the_same_everywhere() -> None:
    """No entry lies so near to the middle of two multiples of 2^-24 that another exp could round it
    to the other; and the table is that of version 3 of the format."""
    steps = np.arange(-LARGEST, LARGEST + 1)
    exact = 2**24 / (1 + np.exp(-STEP * steps))
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-3
    table = (probability(steps) * 2**24).astype("<u4")
    assert table[[0, LARGEST - 16, LARGEST, -1]].tolist() == [14, 4512088, 2**23, 16777202]
    assert zlib.crc32(table.tobytes()) == 0x4F6720BF


@pytest.mark.parametrize("alphabet", [2, 5, 64, 193])
def test_files_are_hardly_longer_than_the_likelihood(alphabet: int) -> None:
    rng = np.random.default_rng(alphabet)
    logits = rng.normal(0, 2, (3000, alphabet))
    log_prob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # [S, N]
    symbols = (np.exp(log_prob).cumsum(axis=1) < rng.random((3000, 1))).sum(axis=1).clip(0, alphabet - 1)
    words, hints = written(logits, symbols, 2.0**-24)
    assert read(logits, words, hints) == symbols.tolist()
    ideal = -log_prob[np.arange(3000), symbols].sum() / np.log(2)
    assert ideal < 32 * len(words) < 1.001 * ideal + 64


def read_with_errors(pictures: int, tolerance: float, keep_hints: bool = True) -> tuple[int, int]:
    """Writes and reads toy pictures with logits that differ by up to the tolerance. Counts those
    that come back, and those with hints. Errors are extreme, and logits lie near the boundaries of
    rounding far more often than by chance: the root's log-odds of every other symbol do."""
    rng, length, alphabet = np.random.default_rng(0), 12, 6
    logits, symbols = toys(rng, alphabet, pictures * length)
    left, right = np.logaddexp.reduce(logits[:, :4], axis=1), np.logaddexp.reduce(logits[:, 4:], axis=1)
    near = (np.floor((right - left) / STEP) + 0.5) * STEP + rng.uniform(-3, 3, len(left)) * tolerance
    moved = (left > IMPOSSIBLE / 2) & (right > IMPOSSIBLE / 2) & (np.arange(len(left)) % 2 == 0)
    logits[moved, 4:] += (near - (right - left))[moved, None]
    errors = rng.choice([-1, 1, 0.99, -0.5], logits.shape) * tolerance / 2  # writer and reader differ by t at most
    (log_odds, _), rounded = find_log_odds(logits - errors, symbols), round_logits(logits + errors)
    sides, is_open = sides_to(symbols, depth(alphabet)), np.abs(log_odds) < 1e29
    right_ones = with_hints = 0
    for first in range(0, len(symbols), length):
        part = slice(first, first + length)
        words, hints = write_paths(sides[part][is_open[part]], log_odds[part][is_open[part]], tolerance)
        reader = PathReader(words, hints if keep_hints else [])
        right_ones += [reader.read(one) for one in rounded[part]] == symbols[part].tolist()
        with_hints += bool(hints)
    return right_ones, with_hints


@pytest.mark.parametrize("pictures", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tolerance", [2.0**-24, 2.0**-10])
def test_toy_pictures_survive_errors_up_to_the_tolerance(tolerance: float, pictures: int) -> None:
    right, with_hints = read_with_errors(pictures, tolerance)
    assert right == pictures
    assert with_hints > 0.9 * pictures


def test_without_hints_the_same_errors_are_too_much() -> None:
    right, _ = read_with_errors(2_000, 2.0**-10, keep_hints=False)
    assert right < 400


def test_rounding_is_clipped_and_hints_end_where_it_is() -> None:
    boundary = (LARGEST - 0.5) * STEP
    log_odds = np.array([0.0, 1.5 * STEP, boundary, boundary + STEP, 20, -20, -boundary, -boundary - STEP])
    steps, needs_hint = round_path(log_odds, 2.0**-24)
    assert steps.tolist() == [0, 1, LARGEST - 1, LARGEST, LARGEST, -LARGEST, -LARGEST, -LARGEST]
    assert needs_hint.tolist() == [False, True, True, False, False, False, True, False]


def test_impossible_bits_give_no_symbol() -> None:
    """constriction says so with an AssertionError, which nothing caught."""
    logits = np.zeros((1000, 8))
    assert None in read(logits, np.full(4, 2**32 - 1, np.uint32), [])


def test_words_hold_no_more_than_their_bits() -> None:
    """A coder gives zeros after its words without end: a forged file of some bytes took hours."""
    symbols = read(np.zeros((1000, 8)), np.array([5], np.uint32), [])
    assert symbols.index(None) == (32 + 64) // 3


def test_the_words_are_those_of_version_3() -> None:
    """They do not depend on the version of constriction."""
    sides = np.array([0, 1, 1, 0, 1, 1, 0, 1] * 8, np.int32)
    log_odds = np.array([0, 16, -16, 100, -100, 223, 1, 5] * 8) / 16
    words, hints = write_paths(sides, log_odds, 2.0**-24)
    assert [f"{word:08x}" for word in words] == "66e1d0d4 cac9dfd0 b73ec4c9 b6d0993a 0a7e74ac 06167c5c".split()
    assert hints == []
