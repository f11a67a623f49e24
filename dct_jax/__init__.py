"""DCTransformer in JAX: images as sparse lists of quantised DCT coefficients, generated one triple at a time."""

from typing import Any

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.config import Config

__all__ = ["Config", "DCTCodec", "SparseDCT", "TrainedModel", "load"]


def __getattr__(name: str) -> Any:
    """Models bring JAX, which takes seconds to start; the codec is NumPy alone and should not wait for it."""
    if name in ("TrainedModel", "load"):
        from dct_jax.dct import trained_model

        return getattr(trained_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
