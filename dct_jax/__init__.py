"""DCTransformer in JAX: images are sparse lists of DCT coefficients, sampled triple by triple."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dct_jax.codec import DCTCodec, SparseDCT
    from dct_jax.dct.compression import compress, decompress
    from dct_jax.dct.config import DCTConfig
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.run import load, train

    Config = DCTConfig

__all__ = ["DCTCodec", "DCTConfig", "SparseDCT", "TrainedModel", "compress", "decompress", "load", "train"]

_HOMES = {
    "DCTCodec": "dct_jax.codec",
    "SparseDCT": "dct_jax.codec",
    "DCTConfig": "dct_jax.dct.config",
    "TrainedModel": "dct_jax.dct.trained_model",
    "compress": "dct_jax.dct.compression",
    "decompress": "dct_jax.dct.compression",
    "load": "dct_jax.run",
    "train": "dct_jax.run",
}


if not TYPE_CHECKING:  # with it, type checkers take any name

    def __getattr__(name: str) -> Any:
        """Imports names and rooms late: JAX takes seconds to start, and Numba two."""
        from importlib import import_module
        from importlib.util import find_spec

        if name == "Config":  # of experiment files from when DCTransformer was the only system
            name = "DCTConfig"
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        if find_spec(room := f"{__name__}.{name}"):
            return import_module(room)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
