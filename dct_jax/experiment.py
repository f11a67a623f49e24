"""Experiment files: small Python files, each of which defines CONFIG, a Config."""

import runpy
from pathlib import Path

from dct_jax.config import Config

FOLDER = Path(__file__).parent.parent / "experiments"


def load_experiment(name: str) -> Config:
    """The configuration of an experiment.

    Args:
        name: of a file in experiments/, without its suffix, or the path of a .py file.

    Raises:
        ValueError: if there is no such experiment, its file fails, or it defines no CONFIG.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.py")))
        raise ValueError(f"there is no experiment {name!r}; known are {known}, or the path of a .py file that defines CONFIG")
    try:
        config = runpy.run_path(str(path)).get("CONFIG")
    except Exception as error:  # it is the user's code
        raise ValueError(f"{path}: this experiment fails ({type(error).__name__}: {error})") from None
    if not isinstance(config, Config):
        raise ValueError(f"{path} defines no CONFIG; it must be a dct_jax.Config")
    return config
