"""Blocks of 8 x 8 <-> quantised coefficients, by libjpeg's integer DCT, bit for bit: its default
("islow"), which nearly every JPEG file is made with.

It is the factored DCT of Loeffler, Ligtenberg and Moschytz (1989) with constants of 13 bits. Within
a pass libjpeg adds and multiplies integers exactly and rounds once at the end, so each pass is an
integer matrix followed by a rounded shift. The rows of the matrix are sums of libjpeg's constants,
FIX(0.541196100) = 4433 and so on: close to 2^13 sqrt(8) times the orthonormal DCT's, though a few
are off by one unit. Rows come first in the forward transform, columns in the inverse.
"""

import numpy as np

from dct_jax.codec.compile import compiled

# Bits that are rounded away after a pass. Between passes, numbers have two bits more than samples.
# After the second forward pass values are 8 times the orthonormal DCT's; after the second inverse
# pass that factor is gone.
_FIRST_SHIFT, _SECOND_SHIFT, _LAST_SHIFT = 11, 15, 18


@compiled
def forward(plane: np.ndarray, table: np.ndarray, coefficients: np.ndarray) -> None:
    """Does `transform.forward` for B = 8."""
    height, width = coefficients.shape[2:]
    together = _rows_together(height, width)
    room = 64 * together * width
    whole, spare = np.empty(room, np.int32), np.empty(room, np.int32)
    flat = coefficients.reshape(8, 8, height * width)
    for top in range(0, height, together):
        # Samples [c, r, block] -> horizontal frequencies [k, r, block] -> for each k, vertical
        # frequencies [m, block].
        rows = min(together, height - top)
        blocks, first = rows * width, top * width
        count = 8 * blocks
        _load(plane, top, rows, width, whole)
        _forward_pass(whole, count, spare, count, count, _FIRST_SHIFT)
        for k in range(8):
            _forward_pass(spare[k * count :], blocks, whole, blocks, blocks, _SECOND_SHIFT)
            for m in range(8):
                _quantize(whole[m * blocks :], 8 * table[m, k], flat[m, k, first : first + blocks])


@compiled
def inverse(coefficients: np.ndarray, table: np.ndarray, plane: np.ndarray) -> None:
    """Does `transform.inverse` for B = 8."""
    height, width = coefficients.shape[2:]
    together = _rows_together(height, width)
    room = 64 * together * width
    whole, spare = np.empty(room, np.int64), np.empty(room, np.int64)
    flat = coefficients.reshape(8, 8, height * width)
    for top in range(0, height, together):
        # For each horizontal frequency k, vertical frequencies [m, block] -> rows [r, block]; all
        # -> samples [c, r, block].
        rows = min(together, height - top)
        blocks, first = rows * width, top * width
        count = 8 * blocks
        for k in range(8):
            for m in range(8):
                line, divisor = flat[m, k, first : first + blocks], np.int64(table[m, k])
                for j in range(blocks):
                    whole[m * blocks + j] = line[j] * divisor
            _inverse_pass(whole, blocks, spare[k * count :], blocks, blocks, _FIRST_SHIFT)
        _inverse_pass(spare, count, whole, count, count, _LAST_SHIFT)
        _store(whole, top, rows, width, plane)


@compiled
def _rows_together(height: int, width: int) -> int:
    """Returns how many rows of blocks to transform at once: long inner loops, but in the cache."""
    return max(1, min(height, 512 // width))


@compiled
def _load(plane: np.ndarray, top: int, rows: int, width: int, x: np.ndarray) -> None:
    """Loads rows of blocks, level-shifted, to [column in block, row in block, block]."""
    blocks = rows * width
    words = plane.reshape(-1).view(np.uint64)  # of eight samples, the first one in the low bits (little-endian)
    line = np.empty(blocks, np.uint64)  # one row of samples of every block, side by side
    for r in range(8):
        for i in range(rows):
            start = ((top + i) * 8 + r) * width
            for j in range(width):
                line[np.uint64(i * width + j)] = words[np.uint64(start + j)]
        for c in range(8):
            first, shift = (c * 8 + r) * blocks, np.uint64(8 * c)
            for j in range(blocks):
                sample = (line[np.uint64(j)] >> shift) & np.uint64(255)
                x[np.uint64(first + j)] = np.int32(sample) - np.int32(128)


@compiled
def _store(x: np.ndarray, top: int, rows: int, width: int, plane: np.ndarray) -> None:
    """The inverse of `_load`, clipped to 0..255."""
    blocks = rows * width
    words = plane.reshape(-1).view(np.uint64)
    line = np.empty(blocks, np.uint64)
    for r in range(8):
        line[:] = 0
        for c in range(8):
            first, shift = (c * 8 + r) * blocks, np.uint64(8 * c)
            for j in range(blocks):
                sample = min(max(x[np.uint64(first + j)] + 128, 0), 255)
                line[np.uint64(j)] |= np.uint64(sample) << shift
        for i in range(rows):
            start = ((top + i) * 8 + r) * width
            for j in range(width):
                words[np.uint64(start + j)] = line[np.uint64(i * width + j)]


@compiled
def _quantize(x: np.ndarray, divisor: int, line: np.ndarray) -> None:
    """line = x / divisor, rounded half away from zero: truncated after half a divisor has been
    added. Half a unit more keeps float32's noise from deciding a tie; the next integer below one is
    a whole unit away."""
    scale, half = np.float32(1 / divisor), np.float32((divisor // 2 + 0.5) / divisor)
    for j in range(len(line)):
        ratio = np.float32(x[j]) * scale
        line[j] = np.int32(ratio + np.copysign(half, ratio))


@compiled
def _forward_pass(x: np.ndarray, x_step: int, y: np.ndarray, y_step: int, count: int, shift: int) -> None:
    """Transforms eight rows of `count` samples, x[n * x_step + i], to eight rows of rounded
    frequencies, y[k * y_step + i], int32."""
    x0, x1, x2, x3 = x[:count], x[x_step:], x[2 * x_step :], x[3 * x_step :]
    x4, x5, x6, x7 = x[4 * x_step :], x[5 * x_step :], x[6 * x_step :], x[7 * x_step :]
    y0, y1, y2, y3 = y[:count], y[y_step:], y[2 * y_step :], y[3 * y_step :]
    y4, y5, y6, y7 = y[4 * y_step :], y[5 * y_step :], y[6 * y_step :], y[7 * y_step :]
    half, bits = np.int32(1 << (shift - 1)), np.int32(shift)
    for i in range(count):
        a0, a1, a2, a3 = x0[i] + x7[i], x1[i] + x6[i], x2[i] + x5[i], x3[i] + x4[i]
        d0, d1, d2, d3 = x0[i] - x7[i], x1[i] - x6[i], x2[i] - x5[i], x3[i] - x4[i]
        b0, b1, c0, c1 = a0 + a3, a1 + a2, a0 - a3, a1 - a2
        y0[i] = (np.int32(8192) * (b0 + b1) + half) >> bits
        y4[i] = (np.int32(8192) * (b0 - b1) + half) >> bits
        y2[i] = (np.int32(10703) * c0 + np.int32(4433) * c1 + half) >> bits
        y6[i] = (np.int32(4433) * c0 - np.int32(10704) * c1 + half) >> bits
        y1[i] = (np.int32(11363) * d0 + np.int32(9633) * d1 + np.int32(6437) * d2 + np.int32(2260) * d3 + half) >> bits
        y3[i] = (np.int32(9633) * d0 - np.int32(2259) * d1 - np.int32(11362) * d2 - np.int32(6436) * d3 + half) >> bits
        y5[i] = (np.int32(6437) * d0 - np.int32(11362) * d1 + np.int32(2261) * d2 + np.int32(9633) * d3 + half) >> bits
        y7[i] = (np.int32(2260) * d0 - np.int32(6436) * d1 + np.int32(9633) * d2 - np.int32(11363) * d3 + half) >> bits


@compiled
def _inverse_pass(x: np.ndarray, x_step: int, y: np.ndarray, y_step: int, count: int, shift: int) -> None:
    """Transforms eight rows of frequencies to eight rows of rounded samples, by the transposed
    matrix. Arguments are those of `_forward_pass`, but int64: a sampled list may go beyond 32 bits
    on the way."""
    x0, x1, x2, x3 = x[:count], x[x_step:], x[2 * x_step :], x[3 * x_step :]
    x4, x5, x6, x7 = x[4 * x_step :], x[5 * x_step :], x[6 * x_step :], x[7 * x_step :]
    y0, y1, y2, y3 = y[:count], y[y_step:], y[2 * y_step :], y[3 * y_step :]
    y4, y5, y6, y7 = y[4 * y_step :], y[5 * y_step :], y[6 * y_step :], y[7 * y_step :]
    half, bits = np.int64(1 << (shift - 1)), np.int64(shift)
    for i in range(count):
        b0, b1 = np.int64(8192) * (x0[i] + x4[i]), np.int64(8192) * (x0[i] - x4[i])
        c0 = np.int64(10703) * x2[i] + np.int64(4433) * x6[i]
        c1 = np.int64(4433) * x2[i] - np.int64(10704) * x6[i]
        a0, a1, a2, a3 = b0 + c0 + half, b1 + c1 + half, b1 - c1 + half, b0 - c0 + half
        f1, f3, f5, f7 = x1[i], x3[i], x5[i], x7[i]
        d0 = np.int64(11363) * f1 + np.int64(9633) * f3 + np.int64(6437) * f5 + np.int64(2260) * f7
        d1 = np.int64(9633) * f1 - np.int64(2259) * f3 - np.int64(11362) * f5 - np.int64(6436) * f7
        d2 = np.int64(6437) * f1 - np.int64(11362) * f3 + np.int64(2261) * f5 + np.int64(9633) * f7
        d3 = np.int64(2260) * f1 - np.int64(6436) * f3 + np.int64(9633) * f5 - np.int64(11363) * f7
        y0[i], y7[i] = (a0 + d0) >> bits, (a0 - d0) >> bits
        y1[i], y6[i] = (a1 + d1) >> bits, (a1 - d1) >> bits
        y2[i], y5[i] = (a2 + d2) >> bits, (a2 - d2) >> bits
        y3[i], y4[i] = (a3 + d3) >> bits, (a3 - d3) >> bits
