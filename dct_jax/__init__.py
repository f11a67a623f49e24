"""DCTransformer in JAX: images as sparse lists of quantised DCT coefficients, generated one triple at a time."""

from typing import Any

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.config import DCTConfig

__all__ = ["DCTCodec", "DCTConfig", "SparseDCT", "TrainedModel", "load", "train"]

Config = DCTConfig
"""As it was called when DCTransformer was the only system; experiment files may still say so."""


def __getattr__(name: str) -> Any:
    """Models bring JAX, which takes seconds to start; the codec is NumPy alone and should not wait for it."""
    if name in ("load", "train"):
        from dct_jax import run

        return getattr(run, name)
    if name == "TrainedModel":
        from dct_jax.dct.trained_model import TrainedModel

        return TrainedModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
