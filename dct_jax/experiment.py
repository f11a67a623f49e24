"""Experiment files: small Python files that define CONFIG, the configuration of a run."""

import re
import runpy
from pathlib import Path
from typing import Any

from dct_jax.config import RunConfig

_IN_WHEEL = Path(__file__).parent / "experiments"
FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parent.parent / "experiments"
"""The folder of experiments: beside the package in a checkout, inside of it in a wheel."""


def experiments() -> list[str]:
    """The names of the files in experiments/ that define CONFIG; others may lie there too."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if re.search(r"^CONFIG\b", file.read_text(), re.MULTILINE))


def load_experiment(name: str) -> RunConfig:
    """The configuration of an experiment.

    Args:
        name: of a file in experiments/, without its suffix, or the path of a .py file.

    Raises:
        ValueError: if there is no such experiment, its file fails, or it defines no CONFIG.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = ", ".join(experiments())
        raise ValueError(f"there is no experiment {name!r}; known are {known}, or the path of a .py file that defines CONFIG")
    try:
        config = runpy.run_path(str(path)).get("CONFIG")
    except Exception as error:  # it is the user's code
        raise ValueError(f"{path}: this experiment fails ({type(error).__name__}: {error})") from None
    if not isinstance(config, RunConfig):
        raise ValueError(f"{path} defines no CONFIG; it must be a system's configuration, such as a dct_jax.DCTConfig")
    return config


def __getattr__(name: str) -> Any:
    """Finds what experiment files of earlier versions import from here."""
    if name not in ("PAPER_MODEL", "PAPER_TRAINING"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dct_jax.dct import paper

    return getattr(paper, name)
