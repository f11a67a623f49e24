"""The divisors of DCT coefficients, and the largest values that they leave."""

import numpy as np

from dct_jax.codec.transform import dct_matrix

# ITU-T T.81 Annex K, tables K.1 (luma) and K.2 (chroma), in raster order.
_ANNEX_K_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_ANNEX_K_CHROMA = np.array(
    [
        [17, 18, 24, 47, 99, 99, 99, 99],
        [18, 21, 26, 66, 99, 99, 99, 99],
        [24, 26, 56, 99, 99, 99, 99, 99],
        [47, 66, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
    ]
)


def quantization_tables(block_size: int, quality: int) -> np.ndarray:
    """Returns Annex K's tables, scaled by the quality as libjpeg does (jpeg_quality_scaling).

    For B > 8 each entry fills a (B/8) x (B/8) square; for B < 8 every (8/B)-th entry is taken.

    Returns:
        int32 [3, B, B]: the divisors of Y, Cb and Cr, 1..255, in raster order.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = np.stack([_ANNEX_K_LUMA, _ANNEX_K_CHROMA, _ANNEX_K_CHROMA])  # [3, 8, 8]
    tables = np.clip((tables * scale + 50) // 100, 1, 255)
    if block_size >= 8:
        repeat = block_size // 8
        tables = tables.repeat(repeat, axis=1).repeat(repeat, axis=2)  # [3, B, B]
    else:
        step = 8 // block_size
        tables = tables[:, ::step, ::step]  # [3, B, B]
    return tables.astype(np.int32)


def largest_value(tables: np.ndarray) -> int:
    """Returns the largest magnitude that a quantised coefficient of any 8-bit plane can have, with
    the tables of a quality. Where B = 8, libjpeg's transform may go beyond it by 1 with others, and
    `DCTCodec.encode` limits what it gives.

    A coefficient is a sum of level-shifted samples in [-128, 127] weighted by a basis image, so its
    magnitude is largest when every sample is -128 where the weight has one sign and 127 where it
    has the other.

    Args:
        tables: int32 [3, B, B], the divisors.
    """
    basis = dct_matrix(tables.shape[-1])
    positive = np.maximum(basis, 0).sum(axis=1)  # [B]: the sum of the positive weights of each row
    negative = -np.minimum(basis, 0).sum(axis=1)  # [B]
    same = np.outer(positive, positive) + np.outer(negative, negative)  # [B, B]: positive weights of the basis image
    opposite = np.outer(positive, negative) + np.outer(negative, positive)
    bound = 128 * np.maximum(same, opposite) + 127 * np.minimum(same, opposite)  # [B, B]
    # The allowance covers the rounding between the passes of libjpeg's transform.
    return int(np.floor(bound / tables + 0.5 + 1e-3).max())
