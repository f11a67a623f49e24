"""Arguments of methods that sample."""

import operator
from typing import Any

from dct_jax.config import MOST_SEEDS


def check_integers(least: int, **values: int) -> None:
    """Raises ValueError, which names the argument, unless all are integers, `least` or more."""
    for name, value in values.items():
        if not _is_integer(value):
            raise ValueError(f"{name} is {value!r}; it must be an integer, {least} or more")
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")


def check_seed(seed: int) -> None:
    """Raises ValueError unless the seed of samples is an integer of 32 bits."""
    if not _is_integer(seed) or not 0 <= seed < MOST_SEEDS:
        raise ValueError(f"seed is {seed!r}; it must be from 0 to 2^32 - 1")


def check_label(label: int, last: int, classes: int) -> None:
    """Raises ValueError unless a label is an integer from 0 to `last`; the model has so many
    classes."""
    if not _is_integer(label) or not 0 <= label <= last:
        hint = "; its method `label` finds the number of a name" if isinstance(label, str) else ""
        raise ValueError(f"label is {label!r}; the model has {classes} classes{hint}")


def _is_integer(value: Any) -> bool:
    """Returns whether a value is an integer, also one of NumPy or JAX."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
