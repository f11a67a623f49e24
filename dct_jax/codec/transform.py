"""Planes of samples <-> quantised DCT coefficients, block by block.

Blocks of 8 x 8 go through libjpeg's integer DCT, bit for bit: its default ("islow"), which nearly
every JPEG file is made with. It is the factored DCT of Loeffler, Ligtenberg and Moschytz (1989)
with constants of 13 bits. Within a pass libjpeg adds and multiplies integers exactly and rounds
once at the end, so each pass is an integer matrix followed by a rounded shift. The rows of the
matrix are sums of libjpeg's constants, FIX(0.541196100) = 4433 and so on: close to 2^13 sqrt(8)
times the orthonormal DCT's, though a few are off by one unit. Rows come first in the forward
transform, columns in the inverse. Other block sizes use the orthonormal DCT in float64.

Many blocks go through a pass at once: its inputs and outputs are rows of a table, several columns
of which machine code takes in one step.
"""

from functools import cache

import numpy as np

from dct_jax.codec.compile import compiled

# Bits that are rounded away after a pass. Between passes, numbers have two bits more than samples.
# After the second forward pass values are 8 times the orthonormal DCT's; after the second inverse
# pass that factor is gone.
_FIRST_SHIFT, _SECOND_SHIFT, _LAST_SHIFT = 11, 15, 18
_STRIP = 64  # columns of a table that the forward transform in float64 takes at once: they stay in the first cache

_PADDING = 8  # between that table's rows: at a distance of a power of two they would share a few places of the cache


@cache
def dct_matrix(block_size: int) -> np.ndarray:
    """Returns the orthonormal DCT-II M, float64 [B, B]: the coefficients are M @ block @ M.T."""
    k = np.arange(block_size)[:, None]
    n = np.arange(block_size)[None, :]
    basis = np.sqrt(2 / block_size) * np.cos(np.pi * (2 * n + 1) * k / (2 * block_size))  # [B, B]
    basis[0] /= np.sqrt(2)
    basis.flags.writeable = False  # it is made once and shared
    return basis


@compiled
def forward(plane: np.ndarray, table: np.ndarray, basis: np.ndarray, coefficients: np.ndarray) -> None:
    """Writes the quantised DCT coefficients of a plane, rounded half away from zero as in libjpeg.

    Args:
        plane: uint8 [h * B, w * B].
        table: int32 [B, B], the divisors.
        basis: float64 [B, B], `dct_matrix`; B = 8 uses libjpeg's integers instead.
        coefficients: int16 [B, B, h, w], written: vertical frequency, horizontal frequency, block.
    """
    size, (height, width) = len(table), coefficients.shape[2:]
    together = _rows_together(height, width, size)
    room = size * size * together * width
    integers, reals = (room, 0) if size == 8 else (0, room)
    whole, spare = np.empty(integers, np.int32), np.empty(integers, np.int32)
    real, rest = np.empty(reals, np.float64), np.empty(reals + size * _PADDING, np.float64)
    sums, differences = np.empty(size * _STRIP, np.float64), np.empty(size * _STRIP, np.float64)
    flat = coefficients.reshape(size, size, height * width)
    for top in range(0, height, together):
        # Samples [c, r, block] -> horizontal frequencies [k, r, block] -> for each k, vertical
        # frequencies [m, block].
        rows = min(together, height - top)
        blocks, first = rows * width, top * width
        count = size * blocks
        if size == 8:
            _load(plane, top, rows, size, width, whole)
            _integer_pass(whole, count, spare, count, count, _FIRST_SHIFT)
            for k in range(8):
                _integer_pass(spare[k * count :], blocks, whole, blocks, blocks, _SECOND_SHIFT)
                for m in range(8):
                    _quantize_integers(whole[m * blocks :], 8 * table[m, k], flat[m, k, first : first + blocks])
        else:
            _load(plane, top, rows, size, width, real)
            pitch = count + _PADDING
            _folded_pass(basis, real, count, rest, pitch, count, sums, differences)
            for k in range(size):
                _folded_pass(basis, rest[k * pitch :], blocks, real, blocks, blocks, sums, differences)
                for m in range(size):
                    _quantize(real[m * blocks :], table[m, k], flat[m, k, first : first + blocks])


@compiled
def inverse(coefficients: np.ndarray, table: np.ndarray, basis: np.ndarray, plane: np.ndarray) -> None:
    """Writes the plane of coefficients, rounded and clipped to 0..255; see `forward`."""
    size, (height, width) = len(table), coefficients.shape[2:]
    together = _rows_together(height, width, size)
    room = size * size * together * width
    reals = 0 if size == 8 else room
    whole, spare = np.empty(room, np.int64), np.empty(room, np.int64)
    real, rest = np.empty(reals, np.float64), np.empty(reals, np.float64)
    flat = coefficients.reshape(size, size, height * width)
    transposed = np.ascontiguousarray(basis.T)
    for top in range(0, height, together):
        # For each horizontal frequency k, vertical frequencies [m, block] -> rows [r, block]; all
        # -> samples [c, r, block].
        rows = min(together, height - top)
        blocks, first = rows * width, top * width
        count = size * blocks
        for k in range(size):
            for m in range(size):
                line, divisor = flat[m, k, first : first + blocks], np.int64(table[m, k])
                for j in range(blocks):
                    if size == 8:
                        whole[m * blocks + j] = line[j] * divisor
                    else:
                        real[m * blocks + j] = line[j] * divisor
            if size == 8:
                _inverse_integer_pass(whole, blocks, spare[k * count :], blocks, blocks, _FIRST_SHIFT)
            else:
                _matrix_pass(transposed, real, blocks, rest[k * count :], blocks, blocks)
        if size == 8:
            _inverse_integer_pass(spare, count, whole, count, count, _LAST_SHIFT)
        else:
            _matrix_pass(transposed, rest, count, real, count, count)
            for n in range(size * count):
                whole[n] = np.int64(np.floor(real[n] + 0.5))
        _store(whole, top, rows, size, width, plane)


@compiled
def _rows_together(height: int, width: int, size: int) -> int:
    """Returns how many rows of blocks to transform at once: long inner loops, but in the cache."""
    blocks = 512 if size <= 8 else 2**16 // size**2
    return max(1, min(height, blocks // width))


@compiled
def _load(plane: np.ndarray, top: int, rows: int, size: int, width: int, x: np.ndarray) -> None:
    """Loads rows of blocks, level-shifted, to [column in block, row in block, block]."""
    blocks = rows * width
    flat = plane.reshape(-1)
    words = flat[: len(flat) // 8 * 8].view(np.uint64)  # of eight samples, the first one in the low bits (little-endian)
    line = np.empty(blocks if size == 8 else 0, np.uint64)  # one row of samples of every block, side by side
    for r in range(size):
        if size == 8:
            for i in range(rows):
                start = ((top + i) * 8 + r) * width
                for j in range(width):
                    line[np.uint64(i * width + j)] = words[np.uint64(start + j)]
            for c in range(8):
                first, shift = (c * 8 + r) * blocks, np.uint64(8 * c)
                for j in range(blocks):
                    sample = (line[np.uint64(j)] >> shift) & np.uint64(255)
                    x[np.uint64(first + j)] = np.int32(sample) - np.int32(128)
        else:
            for i in range(rows):
                start = ((top + i) * size + r) * width
                for c in range(size):
                    first = (c * size + r) * blocks + i * width
                    for j in range(width):
                        sample = flat[np.uint64((start + j) * size + c)]
                        x[np.uint64(first + j)] = np.int32(sample) - np.int32(128)


@compiled
def _store(x: np.ndarray, top: int, rows: int, size: int, width: int, plane: np.ndarray) -> None:
    """The inverse of `_load`, clipped to 0..255."""
    blocks = rows * width
    flat = plane.reshape(-1)
    words = flat[: len(flat) // 8 * 8].view(np.uint64)
    line = np.empty(blocks if size == 8 else 0, np.uint64)
    for r in range(size):
        if size == 8:
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
        else:
            for i in range(rows):
                start = ((top + i) * size + r) * width
                for c in range(size):
                    first = (c * size + r) * blocks + i * width
                    for j in range(width):
                        flat[(start + j) * size + c] = min(max(x[first + j] + 128, 0), 255)


@compiled
def _quantize_integers(x: np.ndarray, divisor: int, line: np.ndarray) -> None:
    """line = x / divisor, rounded half away from zero: truncated after half a divisor has been
    added. Half a unit more keeps float32's noise from deciding a tie; the next integer below one is
    a whole unit away."""
    scale, half = np.float32(1 / divisor), np.float32((divisor // 2 + 0.5) / divisor)
    for j in range(len(line)):
        ratio = np.float32(x[j]) * scale
        line[j] = np.int32(ratio + np.copysign(half, ratio))


@compiled
def _quantize(x: np.ndarray, divisor: int, line: np.ndarray) -> None:
    """line = x / divisor for real numbers, rounded half away from zero. Ties are common (a flat
    block's DC is an integer): noise must not decide them either."""
    scale, half = 1 / divisor, 0.5 + 1e-9
    for j in range(len(line)):
        ratio = x[j] * scale
        line[j] = np.int32(ratio + (half if ratio >= 0 else -half))


@compiled
def _matrix_pass(matrix: np.ndarray, x: np.ndarray, x_step: int, y: np.ndarray, y_step: int, count: int) -> None:
    """y[k * y_step + i] = sum over n of matrix[k, n] * x[n * x_step + i], for i below count."""
    for k in range(len(matrix)):
        out = y[k * y_step : k * y_step + count]
        out[:] = 0
        for n in range(len(matrix)):
            weight, line = matrix[k, n], x[n * x_step : n * x_step + count]
            for i in range(count):
                out[i] += weight * line[i]


@compiled
def _folded_pass(
    matrix: np.ndarray,
    x: np.ndarray,
    x_step: int,
    y: np.ndarray,
    y_step: int,
    count: int,
    sums: np.ndarray,
    differences: np.ndarray,
) -> None:
    """Does `_matrix_pass` for the DCT's matrix, with a third of the products where B = 32. The even
    rows of the matrix are symmetric and the odd ones antisymmetric: even rows meet sums, odd rows
    differences of x[n] and x[B - 1 - n]. The even rows are the matrix of half the size, which is
    folded again. `sums` and `differences` are room for B * _STRIP numbers each."""
    size = len(matrix)
    for start in range(0, count, _STRIP):
        lanes = min(_STRIP, count - start)
        for n in range(size):
            line = x[n * x_step + start : n * x_step + start + lanes]
            for i in range(lanes):
                sums[np.uint64(n * _STRIP + i)] = line[i]
        half, step = size // 2, 1  # outputs step, 3 step, 5 step ... come from `half` differences
        while half:
            for n in range(half):
                near, far = n * _STRIP, (2 * half - 1 - n) * _STRIP
                for i in range(lanes):
                    a, b = sums[np.uint64(near + i)], sums[np.uint64(far + i)]
                    sums[np.uint64(near + i)] = a + b
                    differences[np.uint64(near + i)] = a - b
            for k in range(step, size, 2 * step):
                out = y[k * y_step + start : k * y_step + start + lanes]
                if half < 4:
                    out[:] = 0
                    for n in range(half):
                        for i in range(lanes):
                            out[i] += matrix[k, n] * differences[np.uint64(n * _STRIP + i)]
                for n in range(0, half // 4 * 4, 4):  # four at once, as most time goes into reading and writing
                    d = differences[n * _STRIP : (n + 4) * _STRIP]
                    w0, w1, w2, w3 = matrix[k, n], matrix[k, n + 1], matrix[k, n + 2], matrix[k, n + 3]
                    for i in range(lanes):
                        total = (w0 * d[np.uint64(i)] + w1 * d[np.uint64(_STRIP + i)]) + (
                            w2 * d[np.uint64(2 * _STRIP + i)] + w3 * d[np.uint64(3 * _STRIP + i)]
                        )
                        out[i] = total if n == 0 else out[i] + total
            half, step = half // 2, 2 * step
        out = y[start : start + lanes]
        for i in range(lanes):
            out[i] = matrix[0, 0] * sums[np.uint64(i)]


@compiled
def _integer_pass(x: np.ndarray, x_step: int, y: np.ndarray, y_step: int, count: int, shift: int) -> None:
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
def _inverse_integer_pass(x: np.ndarray, x_step: int, y: np.ndarray, y_step: int, count: int, shift: int) -> None:
    """Transforms eight rows of frequencies to eight rows of rounded samples, by the transposed
    matrix. Arguments are those of `_integer_pass`, but int64: a sampled list may go beyond 32 bits
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
