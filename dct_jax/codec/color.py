"""RGB <-> planes of Y, Cb and Cr, in the integers that JPEG files are made of.

The formulas are JFIF's (full range). Their rounding, the shrinking of chroma and its enlarging
("fancy upsampling", a triangle filter) are libjpeg's, so that for B = 8 our coefficients and our
pixels are those of libjpeg.
"""

from typing import Literal, get_args

import numpy as np

from dct_jax.codec.compile import compiled

ChromaSubsampling = Literal["4:2:0", "4:2:2", "4:4:0", "4:4:4", "4:0:0"]
CHROMA_SUBSAMPLINGS: tuple[ChromaSubsampling, ...] = get_args(ChromaSubsampling)

_STEPS = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:4:4": (1, 1)}

# JFIF's weights in units of 2^-16, as libjpeg has them. Half a unit rounds; for chroma libjpeg
# takes one less, so that 255.5 becomes 255.
_HALF = 2**15
_CENTRE = 2**23 + 2**15 - 1


def component_steps(subsampling: ChromaSubsampling) -> tuple[tuple[int, int], ...]:
    """Returns rows and columns of pixels to a sample of each component; "4:0:0" has luma alone."""
    if subsampling == "4:0:0":
        return ((1, 1),)
    return ((1, 1), _STEPS[subsampling], _STEPS[subsampling])


@compiled
def rgb_to_planes(images: np.ndarray, rows: int, cols: int, luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> None:
    """Converts images and shrinks their chroma; planes repeat the edges of smaller images.

    Args:
        images: uint8 [N, H, W, 3].
        rows, cols: pixels that a chroma sample stands for.
        luma: uint8 [N, h * B, w * B], written: Y.
        blue, red: uint8 [N, h' * B, w' * B], written: Cb and Cr; not if they have no rows (4:0:0).
    """
    height, width = images.shape[1], images.shape[2]
    together = max(2, 4096 // width // 2 * 2)  # rows that are converted at once: long inner loops, but in the cache
    room = together * width
    r, g, b = np.empty(room, np.uint8), np.empty(room, np.uint8), np.empty(room, np.uint8)
    y, cb, cr = np.empty(room, np.uint8), np.empty(room, np.uint8), np.empty(room, np.uint8)
    flat, whole = luma.reshape(-1), luma.shape[2] == width  # without an edge to extend, luma needs no second step
    for n in range(len(images)):
        for top in range(0, height, together):
            count = min(together, height - top)
            pixels = images[n, top : top + count].reshape(-1)
            if whole:
                _convert(pixels, r, g, b, flat, (n * luma.shape[1] + top) * width, cb, cr)
            else:
                _convert(pixels, r, g, b, y, 0, cb, cr)
                for i in range(count):
                    _extend(y, i * width, width, luma[n], top + i)
            if blue.shape[1]:
                for i in range(0, count, rows):
                    lower = min(i + rows - 1, count - 1) * width
                    _shrink(cb, i * width, lower, width, rows, cols, blue[n], (top + i) // rows)
                    _shrink(cr, i * width, lower, width, rows, cols, red[n], (top + i) // rows)
        # libjpeg extends the right edge before chroma is shrunk, and the lower edge afterwards.
        for i in range(height, luma.shape[1]):
            luma[n, i] = luma[n, i - 1]
        for i in range((height + rows - 1) // rows, blue.shape[1]):
            blue[n, i], red[n, i] = blue[n, i - 1], red[n, i - 1]


@compiled
def _extend(y: np.ndarray, start: int, width: int, plane: np.ndarray, row: int) -> None:
    """Copies a row of pixels into a plane and repeats the last one."""
    for j in range(width):
        plane[row, j] = y[np.uint64(start + j)]
    for j in range(width, plane.shape[1]):
        plane[row, j] = y[start + width - 1]


@compiled
def _convert(
    pixels: np.ndarray,
    r: np.ndarray,
    g: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    start: int,
    cb: np.ndarray,
    cr: np.ndarray,
) -> None:
    """uint8 [n * 3] -> uint8 [n] each, Y from y[start] on. Separate loops and literal weights make
    better machine code."""
    count = len(pixels) // 3
    for i in range(count):
        r[i] = pixels[3 * i]
        g[i] = pixels[3 * i + 1]
        b[i] = pixels[3 * i + 2]
    for i in range(count):
        y[np.uint64(start + i)] = (
            19595 * np.int32(r[i]) + 38470 * np.int32(g[i]) + 7471 * np.int32(b[i]) + np.int32(_HALF)
        ) >> 16
    for i in range(count):
        cb[i] = (-11059 * np.int32(r[i]) - 21709 * np.int32(g[i]) + 32768 * np.int32(b[i]) + np.int32(_CENTRE)) >> 16
    for i in range(count):
        cr[i] = (32768 * np.int32(r[i]) - 27439 * np.int32(g[i]) - 5329 * np.int32(b[i]) + np.int32(_CENTRE)) >> 16


@compiled
def _shrink(x: np.ndarray, upper: int, lower: int, width: int, rows: int, cols: int, plane: np.ndarray, row: int) -> None:
    """Writes a row of means of boxes, of the rows that begin at x[upper] and x[lower]. Where boxes
    are two wide, halves are rounded down and up by turns, as in libjpeg, which keeps the mean;
    where they are two high only, up."""
    both, odd, bits = np.uint16(rows - 1), np.uint16(1), np.uint16(rows)  # without a lower row its weight is 0
    inside = min(plane.shape[1], width // cols)
    if cols == 1:
        for j in range(inside):
            above, below = np.uint16(x[np.uint64(upper + j)]), np.uint16(x[np.uint64(lower + j)])
            plane[row, j] = (above + below * both + both) >> both
    else:
        for j in range(inside):
            above = np.uint16(x[np.uint64(upper + 2 * j)]) + np.uint16(x[np.uint64(upper + 2 * j + 1)])
            below = np.uint16(x[np.uint64(lower + 2 * j)]) + np.uint16(x[np.uint64(lower + 2 * j + 1)])
            plane[row, j] = (above + below * both + both + (np.uint16(j) & odd)) >> bits
    for j in range(inside, plane.shape[1]):  # boxes that reach beyond the edge, which repeats
        first, last = min(cols * j, width - 1), width - 1
        above = np.uint16(x[upper + first]) + np.uint16(x[upper + last])
        below = np.uint16(x[lower + first]) + np.uint16(x[lower + last])
        box = above + below * both
        plane[row, j] = ((box >> 1) + both) >> both if cols == 1 else (box + both + (np.uint16(j) & odd)) >> bits


@compiled
def planes_to_rgb(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, rows: int, cols: int, rgb: np.ndarray) -> None:
    """Enlarges chroma and converts to RGB.

    Args:
        luma: uint8, at least [H, W].
        blue, red: uint8, at least [ceil(H / rows), ceil(W / cols)]; without rows the image is grey.
        rows, cols: pixels that a chroma sample stands for.
        rgb: uint8 [H, W, 3], written.
    """
    height, width = rgb.shape[0], rgb.shape[1]
    chroma_height, chroma_width = (height + rows - 1) // rows, (width + cols - 1) // cols
    line = np.full((2, chroma_width * cols), 128, np.uint8)  # Cb and Cr of one row
    for i in range(height):
        if len(blue):
            _enlarge(blue[:chroma_height, :chroma_width], i, rows, cols, line[0])
            _enlarge(red[:chroma_height, :chroma_width], i, rows, cols, line[1])
        _mix(luma[i, :width], line[0], line[1], rgb[i].reshape(-1))


@compiled
def _mix(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, pixels: np.ndarray) -> None:
    """uint8 [W] each -> uint8 [W * 3]."""
    zero, top, centre, half = np.int32(0), np.int32(255), np.int32(128), np.int32(_HALF)
    for x in range(len(luma)):
        y, cb, cr = np.int32(luma[x]), np.int32(blue[x]) - centre, np.int32(red[x]) - centre
        r = y + ((np.int32(91881) * cr + half) >> np.int32(16))
        g = y + ((np.int32(-22554) * cb - np.int32(46802) * cr + half) >> np.int32(16))
        b = y + ((np.int32(116130) * cb + half) >> np.int32(16))
        pixels[3 * x] = min(max(r, zero), top)
        pixels[3 * x + 1] = min(max(g, zero), top)
        pixels[3 * x + 2] = min(max(b, zero), top)


@compiled
def _enlarge(plane: np.ndarray, i: int, rows: int, cols: int, line: np.ndarray) -> None:
    """Writes row i of the enlarged plane. Every new sample is 3/4 of the nearer and 1/4 of the
    farther neighbour in each direction that is enlarged; beyond an edge the last sample repeats.
    Planes up to two wide are repeated instead, as in libjpeg."""
    height, width = plane.shape
    near = i // rows
    if cols == 2 and width <= 2:
        for j in range(width):
            line[2 * j] = line[2 * j + 1] = plane[near, j]
        return
    far = min(max(near - 1 + 2 * (i & 1), 0), height - 1)
    column = np.empty(width, np.int32)  # in quarters where rows are doubled
    nearer, farther = plane[near], plane[far]
    own, other = (np.int32(3), np.int32(1)) if rows == 2 else (np.int32(1), np.int32(0))
    for j in range(width):
        column[j] = own * np.int32(nearer[j]) + other * np.int32(farther[j])
    if cols == 1:
        for j in range(width):
            line[j] = (column[j] + (1 + (i & 1)) * (rows - 1)) >> (2 * (rows - 1))
        return
    down, up, shift = np.int32(8 if rows == 2 else 1), np.int32(7 if rows == 2 else 2), np.int32(4 if rows == 2 else 2)
    for edge in (0, width - 1):  # inside, the loop has no condition, so several columns are computed at once
        left, right = column[max(edge - 1, 0)], column[min(edge + 1, width - 1)]
        line[2 * edge] = (3 * column[edge] + left + down) >> shift
        line[2 * edge + 1] = (3 * column[edge] + right + up) >> shift
    before, here, after = column[: width - 2], column[1 : width - 1], column[2:]
    pairs = line[2 : 2 * width - 2]
    for j in range(width - 2):
        three = np.int32(3) * here[j]
        pairs[2 * j] = (three + before[j] + down) >> shift
        pairs[2 * j + 1] = (three + after[j] + up) >> shift
