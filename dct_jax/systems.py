"""The systems that there are, by whose configurations checkpoints and weights are read."""

from typing import Any

from dct_jax.config import SYSTEM_BEFORE, RunConfig
from dct_jax.dct.config import DCTConfig
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.sundae.config import SundaeConfig
from dct_jax.vq.config import VQVAEConfig
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.window.config import WindowConfig

SYSTEMS: tuple[type[RunConfig], ...] = (
    DCTConfig,
    VQVAEConfig,
    VQGANConfig,
    WindowConfig,
    SundaeConfig,
    DQVAEConfig,
    DQTransformerConfig,
)
"""A new system is one more class here."""


def read_config(values: Any) -> RunConfig:
    """The configuration that `RunConfig.to_dict` of any system has written.

    Raises:
        ValueError: if it is of no system, or cannot be read.
    """
    name = values.get("system", SYSTEM_BEFORE) if isinstance(values, dict) else SYSTEM_BEFORE
    by_name = {system.system: system for system in SYSTEMS}
    if name not in by_name:
        raise ValueError(f"the configuration's system is {name!r}; known are {', '.join(by_name)}")
    return by_name[name].from_dict(values)
