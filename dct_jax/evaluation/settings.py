"""Settings of samplers, by name."""

import numbers
from collections.abc import Mapping
from typing import Any


def changed_settings(system: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all settings of a sampler, some of them with new values.

    Args:
        system: whose sampler it is.
        old: all its settings: a number each, or a tuple of several.
        new: a number, or a tuple or list of several. One number stands for all of a setting that
            has several.

    Raises:
        ValueError: if the sampler has no setting of a name, or a value is something else.
    """
    for name in new:
        if name not in old:
            raise ValueError(f"a {system} has no {name}; its settings are {', '.join(old)}")
    return {**old, **{name: _shape_like(old[name], name, value) for name, value in new.items()}}


def _shape_like(old: Any, name: str, value: Any) -> Any:
    """Returns a value with as many numbers as an old one: a number, or a tuple of several."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    number = len(old) if isinstance(old, tuple) else 1
    for one in values:
        if not isinstance(one, numbers.Real) or isinstance(one, bool):
            raise ValueError(f"{name} is {one!r}; it must be a number")
    if len(values) not in (1, number):
        raise ValueError(f"{name} has {len(values)} numbers; it must have one" + (f", or {number}" if number > 1 else ""))
    return values * (number // len(values)) if isinstance(old, tuple) else values[0]
