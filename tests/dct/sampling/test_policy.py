"""Temperature, top-k and top-p against literal numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.temperature import SymbolPolicy

PROBABILITIES = np.array([0.1, 0.4, 0.0, 0.3, 0.2])
LOGITS = jnp.array([[np.log(p) if p else IMPOSSIBLE for p in PROBABILITIES]])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SymbolPolicy(), PROBABILITIES),
        (SymbolPolicy(top_k=2), np.array([0, 4, 0, 3, 0]) / 7),
        (SymbolPolicy(top_k=9), PROBABILITIES),
        (SymbolPolicy(top_p=0.4), np.array([0, 1, 0, 0, 0])),
        (SymbolPolicy(top_p=0.41), np.array([0, 4, 0, 3, 0]) / 7),
        (SymbolPolicy(top_p=0.95), PROBABILITIES),
        (SymbolPolicy(temperature=0.5), PROBABILITIES**2 / (PROBABILITIES**2).sum()),
        (SymbolPolicy(temperature=0.5, top_k=2), np.array([0, 16, 0, 9, 0]) / 25),
    ],
)
def test_the_distribution_that_is_drawn_from(policy: SymbolPolicy, expected: np.ndarray) -> None:
    np.testing.assert_allclose(jax.nn.softmax(policy(LOGITS))[0], expected, atol=1e-5)


@pytest.mark.parametrize(("top_p", "number"), [(0.5, 1), (0.75, 2), (0.76, 4)])
def test_at_a_tie_no_symbol_too_many_can_be_drawn(top_p: float, number: int) -> None:
    """Probabilities of 1/2, 1/4, 1/8 and 1/8, which floating-point numbers are."""
    logits = jnp.log2(jnp.array([[0.5, 0.25, 0.125, 0.125]])) * jnp.log(2.0)
    possible = SymbolPolicy(top_p=top_p)(logits)[0] > IMPOSSIBLE
    assert int(possible.sum()) == number


def test_impossible_symbols_stay_impossible_at_any_temperature() -> None:
    hot = SymbolPolicy(temperature=1e6)
    drawn = jax.random.categorical(jax.random.key(0), hot(LOGITS)[0], shape=(2000,))
    assert set(np.unique(drawn)) == {0, 1, 3, 4}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", 1e-40),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
    ],
)
def test_bad_settings_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        SymbolPolicy(**{field: value})
