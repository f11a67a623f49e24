"""Arguments of methods that sample."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.training.arguments import check_integers, check_label, check_seed


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.5, "1.5; it must be an integer, 1 or more"), (None, "None; it must be an integer, 1"), (0, "0; it must be 1 or more")],
)
def test_what_is_no_integer_of_the_range_is_named(value: Any, said: str) -> None:
    """Some were taken, and others had an error of Python that did not name them."""
    with pytest.raises(ValueError, match=f"^num is {said}"):
        check_integers(1, first=3, num=value)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None, "3"])
def test_a_seed_has_32_bits(seed: Any) -> None:
    with pytest.raises(ValueError, match=rf"^seed is {seed!r}; it must be from 0 to 2\^32 - 1$"):
        check_seed(seed)


def test_integers_of_numpy_and_jax_are_integers() -> None:
    check_integers(0, num=np.int32(0), first=np.array(1))
    check_seed(np.uint32(2**32 - 1))
    check_label(np.int64(2), 2, 3)
    check_label(jnp.array([0, 1])[1], 2, 3)
