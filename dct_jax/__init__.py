"""DCTransformer in JAX: images are sparse lists of DCT coefficients, sampled triple by triple."""

from typing import TYPE_CHECKING, Any

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.config import DCTConfig

if TYPE_CHECKING:
    from dct_jax.dct.compression import compress, decompress
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.run import load, train

__all__ = ["DCTCodec", "DCTConfig", "SparseDCT", "TrainedModel", "compress", "decompress", "load", "train"]

Config = DCTConfig
"""The name of DCTConfig in experiment files from when DCTransformer was the only system."""


if not TYPE_CHECKING:  # with it, type checkers take any name

    def __getattr__(name: str) -> Any:
        """Imports models late: JAX takes seconds to start, and the codec needs none."""
        if name in ("load", "train"):
            from dct_jax import run

            return getattr(run, name)
        if name in ("compress", "decompress"):
            from dct_jax.dct import compression

            return getattr(compression, name)
        if name == "TrainedModel":
            from dct_jax.dct.trained_model import TrainedModel

            return TrainedModel
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
