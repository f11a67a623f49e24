"""Planes of samples <-> quantised DCT coefficients, block by block: blocks of 8 x 8 by libjpeg's
integers (`integer_transform.py`), others by the orthonormal DCT in float64 (`float_transform.py`).

Both take many blocks through a pass at once: its inputs and outputs are rows of a table, several
columns of which machine code takes in one step.
"""

from functools import cache

import numpy as np

from dct_jax.codec import float_transform, integer_transform


@cache
def dct_matrix(block_size: int) -> np.ndarray:
    """Returns the orthonormal DCT-II M, float64 [B, B]: the coefficients are M @ block @ M.T."""
    k = np.arange(block_size)[:, None]
    n = np.arange(block_size)[None, :]
    basis = np.sqrt(2 / block_size) * np.cos(np.pi * (2 * n + 1) * k / (2 * block_size))  # [B, B]
    basis[0] /= np.sqrt(2)
    basis.flags.writeable = False  # it is made once and shared
    return basis


def forward(plane: np.ndarray, table: np.ndarray, coefficients: np.ndarray) -> None:
    """Writes the quantised DCT coefficients of a plane, rounded half away from zero as in libjpeg.

    Args:
        plane: uint8 [h * B, w * B].
        table: int32 [B, B], the divisors.
        coefficients: int16 [B, B, h, w], written: vertical frequency, horizontal frequency, block.
    """
    if len(table) == 8:
        integer_transform.forward(plane, table, coefficients)
    else:
        float_transform.forward(plane, table, dct_matrix(len(table)), coefficients)


def inverse(coefficients: np.ndarray, table: np.ndarray, plane: np.ndarray) -> None:
    """Writes the plane of coefficients, rounded and clipped to 0..255; see `forward`."""
    if len(table) == 8:
        integer_transform.inverse(coefficients, table, plane)
    else:
        float_transform.inverse(coefficients, table, dct_matrix(len(table)), plane)
