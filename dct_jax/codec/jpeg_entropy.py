"""The entropy-coded data of a JPEG file (ITU-T T.81, annexes F and G): Huffman codes -> quantised
coefficients.

One scan at a time is decoded into arrays of coefficients: all of them in a baseline file, in a
progressive file a band of frequencies, or one more bit of it. Damage is an error here, where
libjpeg would warn and go on with a grey picture.

The bit reader's state is a tuple (place, buffer, count, missing): the next byte, the bits that were
read and not yet used (in the low `count` bits of the buffer), and how many of them were made up, as
zeros, after the end of the data. A scan that uses made-up bits has too few.
"""

from typing import Any

import numpy as np

from dct_jax.codec.compile import compiled

_LOOKUP_BITS = 9
# The parts of a decoding table, and where they begin:
_SHORT = 0  # for every 9 next bits, length << 8 | symbol of the code that they begin with; 0 if it is longer
_LIMITS = 1 << _LOOKUP_BITS  # for each length 1..16, the first code after those of that length, left-justified to 16 bits
_SHIFTS = _LIMITS + 16  # for each length, what to add to a code for the index of its symbol
_SYMBOLS = _SHIFTS + 16  # the symbols, in the order of their codes
_VALUES = _SYMBOLS + 256  # as the first part, but with the coefficient's bits: value << 16 | zeros before it << 8 | length
TABLE_LENGTH = _VALUES + (1 << _LOOKUP_BITS)

OK, TRUNCATED, BAD_CODE, BAD_RUN, BAD_VALUE, BAD_RESTART, LEFT_OVER = range(7)
FAULTS = {
    TRUNCATED: "the data of a scan end early",
    BAD_CODE: "a Huffman code is not in its table",
    BAD_RUN: "a run of coefficients leaves its block",
    BAD_VALUE: "a coefficient is out of range",
    BAD_RESTART: "a restart marker is missing",
    LEFT_OVER: "the data of a scan go on after its last block, so bits of it have changed; --no-strict (strict=False) reads it",
}


def need(holds: bool, otherwise: str) -> None:
    """Raises ValueError if a file is not as it must be."""
    if not holds:
        raise ValueError(f"this JPEG file is damaged: {otherwise}")


@compiled
def _signed_value(bits: int, size: int) -> int:
    """Returns the value of `size` bits: those that begin with 0 are negative."""
    return bits if bits >= 1 << (size - 1) else bits - (1 << size) + 1


@compiled
def decoding_table(counts: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Returns the decoding table of a Huffman code in JPEG's canonical form.

    Args:
        counts: int32 [16], how many codes of each length 1..16 there are.
        symbols: int32, the symbols in the order of their codes.

    Returns:
        int32 [TABLE_LENGTH], or [0] if there are more codes than bits allow.
    """
    table = np.zeros(TABLE_LENGTH, np.int32)
    code, index, prefixes = 0, 0, 1 << _LOOKUP_BITS
    for length in range(1, 17):
        table[_SHIFTS + length - 1] = index - code
        for _ in range(counts[length - 1]):
            table[_SYMBOLS + index] = symbols[index]
            unused = _LOOKUP_BITS - length
            if unused >= 0 and (code + 1) << unused <= prefixes:
                zeros, size = symbols[index] >> 4, symbols[index] & 15
                for i in range(1 << unused):
                    prefix = code << unused | i
                    table[_SHORT + prefix] = length << 8 | symbols[index]
                    if 0 < size <= unused:
                        value = _signed_value(i >> (unused - size), size)
                        table[_VALUES + prefix] = value << 16 | zeros << 8 | (length + size)
            code += 1
            index += 1
        if code > 1 << length:
            return np.zeros(0, np.int32)
        table[_LIMITS + length - 1] = code << (16 - length)
        code <<= 1
    return table


@compiled
def _fill(data: np.ndarray, place: int, buffer: np.uint64, count: int, missing: int) -> tuple[int, np.uint64, int, int]:
    """Reads until there are more than 48 bits, if there are fewer than 32: a code and the bits
    after it take up to 31. The zero byte after 0xff is left out, and so are fill bytes, more of
    0xff before it; a marker ends the data."""
    if count >= 32:
        return place, buffer, count, missing
    while count <= 48:
        byte = np.uint64(0)
        if place < len(data) and data[np.uint64(place)] != 0xFF:
            byte = np.uint64(data[np.uint64(place)])
            place += 1
        else:
            while place + 1 < len(data) and data[place + 1] == 0xFF:
                place += 1  # and stays there if a marker follows, so that no run of fill bytes is walked through twice
            if place + 1 < len(data) and data[place + 1] == 0:
                byte = np.uint64(0xFF)
                place += 2
            else:
                missing += 8
        buffer = buffer << np.uint64(8) | byte
        count += 8
    return place, buffer, count, missing


@compiled
def _peek(buffer: np.uint64, count: int, bits: int) -> Any:  # int64
    return np.int64((buffer >> np.uint64(count - bits)) & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1)))


@compiled
def _symbol(tables: np.ndarray, base: int, buffer: np.uint64, count: int) -> Any:  # int64
    """Returns length << 8 | symbol of the next code, by the table that begins at `base`, or 0."""
    found = np.int64(tables[np.uint64(base + _SHORT + _peek(buffer, count, _LOOKUP_BITS))])
    if found:
        return found
    bits = _peek(buffer, count, 16)
    for length in range(_LOOKUP_BITS + 1, 17):
        if bits < tables[base + _LIMITS + length - 1]:
            index = (bits >> (16 - length)) + tables[base + _SHIFTS + length - 1]
            return length << 8 | np.int64(tables[base + _SYMBOLS + index])
    return 0


@compiled
def decode_scan(
    data: np.ndarray,
    start: int,
    coefficients: np.ndarray,
    offsets: np.ndarray,
    grids: np.ndarray,
    factors: np.ndarray,
    tables: np.ndarray,
    numbers: np.ndarray,
    raster: np.ndarray,
    band: tuple[int, int, int, int],
    progressive: bool,
    restart: int,
) -> tuple[int, int]:
    """Decodes one scan.

    Args:
        data: uint8, the file.
        start: where the scan's data begin.
        coefficients: int16, all components' arrays [8, 8, h', w'] one after the other, and 64 more
            for blocks beyond the grid: whole MCUs are coded; written.
        offsets: int64 [n], where those of the scan's components begin.
        grids: int64 [n, 2], their (h', w').
        factors: int64 [n, 2], their sampling factors; (1, 1) if n = 1.
        tables: int32 [8 * TABLE_LENGTH], four decoding tables of DC, then four of AC.
        numbers: int64 [2, n], the numbers of the components' tables of DC and of AC, 0..3.
        raster: int32 [64], the raster index of each zigzag index.
        band: the first and last zigzag index, and successive approximation's bits before and after.
        progressive: whether the frame is.
        restart: MCUs between restarts, or 0.

    Returns:
        Where the data end, and a fault (see FAULTS) or OK.
    """
    first, last, high, low = band
    number = len(offsets)
    place, buffer, count, missing = start, np.uint64(0), 0, 0
    mcu_rows = (grids[0, 0] + factors[0, 0] - 1) // factors[0, 0]
    mcu_cols = (grids[0, 1] + factors[0, 1] - 1) // factors[0, 1]
    predicted = np.zeros(number, np.int64)
    smallest = -(2048 >> low), -(1023 >> low)  # of DC and AC
    run = 0  # blocks that have no new coefficients in this band, the end-of-band run
    expected = 0  # the number of the next restart marker
    mcu_row, mcu_col = 0, -1
    for mcu in range(mcu_rows * mcu_cols):
        mcu_col += 1
        if mcu_col == mcu_cols:
            mcu_row, mcu_col = mcu_row + 1, 0
        if restart and mcu and mcu % restart == 0:
            if count - missing >= 8 or count < missing:
                return place, BAD_RESTART if count >= missing else TRUNCATED
            while place + 1 < len(data) and data[place] == 0xFF and data[place + 1] == 0xFF:
                place += 1
            if place + 1 >= len(data) or data[place] != 0xFF or data[place + 1] != 0xD0 + expected:
                return place, BAD_RESTART
            place, buffer, count, missing = place + 2, np.uint64(0), 0, 0
            predicted[:] = 0
            run, expected = 0, (expected + 1) % 8
        for i in range(number):
            for v in range(factors[i, 0]):
                for h in range(factors[i, 1]):
                    row = mcu_row * factors[i, 0] + v
                    col = mcu_col * factors[i, 1] + h
                    inside = row < grids[i, 0] and col < grids[i, 1]
                    step = grids[i, 0] * grids[i, 1] if inside else 1
                    origin = offsets[i] + row * grids[i, 1] + col if inside else len(coefficients) - 64
                    if first == 0 and high == 0:
                        place, buffer, count, missing = _fill(data, place, buffer, count, missing)
                        found = _symbol(tables, numbers[0, i] * TABLE_LENGTH, buffer, count)
                        if found == 0:
                            return place, BAD_CODE
                        count -= found >> 8
                        size = found & 255
                        if size > 11:
                            return place, BAD_VALUE
                        if size:
                            predicted[i] += _signed_value(_peek(buffer, count, size), size)
                            count -= size
                        if predicted[i] < smallest[0] or predicted[i] >= -smallest[0]:
                            return place, BAD_VALUE
                        coefficients[origin] = predicted[i] << low
                    elif first == 0:
                        place, buffer, count, missing = _fill(data, place, buffer, count, missing)
                        count -= 1
                        if _peek(buffer, count + 1, 1):
                            coefficients[origin] |= np.int16(1 << low)
                    # Not a function of its own, as the reader's state would leave the registers:
                    # that took 40 % longer.
                    if last > 0 and high == 0:
                        k, base = max(first, 1), (4 + numbers[1, i]) * TABLE_LENGTH
                        if run > 0:
                            run -= 1
                            k = last + 1
                        while k <= last:
                            place, buffer, count, missing = _fill(data, place, buffer, count, missing)
                            short: Any = np.int64(tables[np.uint64(base + _VALUES + _peek(buffer, count, _LOOKUP_BITS))])
                            if short and low == 0:
                                count -= short & 255
                                k += (short >> 8) & 15
                                if k > last:
                                    return place, BAD_RUN
                                coefficients[np.uint64(origin + np.int64(raster[np.uint64(k)]) * step)] = short >> 16
                                k += 1
                                continue
                            found = _symbol(tables, base, buffer, count)
                            if found == 0:
                                return place, BAD_CODE
                            count -= found >> 8
                            zeros, size = (found >> 4) & 15, found & 15
                            if size:
                                k += zeros
                                if k > last:
                                    return place, BAD_RUN
                                value = _signed_value(_peek(buffer, count, size), size)
                                count -= size
                                if value < smallest[1] or value > -smallest[1]:
                                    return place, BAD_VALUE
                                coefficients[np.uint64(origin + np.int64(raster[np.uint64(k)]) * step)] = value << low
                                k += 1
                            elif zeros == 15:
                                k += 16
                            else:
                                if progressive and zeros:
                                    run = (1 << zeros) - 1 + _peek(buffer, count, zeros)
                                    count -= zeros
                                break
                    elif last > 0:
                        place, buffer, count, missing, run, fault = _refine(
                            data,
                            place,
                            buffer,
                            count,
                            missing,
                            run,
                            tables,
                            (4 + numbers[1, i]) * TABLE_LENGTH,
                            coefficients,
                            origin,
                            step,
                            raster,
                            first,
                            last,
                            low,
                        )
                        if fault:
                            return place, fault
        if count < missing:
            return place, TRUNCATED
    while place + 1 < len(data) and data[place] == 0xFF and data[place + 1] == 0xFF:
        place += 1
    ended = place + 1 >= len(data) or (data[place] == 0xFF and data[place + 1] != 0)
    return place, OK if ended and count - missing < 8 else LEFT_OVER


@compiled
def _refine(
    data: np.ndarray,
    place: int,
    buffer: np.uint64,
    count: int,
    missing: int,
    run: int,
    tables: np.ndarray,
    base: int,
    out: np.ndarray,
    origin: int,
    step: int,
    raster: np.ndarray,
    first: int,
    last: int,
    low: int,
) -> tuple[int, np.uint64, int, int, int, int]:
    """Decodes one more bit of a block's band (ITU-T T.81, G.1.2.3): coefficients that are not 0 yet
    get a correction bit each, and between them new ones appear, with a magnitude of one bit."""
    bit = np.int16(1 << low)
    k = first
    while k <= last:
        new, zeros = np.int16(0), 64  # in an end-of-band run no zero ends the walk through the block
        if run == 0:
            place, buffer, count, missing = _fill(data, place, buffer, count, missing)
            found = _symbol(tables, base, buffer, count)
            if found == 0:
                return place, buffer, count, missing, run, BAD_CODE
            count -= found >> 8
            zeros, size = (found >> 4) & 15, found & 15
            if size > 1:
                return place, buffer, count, missing, run, BAD_VALUE
            if size:
                new = bit if _peek(buffer, count, 1) else -bit
                count -= 1
            elif zeros < 15:
                run = 1 << zeros
                if zeros:
                    run += _peek(buffer, count, zeros)
                    count -= zeros
                zeros = 64
        while k <= last:
            here = origin + np.int64(raster[k]) * step
            if out[here] != 0:
                place, buffer, count, missing = _fill(data, place, buffer, count, missing)
                count -= 1
                if _peek(buffer, count + 1, 1) and (out[here] & bit) == 0:
                    out[here] += bit if out[here] > 0 else -bit
            elif zeros == 0:
                if new:
                    out[here] = new
                k += 1
                break
            else:
                zeros -= 1
            k += 1
        else:
            if new:
                return place, buffer, count, missing, run, BAD_RUN
    if run > 0:
        run -= 1
    return place, buffer, count, missing, run, OK
