"""Classes by their names."""

import difflib
from collections.abc import Sequence


def find_class(name: str, names: Sequence[str], number: int) -> int:
    """Finds the label of a class.

    Args:
        name: of the class, or its label in digits.
        names: of the classes by label; empty if they have none.
        number: of classes.

    Raises:
        ValueError: if there is no such class; the message offers the nearest names.
    """
    if not number:
        raise ValueError(f"the label is {name}; this model was trained without classes")
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < number:
        return int(name)
    by_folded = {known.casefold(): known for known in names}
    near = [by_folded[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded, cutoff=0.5)]
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    raise ValueError(f"there is no class {name!r}; this model has {number}, 0 to {number - 1}{hint}")
