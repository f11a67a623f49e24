"""Lossless compression of a list of triples with a model's own probabilities."""

from dct_jax.compression.lossless import compress, decompress

__all__ = ["compress", "decompress"]
