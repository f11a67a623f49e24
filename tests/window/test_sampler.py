"""The cached sampler against the network's whole pass."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.kernels import without_kernels
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.window.sampler import Known, sample_codes
from tests.window.toys import CODES, logits_of, random_codes, toy

GRID = (4, 6)
LABELS = jnp.array([0, 3])
"""Most tests share a grid and a batch, so that they share a program."""


@flax.struct.dataclass
class Recorder:
    """A policy that changes nothing, and writes down the logits [B, K] of each step."""

    found: Any = flax.struct.field(pytree_node=False)

    def __call__(self, logits: jax.Array) -> jax.Array:
        jax.debug.callback(self.found.append, logits, ordered=True)
        return logits


class Steps(list):
    """A list that can be a part of a program's key."""

    __hash__ = object.__hash__


def keys_of(*numbers: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(5), jnp.array(numbers))


def sample(temperature: float = 1.0, numbers: tuple[int, int] = (0, 1), labels: Any = LABELS, known: Any = None) -> jax.Array:
    network, variables = toy(2)
    return sample_codes(network, variables, GRID, jnp.array(labels), keys_of(*numbers), SymbolPolicy(temperature), known)


@pytest.mark.parametrize(
    ("grid", "window", "kernels"),
    [((5, 4), 2, True), ((5, 4), 2, False), ((3, 2), 8, True), ((9, 13), 3, True)],
    ids=["kernels", "plain", "large window", "larger than in training"],
)
def test_the_logits_of_steps_are_those_of_the_whole_pass(grid: tuple[int, int], window: int, kernels: bool) -> None:
    network, variables = toy(window)
    found = Steps()
    arguments = network, variables, grid, LABELS, keys_of(0, 1), Recorder(found)
    if kernels:
        codes = sample_codes(*arguments)
    else:
        with without_kernels():
            codes = sample_codes(*arguments)
    jax.effects_barrier()
    steps = np.array(found).reshape(grid[0], grid[1] + 1, 2, CODES)[:, :-1].transpose(2, 0, 1, 3)
    np.testing.assert_allclose(steps, logits_of(network, variables, codes, LABELS), atol=2e-4)


def test_a_code_is_the_choice_of_its_sample_and_cell() -> None:
    codes = sample(temperature=0.7)
    assert codes.shape == (2, *GRID) and codes.dtype == jnp.int32
    logits = logits_of(*toy(2), codes, LABELS).reshape(2, -1, CODES) / 0.7
    choose = jax.vmap(lambda key, number, row: jax.random.categorical(jax.random.fold_in(key, number), row), (None, 0, 0))
    choose = jax.jit(jax.vmap(choose, (0, None, 0)))
    np.testing.assert_array_equal(choose(keys_of(0, 1), np.arange(logits.shape[1]), logits), codes.reshape(2, -1))


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole = sample()
    np.testing.assert_array_equal(sample(numbers=(1, 0), labels=(3, 0)), whole[::-1])
    np.testing.assert_array_equal(sample(numbers=(7, 1), labels=(2, 3))[1], whole[1])
    network, variables = toy(2)
    more = sample_codes(network, variables, GRID, jnp.array([1, 0, 2, 3, 3]), keys_of(4, 0, 9, 1, 8), SymbolPolicy())
    np.testing.assert_array_equal(more[jnp.array([1, 3])], whole)
    assert (sample(numbers=(2, 1))[0] != whole[0]).any() and (sample(labels=(1, 3))[0] != whole[0]).any()


def test_known_codes_stay_and_the_rest_depends_on_them() -> None:
    free = sample()
    mask = jax.random.bernoulli(jax.random.key(2), 0.5, (2, *GRID)).at[:, 0].set(False).at[:, 1, 3].set(True)
    given = (free + 1 + random_codes(2, *GRID, codes=CODES - 1)) % CODES  # other codes everywhere
    codes = sample(known=Known(given, mask))
    np.testing.assert_array_equal(codes[mask], given[mask])
    np.testing.assert_array_equal(codes[:, 0], free[:, 0])  # nothing before it is known
    assert (codes[~mask] != free[~mask]).any()
    np.testing.assert_array_equal(sample(known=Known(given, jnp.ones_like(mask))), given)
    np.testing.assert_array_equal(sample(known=Known(given, jnp.zeros_like(mask))), free)
    # What is known is what the rest is sampled from.
    coldest = sample(temperature=1e-6, known=Known(given, mask))
    likeliest = logits_of(*toy(2), coldest, LABELS).argmax(axis=-1)
    np.testing.assert_array_equal(coldest[~mask], likeliest[~mask])


def test_a_low_temperature_or_a_top_1_takes_the_likeliest_code() -> None:
    network, variables = toy(2)
    codes = sample(temperature=1e-6)
    np.testing.assert_array_equal(codes, logits_of(network, variables, codes, LABELS).argmax(axis=-1))
    of_one = sample_codes(network, variables, GRID, LABELS, keys_of(0, 1), SymbolPolicy(top_k=1))
    np.testing.assert_array_equal(codes, of_one)


def test_another_temperature_needs_no_other_program() -> None:
    sample(temperature=0.5)
    before = sample_codes._cache_size()
    sample(temperature=1.5)
    assert sample_codes._cache_size() == before
