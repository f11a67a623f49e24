"""Experiment files: small Python files that define CONFIG, the configuration of a run."""

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dct_jax.config import RunConfig

Kind = TypeVar("Kind", bound=RunConfig)

_IN_WHEEL = Path(__file__).parent / "experiments"
FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parent.parent / "experiments"
"""The folder of experiments: beside the package in a checkout, inside of it in a wheel."""


def experiments() -> list[str]:
    """The names of the files in experiments/ that define CONFIG; others may lie there too."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if re.search(r"^CONFIG\b", file.read_text(), re.MULTILINE))


@overload
def load_experiment(name: str) -> RunConfig: ...


@overload
def load_experiment(name: str, kind: type[Kind]) -> Kind: ...


def load_experiment(name: str, kind: type[RunConfig] = RunConfig) -> RunConfig:
    """Returns the configuration of an experiment.

    Args:
        name: of a file in experiments/, without its suffix, or the path of a .py file.
        kind: the class that the configuration must have, such as `DCTConfig`; by default any
            system's.

    Raises:
        ValueError: if there is no such experiment, its file fails, it defines no CONFIG, or its
            CONFIG is of another class than `kind` or has a field of the wrong type.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = ", ".join(experiments())
        raise ValueError(f"there is no experiment {name!r}; known are {known}, or the path of a .py file that defines CONFIG")
    try:
        config = runpy.run_path(str(path)).get("CONFIG")
    except Exception as error:  # it is the user's code
        raise ValueError(f"{path}: this experiment fails ({type(error).__name__}: {error})") from None
    if not isinstance(config, RunConfig) or type(config) is RunConfig:
        raise ValueError(f"{path} defines no CONFIG; it must be a system's configuration, such as a dct_jax.DCTConfig")
    if not isinstance(config, kind):
        wanted = getattr(kind, "system", kind.__name__)
        raise ValueError(f"{path} is an experiment of the system {config.system}; it must be one of {wanted}")
    try:
        return config.read_again()
    except ValueError as error:
        raise ValueError(f"{path}: this experiment fails ({error})") from None


if not TYPE_CHECKING:  # with it, type checkers take any name

    def __getattr__(name: str) -> Any:
        """Finds what experiment files of earlier versions import from here."""
        if name not in ("PAPER_MODEL", "PAPER_TRAINING"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from dct_jax.dct import paper

        return getattr(paper, name)
