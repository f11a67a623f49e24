"""Images <-> sparse lists of quantised DCT coefficients. NumPy and Numba, no JAX."""

from dct_jax.codec.codec import BLOCK_SIZES, DCTCodec
from dct_jax.codec.sparse import SparseDCT
from dct_jax.codec.storage import load_npz, save_npz
from dct_jax.codec.vocabulary import Vocabulary

__all__ = ["BLOCK_SIZES", "DCTCodec", "SparseDCT", "Vocabulary", "load_npz", "save_npz"]
