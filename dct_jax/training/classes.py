"""Classes by their names, and at random."""

import difflib
from collections.abc import Sequence

import numpy as np

from dct_jax.training.arguments import check_label, check_seed


def find_class(name: str | int, names: Sequence[str], number: int) -> int:
    """Finds the label of a class.

    Args:
        name: of the class, or its label, also in digits.
        names: of the classes by label; empty if they have none.
        number: of classes.

    Raises:
        ValueError: if there is no such class; the message offers the nearest names.
    """
    if not number:
        raise ValueError(f"the label is {name}; this model was trained without classes")
    if not isinstance(name, str):
        check_label(name, number - 1, number)
        return int(name)
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < number:
        return int(name)
    by_folded = {known.casefold(): known for known in names}
    near = [by_folded[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded, cutoff=0.5)]
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    raise ValueError(f"there is no class {name!r}; this model has {number}, 0 to {number - 1}{hint}")


def random_label(seed: int, number: int, classes: int) -> int:
    """Chooses the class of sample `number` of a seed at random, of so many; 0 without classes.

    Raises:
        ValueError: if the seed does not fit into 32 bits.
    """
    check_seed(seed)
    return int(np.random.default_rng((seed, number, 1)).integers(max(classes, 1)))
