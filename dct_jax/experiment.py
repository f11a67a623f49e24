"""Experiment files: small Python files, each of which defines CONFIG, a Config."""

import re
import runpy
from pathlib import Path

from dct_jax.config import Config, ModelConfig, TrainingConfig

_IN_WHEEL = Path(__file__).parent / "experiments"
FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parent.parent / "experiments"
"""Beside the package in a checkout, and inside of it where a wheel was installed."""

PAPER_MODEL = ModelConfig(
    width=896,
    heads=14,
    encoder=(2, 2, 2, 2),
    channel_decoder=(2, 2, 2, 4),
    position_decoder=(2, 2, 2, 4),
    value_decoder=(2, 2, 2, 2, 2, 7),
    chunk_size=896,
    overlap=128,
    dropout=0.1,
    dtype="bfloat16",
)
"""The network that the paper's supplement reports. An experiment adds what its pictures decide: encoder_stride, max_chunks."""

PAPER_TRAINING = TrainingConfig(
    steps=650_000,  # times 512 chunks of 896 elements: the 300 billion target elements that are reported for LSUN
    batch_size=512,
    accumulate=16,  # 4 chunks at once on each of 8 devices, the hardware that the experiments are written for
    learning_rate=5e-4,
    warmup_steps=1000,
    evaluate_every=5000,
    checkpoint_every=1000,
)
"""How the supplement reports that the LSUN model was trained."""


def experiments() -> list[str]:
    """The names of the files in experiments/ that define CONFIG; others may lie there too."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if re.search(r"^CONFIG\b", file.read_text(), re.MULTILINE))


def load_experiment(name: str) -> Config:
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
    if not isinstance(config, Config):
        raise ValueError(f"{path} defines no CONFIG; it must be a dct_jax.Config")
    return config
