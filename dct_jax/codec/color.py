"""RGB <-> YCbCr and the resampling of chroma, in the integers that JPEG files are made of.

The formulas are JFIF's (full range); the rounding follows libjpeg's default path, so that for B = 8 our coefficients are
those of a JPEG file of the same pixels.
"""

from typing import Literal, get_args

import numpy as np

ChromaSubsampling = Literal["4:2:0", "4:4:4"]
CHROMA_SUBSAMPLINGS: tuple[str, ...] = get_args(ChromaSubsampling)

# JFIF's weights in units of 2^-16, as libjpeg has them. All sums stay below 2^24, so float32 computes them exactly.
_UNIT = np.float32(2**16)
_RGB_TO_YCC = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.float32)
# Half a unit rounds; for chroma libjpeg takes one less, so that 255.5 becomes 255.
_RGB_TO_YCC_OFFSET = np.array([2**15, 2**23 + 2**15 - 1, 2**23 + 2**15 - 1], np.float32)


def rgb_to_ycc(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> uint8 [H, W, 3] YCbCr, JFIF full range."""
    return np.floor((rgb.astype(np.float32) @ _RGB_TO_YCC.T + _RGB_TO_YCC_OFFSET) / _UNIT).astype(np.uint8)


def ycc_to_rgb(ycc: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] YCbCr -> uint8 [H, W, 3] RGB, JFIF full range."""
    y, cb, cr = np.moveaxis(ycc.astype(np.float32) - np.array([0, 128, 128], np.float32), -1, 0)  # [H, W] each
    rgb = np.stack([y + 1.402 * cr, y - 0.344136286 * cb - 0.714136286 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.floor(rgb + np.float32(0.5)), 0, 255).astype(np.uint8)


def pad_edges(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Grows [H, W] to [height, width] by repeating the last row and column."""
    return np.pad(plane, ((0, height - plane.shape[0]), (0, width - plane.shape[1])), mode="edge")


def halve(plane: np.ndarray) -> np.ndarray:
    """uint8 [H, W], both even -> uint8 [H/2, W/2]: the mean of each 2 x 2 box, its half rounded up or down by turns
    along a row, as libjpeg does so as not to shift the mean."""
    total = plane.astype(np.int32).reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).sum(axis=(1, 3))  # [H/2, W/2]
    bias = 1 + np.arange(total.shape[1]) % 2  # [W/2]
    return ((total + bias) >> 2).astype(np.uint8)


def double(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [ceil(H/2), ceil(W/2)] -> uint8 [H, W] by libjpeg's triangle filter ("fancy upsampling"): every new sample
    is 3/4 of the nearer and 1/4 of the farther neighbour in each direction; beyond the edge the last sample repeats."""
    p = np.pad(plane.astype(np.int32), 1, mode="edge")  # [h + 2, w + 2]
    near = 3 * p[1:-1]  # [h, w + 2]
    rows = np.stack([near + p[:-2], near + p[2:]], axis=1).reshape(-1, p.shape[1])  # [2h, w + 2]
    near = 3 * rows[:, 1:-1]  # [2h, w]
    pairs = np.stack([near + rows[:, :-2] + 8, near + rows[:, 2:] + 7], axis=2)  # [2h, w, 2]
    return (pairs.reshape(rows.shape[0], -1)[:height, :width] >> 4).astype(np.uint8)
