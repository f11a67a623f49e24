"""Lossless compression of lists of triples with a model's own probabilities."""

from dct_jax.dct.compression.lossless import compress, compress_many, decompress, decompress_many

__all__ = ["compress", "compress_many", "decompress", "decompress_many"]
