"""Files that say how runs sample, for the command compare."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dct_jax.commands.code_sampling import PriorSettings
from dct_jax.storage.files import read_limited

_LARGEST, _SHOWN = 2**20, 40
_KINDS = get_type_hints(PriorSettings)


def read_settings(path: Path, runs: Sequence[str]) -> dict[str, PriorSettings]:
    """Reads settings of samplers.

    Args:
        path: a JSON file such as {"RUN": {"temperature": 0.8, "top_k": [0, 20]}}, whose names are
            those of `PriorSettings`. A value is a number, or a list of numbers.
        runs: that may be named.

    Raises:
        ValueError: if the file cannot be read, names another run or setting, or names one twice, or
            a value is no number.
    """
    content = read_limited(path, _LARGEST)
    try:
        found = json.loads(content, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except ValueError as error:  # no UTF-8, no JSON, a number that is too long, a name that stands there twice
        raise ValueError(f"{path} is no JSON of settings: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError(f'{path} must have settings by the names of runs, as in {{"RUN": {{"temperature": 0.8}}}}')
    for run in found:
        if run not in runs:
            raise ValueError(f"{path} names the run {run[:_SHOWN]!r}; it must be one of {', '.join(runs)}")
    return {run: PriorSettings(**_read_all(settings, f"{path}, {run}")) for run, settings in found.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dictionary of an object of JSON. Raises ValueError if a name stands there twice."""
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise ValueError(f"{name[:_SHOWN]!r} stands there twice")
    return dict(pairs)


def _read_all(settings: dict[str, Any], where: str) -> dict[str, Any]:
    for name in settings:
        if name not in _KINDS:
            raise ValueError(f"{where}: {name[:_SHOWN]!r} is no setting; settings are {', '.join(_KINDS)}")
    return {name: _read(name, value, where) for name, value in settings.items()}


def _read(name: str, value: Any, where: str) -> Any:
    kind = get_args(_KINDS[name])  # of tuple[float, ...], or of float | None
    is_several, number = kind[-1] is ..., kind[0]
    values = value if isinstance(value, list) and is_several else [value]
    fits = (int, float) if number is float else (int,)
    if not values or not all(isinstance(one, fits) and not isinstance(one, bool) for one in values):
        what = "an integer" if number is int else "a number"
        several = ", or a list of numbers" if is_several else ""
        raise ValueError(f"{where}: {name} is {json.dumps(value)[:_SHOWN]}; it must be {what}{several}")
    try:
        numbers = tuple(map(number, values))
    except OverflowError:
        raise ValueError(f"{where}: {name} is {json.dumps(value)[:_SHOWN]}; it is too large") from None
    return numbers if is_several else numbers[0]
