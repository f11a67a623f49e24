"""Arrays of coefficients <-> triples, and the check of triples that come from elsewhere.

A component's coefficients are int16 [B, B, h', w']: vertical frequency, horizontal frequency,
block. So a channel is one contiguous plane, and a walk through the planes in the channel order
meets the triples in the order of the list.
"""

from typing import Any, NamedTuple

import numpy as np

from dct_jax.codec.compile import compiled

_RUN = 16  # coefficients that are looked at together: most runs are all zero


@compiled
def count_nonzero(flat: np.ndarray) -> int:
    """Returns the number of triples of a component."""
    count = 0
    for i in range(len(flat)):
        count += flat[i] != 0
    return count


@compiled
def largest_magnitude(values: np.ndarray) -> int:
    """Returns the largest |value|, or 0 if there is none."""
    largest: Any = 0  # int64
    for i in range(len(values)):
        largest = max(largest, abs(np.int64(values[i])))
    return largest


class Components(NamedTuple):
    """Coefficients, or samples, of Y, Cb and Cr; chroma is empty where there is luma alone."""

    luma: np.ndarray
    blue: np.ndarray
    red: np.ndarray


@compiled
def gather(
    components: Components, raster: np.ndarray, channels_in_order: np.ndarray, rows: int, cols: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients -> the channels, positions and values of N lists, one after the other.

    Args:
        components: int16 [B, B, N, h', w'] each.
        raster: int32 [B^2], `zigzag`: the raster index of each zigzag index.
        channels_in_order: int32 [C], the channels as the list runs through them.
        rows, cols: the blocks of luma that a block of chroma spans.

    Returns:
        int32 [L] each, L the length of all lists together, and int64 [N + 1], where each begins.
    """
    luma, blue, red = components
    number, height, width = luma.shape[2:]
    of_component, frequencies = channels_in_order // len(raster), raster[channels_in_order % len(raster)]
    places = _positions(height, width, 1, 1, width)
    chroma_places = _positions(blue.shape[3], blue.shape[4], rows, cols, width)
    y, cb, cr = luma.reshape(-1), blue.reshape(-1), red.reshape(-1)
    # What is written after the last triple does not count but needs a place.
    room = count_nonzero(y) + count_nonzero(cb) + count_nonzero(cr) + _RUN
    channels, positions, values = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    starts = np.zeros(number + 1, np.int64)
    end = 0
    for n in range(number):
        for rank in range(len(channels_in_order)):
            first, plane = end, frequencies[rank] * number + n
            if of_component[rank] == 0:
                end = _append(y, plane * len(places), places, positions, values, end)
            elif of_component[rank] == 1:
                end = _append(cb, plane * len(chroma_places), chroma_places, positions, values, end)
            else:
                end = _append(cr, plane * len(chroma_places), chroma_places, positions, values, end)
            for i in range(first, end, _RUN):  # whole runs are filled sooner; what is too much is overwritten
                for j in range(i, i + _RUN):
                    channels[j] = channels_in_order[rank]
        starts[n + 1] = end
    return channels[:end], positions[:end], values[:end], starts


@compiled
def _positions(height: int, width: int, rows: int, cols: int, grid_width: int) -> np.ndarray:
    """int32 [h' * w']: the position on the luma grid of each block of a component."""
    places = np.empty(height * width, np.int32)
    for i in range(height):
        for j in range(width):
            places[i * width + j] = i * rows * grid_width + j * cols
    return places


@compiled
def _append(flat: np.ndarray, offset: int, places: np.ndarray, positions: np.ndarray, values: np.ndarray, end: int) -> int:
    """Writes the non-zero coefficients of one channel, flat[offset : offset + h' * w'], from index
    `end` on; returns the new end."""
    whole_runs = len(places) - len(places) % _RUN
    for start in range(0, whole_runs, _RUN):
        some = np.int16(0)
        for j in range(start, start + _RUN):
            some |= flat[np.uint64(offset + j)]  # unsigned: no check for indices from the end
        if some == 0:
            continue
        for j in range(start, start + _RUN):  # without a branch, which would be guessed wrong too often
            value = flat[np.uint64(offset + j)]
            positions[end], values[end] = places[j], value
            end += value != 0
    for j in range(whole_runs, len(places)):
        value = flat[np.uint64(offset + j)]
        positions[end], values[end] = places[j], value
        end += value != 0
    return end


@compiled
def scatter_coefficients(
    channels: np.ndarray,
    positions: np.ndarray,
    values: np.ndarray,
    raster: np.ndarray,
    rows: int,
    cols: int,
    components: Components,
) -> None:
    """Writes valid triples into the coefficients, int16 [B, B, h', w'] each, which must be zeros:
    the inverse of `gather`."""
    luma, blue, red = components
    area, height, width = len(raster), luma.shape[2], luma.shape[3]
    blocks = np.empty(height * width, np.int32)  # of chroma, by position
    for block, position in enumerate(_positions(blue.shape[2], blue.shape[3], rows, cols, width)):
        blocks[position] = block
    y, cb, cr = luma.reshape(-1), blue.reshape(-1), red.reshape(-1)
    for i in range(len(channels)):
        component, frequency = channels[i] // area, raster[channels[i] % area]
        if component == 0:
            y[np.int64(frequency) * len(blocks) + positions[i]] = values[i]
        else:
            plane = cb if component == 1 else cr
            plane[np.int64(frequency) * blue.shape[2] * blue.shape[3] + blocks[positions[i]]] = values[i]


@compiled
def first_fault(
    channels: np.ndarray,
    positions: np.ndarray,
    values: np.ndarray,
    rank: np.ndarray,
    luma_channels: int,
    grid: tuple[int, int],
    steps: tuple[int, int],
    largest_value: int,
) -> tuple[int, int]:
    """Returns the index of the first triple that a vocabulary does not allow, and the number of its
    fault, from 0: the channel, the position, a channel that has no coefficient at this position,
    the value, the order. (-1, -1) if there is none.

    Args:
        channels, positions, values: integers [L].
        rank: int32 [C], the place of each channel in the list's order.
        luma_channels: how many of the channels are luma.
        grid: the luma grid.
        steps: the rows and columns of blocks of luma that a block of chroma spans.
        largest_value: values are up to this in magnitude.
    """
    last, num_positions = np.int64(-1), grid[0] * grid[1]
    for i in range(len(channels)):
        channel, position, value = channels[i], positions[i], values[i]
        if channel < 0 or channel >= len(rank):
            return i, 0
        if position < 0 or position >= num_positions:
            return i, 1
        if channel >= luma_channels and (position // grid[1] % steps[0] or position % grid[1] % steps[1]):
            return i, 2
        if value == 0 or value < -largest_value or value > largest_value:
            return i, 3
        place = np.int64(rank[channel]) * num_positions + position
        if place <= last:
            return i, 4
        last = place
    return -1, -1
