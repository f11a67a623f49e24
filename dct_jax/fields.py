"""Fields of configurations: what their metadata say, and how they take values from outside."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

_T = TypeVar("_T")

LATER: MappingProxyType[str, bool] = MappingProxyType({"later": True})
"""Metadata of a field that earlier checkpoints may lack. Its default is what they did."""

MAY_CHANGE: MappingProxyType[str, bool] = MappingProxyType({"may_change": True})
"""Metadata of a field that may change when a run goes on. It changes the speed of the run, not what
the model learns (dropout's masks and rounding aside)."""

COSTS: MappingProxyType[str, bool] = MappingProxyType({"costs": True})
"""Metadata of a field that does not say what a model computes: what that costs, or where variables
come from."""


def is_marked(spec: dataclasses.Field, mark: Mapping[str, bool]) -> bool:
    """Whether a field's metadata have LATER, MAY_CHANGE or COSTS."""
    return all(spec.metadata.get(name) for name in mark)


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises ValueError, which names the field, unless its value holds what it must."""
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {allowed}")


def build(cls: type[_T], values: Any, prefix: str = "") -> _T:
    """Makes a dataclass of plain values: of lists tuples, of dictionaries dataclasses.

    Args:
        cls: the dataclass.
        values: of its fields, by name; those of LATER fields may be missing.
        prefix: of the names of fields in messages.

    Raises:
        ValueError: if a field is unknown, missing, or of the wrong type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"the configuration's {prefix or 'top'} is {type(values).__name__}; it must be a dictionary")
    specs, hints = dataclasses.fields(cls), get_type_hints(cls)  # type: ignore[arg-type]
    values = {spec.name: spec.default for spec in specs if is_marked(spec, LATER)} | values
    if not prefix:
        values.pop("system", None)
    for name in sorted({spec.name for spec in specs} ^ values.keys()):
        raise ValueError(f"the configuration's field {prefix}{name} is {'missing' if name in hints else 'unknown'}")
    fields = {}
    for name, value in values.items():
        hint, value = hints[name], _to_plain(value)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            value = build(hint, value, f"{prefix}{name}.")
        elif not _fits(value, hint):
            wanted = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
            raise ValueError(f"the configuration's {prefix}{name} is {value!r}; it must be {wanted}")
        fields[name] = value
    return cls(**fields)


def _to_plain(value: Any) -> Any:
    """Turns lists into tuples, and NumPy's numbers and arrays into Python's."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return tuple(map(_to_plain, value)) if isinstance(value, list | tuple) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value fits an annotation. Integers are real numbers; booleans are no numbers."""
    kind, of = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in of
    if kind is UnionType:
        return any(_fits(value, choice) for choice in of)
    if kind is tuple:
        of = of[:1] * len(value) if isinstance(value, tuple) and of[-1] is Ellipsis else of
        return isinstance(value, tuple) and len(value) == len(of) and all(map(_fits, value, of))
    return isinstance(value, (int, float) if hint is float else hint) and isinstance(value, bool) == (hint is bool)
