"""Blocks of other sizes than 8 x 8 <-> quantised coefficients: the orthonormal DCT in float64."""

from collections.abc import Callable

import numpy as np

from dct_jax.codec.compile import compiled

_Eight = tuple[float, float, float, float, float, float, float, float]
_LANES = 128
"""Blocks that are transformed at once, the columns of a table: loops are long, and what they need
stays in the cache. As a constant it gives faster code."""
_PADDING = 8
"""Columns between the parts of a table: at a distance of a power of two they would share a few
places of the cache."""


@compiled
def forward(plane: np.ndarray, table: np.ndarray, basis: np.ndarray, coefficients: np.ndarray) -> None:
    """Does `transform.forward` for B = 1, 2, 4, 16 and 32; `basis` is float64 [B, B], the DCT's
    matrix."""
    size, (height, width) = len(table), coefficients.shape[2:]
    pitch = size * _LANES + _PADDING
    samples, columns = np.zeros(size * _LANES, np.float64), np.empty(size * _LANES, np.float64)
    rows = np.empty(size * pitch, np.float64)
    sums, differences = np.empty(size * _LANES, np.float64), np.empty(size * _LANES, np.float64)
    line = np.empty(_LANES, np.uint32)
    flat, scales = coefficients.reshape(size, size, height * width), 1 / table
    for first in range(0, height * width, _LANES):
        count = min(_LANES, height * width - first)
        for r in range(size):  # samples [c, block] -> horizontal frequencies [k, r, block]
            _load(plane, r, first, count, size, width, line, samples)
            _forward_pass(basis, samples, rows[r * _LANES :], pitch, sums, differences)
        for k in range(size):  # [r, block] -> vertical frequencies [m, block]
            _forward_pass(basis, rows[k * pitch :], columns, len(columns) // size, sums, differences)
            for m in range(size):
                _quantize(columns[m * _LANES :], scales[m, k], flat[m, k, first : first + count])


@compiled
def inverse(coefficients: np.ndarray, table: np.ndarray, basis: np.ndarray, plane: np.ndarray) -> None:
    """Does `transform.inverse` for B = 1, 2, 4, 16 and 32."""
    size, (height, width) = len(table), coefficients.shape[2:]
    pitch = size * _LANES + _PADDING
    columns, samples = np.zeros(size * _LANES, np.float64), np.empty(size * _LANES, np.float64)
    rows = np.empty(size * pitch, np.float64)
    flat, transposed = coefficients.reshape(size, size, height * width), basis.T[::1]
    for first in range(0, height * width, _LANES):
        count = min(_LANES, height * width - first)
        for k in range(size):  # vertical frequencies [m, block] -> [r, k, block]
            for m in range(size):
                line, divisor = flat[m, k, first : first + count], np.float64(table[m, k])
                for i in range(count):
                    columns[m * _LANES + i] = line[i] * divisor
            _products(transposed, columns, rows[k * _LANES :], pitch)
        for r in range(size):  # horizontal frequencies [k, block] -> samples [c, block]
            _products(transposed, rows[r * pitch :], samples, len(samples) // size)
            _store(samples, r, first, count, size, width, plane)


@compiled
def _load(plane: np.ndarray, row: int, first: int, count: int, size: int, width: int, line: np.ndarray, x: np.ndarray) -> None:
    """Loads one row of samples of each block, level-shifted, to [column in block, block]. `line`,
    uint32 [_LANES], is room."""
    flat, done = plane.reshape(-1), 0
    words = flat[: len(flat) // 4 * 4].view(np.uint32)  # of four samples, the first one in the low bits (little-endian)
    while done < count:  # blocks of one row of blocks lie side by side
        above, left = (first + done) // width, (first + done) % width
        beside = min(width - left, count - done)
        start = ((above * size + row) * width + left) * size
        for c in range(0 if size >= 4 else size):
            for i in range(beside):
                x[np.uint64(c * _LANES + done + i)] = np.int32(flat[np.uint64(start + i * size + c)]) - np.int32(128)
        for c in range(0, size if size >= 4 else 0):
            for i in range(0 if c % 4 else beside):
                line[np.uint64(i)] = words[np.uint64((start + i * size + c) // 4)]
            for i in range(beside):
                sample = (line[np.uint64(i)] >> np.uint32(8 * (c % 4))) & np.uint32(255)
                x[np.uint64(c * _LANES + done + i)] = np.int32(sample) - np.int32(128)
        done += beside


@compiled
def _store(x: np.ndarray, row: int, first: int, count: int, size: int, width: int, plane: np.ndarray) -> None:
    """The inverse of `_load`, rounded, half way up as in libjpeg, and clipped to 0..255."""
    flat, done = plane.reshape(-1), 0
    middle = 128.5 + 1e-9  # halves are common where B = 2: noise must not decide them
    while done < count:
        above, left = (first + done) // width, (first + done) % width
        beside = min(width - left, count - done)
        start = ((above * size + row) * width + left) * size
        for c in range(size):
            source = c * _LANES + done
            for i in range(beside):
                sample = np.floor(x[np.uint64(source + i)] + middle)  # of a sampled list perhaps beyond 32 bits
                flat[np.uint64(start + i * size + c)] = np.int32(min(max(sample, 0.0), 255.0))
        done += beside


@compiled
def _quantize(x: np.ndarray, scale: float, line: np.ndarray) -> None:
    """line = x * scale, rounded half away from zero. Ties are common (a flat block's DC is an
    integer): noise must not decide them."""
    half = 0.5 + 1e-9
    for i in range(len(line)):
        ratio = x[np.uint64(i)] * scale
        line[i] = np.int32(ratio + (half if ratio >= 0 else -half))


def _butterflies(half: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """Returns the function that writes sums and differences of x[n] and x[2 half - 1 - n]. As a
    constant, the number of pairs gives code without a loop over them."""

    @compiled
    def run(x: np.ndarray, sums: np.ndarray, differences: np.ndarray) -> None:
        for n in range(half):
            near, far = n * _LANES, (2 * half - 1 - n) * _LANES
            for i in range(_LANES):
                a, b = x[np.uint64(near + i)], x[np.uint64(far + i)]
                sums[np.uint64(n * _LANES + i)] = a + b
                differences[np.uint64(n * _LANES + i)] = a - b

    return run


_butterflies_of_32, _butterflies_of_16 = _butterflies(16), _butterflies(8)


@compiled
def _forward_pass(
    basis: np.ndarray, x: np.ndarray, y: np.ndarray, pitch: int, sums: np.ndarray, differences: np.ndarray
) -> None:
    """y[k * pitch + i] = sum over n of basis[k, n] * x[n * _LANES + i], i below _LANES, with a
    third of the products where B = 32. The even rows of the matrix are symmetric and the odd ones
    antisymmetric: even rows meet sums, odd rows differences of x[n] and x[B - 1 - n]. The even rows
    are the matrix of half the size, which is folded again. `sums` and `differences` are room."""
    step = 1
    if len(basis) == 32:
        _butterflies_of_32(x, sums, differences)
        _products(basis[1::2], differences, y[pitch:], 2 * pitch)
        x, sums, step = sums, sums[16 * _LANES :], 2
    if len(basis) >= 16:
        _butterflies_of_16(x, sums, differences)
        _products(basis[step :: 2 * step], differences, y[step * pitch :], 2 * step * pitch)
        x, step = sums, 2 * step
    _products(basis[::step], x, y, step * pitch)


@compiled
def _products(matrix: np.ndarray, x: np.ndarray, y: np.ndarray, pitch: int) -> None:
    """y[k * pitch + i] = sum over n of matrix[k, n] * x[n * _LANES + i], i below _LANES; of each
    row as many elements count as there are rows. Four rows and eight columns are taken at once, as
    most time goes into reading and writing.

    Parts of arrays are arguments, in place of offsets, and so are lengths in place of `_LANES`:
    Numba compiles a function again for each constant that it is called with, and for each layout of
    its arrays: every matrix is one with steps."""
    number = len(matrix)
    for k in range(number if number < 8 else 0):
        for n in range(number):
            weight, source, target = matrix[k, n], n * _LANES, k * pitch
            for i in range(_LANES):
                product = weight * x[np.uint64(source + i)]
                y[np.uint64(target + i)] = y[np.uint64(target + i)] + product if n else product
    for k in range(0, number if number >= 8 else 0, 4):
        ya, yb, yc, yd = k * pitch, (k + 1) * pitch, (k + 2) * pitch, (k + 3) * pitch
        for n in range(0, number, 8):
            a, b = _weights(matrix[k], n), _weights(matrix[k + 1], n)
            c, d = _weights(matrix[k + 2], n), _weights(matrix[k + 3], n)
            source = n * _LANES
            if n == 0:
                for i in range(_LANES):
                    column = _column(x, source + i)
                    y[np.uint64(ya + i)], y[np.uint64(yb + i)] = _dot(a, column), _dot(b, column)
                    y[np.uint64(yc + i)], y[np.uint64(yd + i)] = _dot(c, column), _dot(d, column)
            else:
                for i in range(_LANES):
                    column = _column(x, source + i)
                    y[np.uint64(ya + i)] += _dot(a, column)
                    y[np.uint64(yb + i)] += _dot(b, column)
                    y[np.uint64(yc + i)] += _dot(c, column)
                    y[np.uint64(yd + i)] += _dot(d, column)


@compiled
def _weights(row: np.ndarray, n: int) -> _Eight:
    """Returns eight elements of a row of the matrix, from the n-th on."""
    return row[n], row[n + 1], row[n + 2], row[n + 3], row[n + 4], row[n + 5], row[n + 6], row[n + 7]


@compiled
def _column(x: np.ndarray, i: int) -> _Eight:
    """Returns eight elements of a column of the table: x[i], x[i + _LANES] and so on."""
    x0, x1, x2 = x[np.uint64(i)], x[np.uint64(i + _LANES)], x[np.uint64(i + 2 * _LANES)]
    x3, x4, x5 = x[np.uint64(i + 3 * _LANES)], x[np.uint64(i + 4 * _LANES)], x[np.uint64(i + 5 * _LANES)]
    return x0, x1, x2, x3, x4, x5, x[np.uint64(i + 6 * _LANES)], x[np.uint64(i + 7 * _LANES)]


@compiled
def _dot(a: _Eight, x: _Eight) -> float:
    """Returns the sum of the products."""
    left = (a[0] * x[0] + a[1] * x[1]) + (a[2] * x[2] + a[3] * x[3])
    return left + ((a[4] * x[4] + a[5] * x[5]) + (a[6] * x[6] + a[7] * x[7]))
