"""Attention of a sampler's step: few queries a head, which read all keys and values of a list once.

Every head of every list is computed by itself, in an order that its own length alone determines:
its result has the same bits whatever else is in the batch, however many rows there are, and however
many threads.

Axes: B batch, H heads, S queries, T keys, K head size.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.kernels.bridge import address, register, size
from dct_jax.kernels.compile import compiled, compiled_sums
from dct_jax.kernels.memory import allocate, bits_as_float32, float32_at, free, int32_at, uint8_at, uint16_at, widen

_WINDOW, _MEMORY = "dct_jax_attend_window", "dct_jax_attend_memory"


@compiled
def _exp(x: np.float32) -> np.float32:
    """e^x of a float32 number, at most 0, to 2 units in the last place; with operations that become
    vectors, unlike the library's (range reduction and polynomial: Moshier, Cephes)."""
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * r * r + r + np.float32(1.0)
    return y * bits_as_float32(np.uint32(np.int32(n) + np.int32(127)) << np.uint32(23))


@compiled_sums
def _scores(query: int, keys: Any, size: int, length: int, columns: int, scores: Any) -> None:
    """Writes q K / sqrt(K) of the first columns: float32 [K], [K, T] -> float32 [columns]."""
    q, scale = float32_at(query), np.float32(1.0) / np.sqrt(np.float32(size))
    for t in range(columns):
        scores[t] = np.float32(0.0)
    for k in range(0, size - size % 4, 4):  # four rows of keys at a time, as the scores are read and written for each
        q0, q1, q2, q3 = q[k] * scale, q[k + 1] * scale, q[k + 2] * scale, q[k + 3] * scale
        row0, row1, row2, row3 = k * length, (k + 1) * length, (k + 2) * length, (k + 3) * length
        for t in range(columns):
            scores[t] += (q0 * widen(keys[row0 + t]) + q1 * widen(keys[row1 + t])) + (
                q2 * widen(keys[row2 + t]) + q3 * widen(keys[row3 + t])
            )
    for k in range(size - size % 4, size):
        q0, row0 = q[k] * scale, k * length
        for t in range(columns):
            scores[t] += q0 * widen(keys[row0 + t])


@compiled_sums
def _mix(scores: Any, values: Any, size: int, length: int, columns: int, out: int) -> None:
    """Writes softmax(scores) V^T of the first columns: float32 [columns], [K, T] -> float32 [K].
    The scores are lost."""
    o, largest, total = float32_at(out), scores[0], np.float32(0.0)
    for t in range(1, columns):
        largest = max(largest, scores[t])
    for t in range(columns):
        scores[t] = _exp(scores[t] - largest)
    for t in range(columns):
        total += scores[t]
    inverse = np.float32(1.0) / total
    for k in range(0, size - size % 4, 4):
        row0, row1, row2, row3 = k * length, (k + 1) * length, (k + 2) * length, (k + 3) * length
        sum0 = sum1 = sum2 = sum3 = np.float32(0.0)
        for t in range(columns):
            sum0 += scores[t] * widen(values[row0 + t])
            sum1 += scores[t] * widen(values[row1 + t])
            sum2 += scores[t] * widen(values[row2 + t])
            sum3 += scores[t] * widen(values[row3 + t])
        o[k], o[k + 1], o[k + 2], o[k + 3] = sum0 * inverse, sum1 * inverse, sum2 * inverse, sum3 * inverse
    for k in range(size - size % 4, size):
        row0, sum0 = k * length, np.float32(0.0)
        for t in range(columns):
            sum0 += scores[t] * widen(values[row0 + t])
        o[k] = sum0 * inverse


@compiled
def _window(job: int, item: int, new_keys: Any, new_values: Any, keys: Any, values: Any) -> None:
    """Writes the new columns of one list's head, [K, S] into [K, T], then attends. The job's
    arguments: queries, new keys, new values, index, keys, values; its results: the attended values,
    keys, values."""
    queries, width, length = size(job, 0, 2), size(job, 0, 3), size(job, 4, 3)
    index = int32_at(address(job, 3))[0]
    for k in range(width):
        for s in range(queries):
            keys[k * length + index + s] = new_keys[k * queries + s]
            values[k * length + index + s] = new_values[k * queries + s]
    memory = allocate(4 * length)
    scores = float32_at(memory)
    for s in range(queries):
        place, columns = 4 * (item * queries + s) * width, index + s + 1
        _scores(address(job, 0) + place, keys, width, length, columns, scores)
        _mix(scores, values, width, length, columns, address(job, 6) + place)
    free(memory)


@compiled
def _memory(job: int, item: int, keys: Any, values: Any) -> None:
    """Attends to the keys of one list's head that can be seen. The job's arguments: queries, keys,
    values, visible; its result: the attended values."""
    heads, queries, width, length = size(job, 0, 1), size(job, 0, 2), size(job, 0, 3), size(job, 1, 3)
    visible, columns = uint8_at(address(job, 3) + item // heads * length), length
    while columns > 1 and not visible[columns - 1]:
        columns -= 1
    memory = allocate(4 * length)
    scores = float32_at(memory)
    for s in range(queries):
        place = 4 * (item * queries + s) * width
        _scores(address(job, 0) + place, keys, width, length, columns, scores)
        for t in range(columns):
            if not visible[t]:
                scores[t] = np.float32(-1e30)
        _mix(scores, values, width, length, columns, address(job, 4) + place)
    free(memory)


@compiled
def _place(job: int, number: int, item: int, bytes_each: int) -> int:
    """Returns the address of one list's head in a buffer [B, H, ...]."""
    return address(job, number) + item * size(job, number, 2) * size(job, number, 3) * bytes_each


@compiled
def _window_float32(job: int, item: int) -> None:
    new_keys, new_values = float32_at(_place(job, 1, item, 4)), float32_at(_place(job, 2, item, 4))
    _window(job, item, new_keys, new_values, float32_at(_place(job, 7, item, 4)), float32_at(_place(job, 8, item, 4)))


@compiled
def _window_bfloat16(job: int, item: int) -> None:
    new_keys, new_values = uint16_at(_place(job, 1, item, 2)), uint16_at(_place(job, 2, item, 2))
    _window(job, item, new_keys, new_values, uint16_at(_place(job, 7, item, 2)), uint16_at(_place(job, 8, item, 2)))


@compiled
def _memory_float32(job: int, item: int) -> None:
    _memory(job, item, float32_at(_place(job, 1, item, 4)), float32_at(_place(job, 2, item, 4)))


@compiled
def _memory_bfloat16(job: int, item: int) -> None:
    _memory(job, item, uint16_at(_place(job, 1, item, 2)), uint16_at(_place(job, 2, item, 2)))


@compiled
def _heads(job: int) -> int:
    """Returns the number of items: each head of each list."""
    return size(job, 0, 0) * size(job, 0, 1)


def attend_window(
    queries: jax.Array, new: tuple[jax.Array, jax.Array], memory: tuple[jax.Array, jax.Array], index: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Writes new columns into a window's keys and values, in place where XLA allows it, and attends
    to the columns up to them.

    Args:
        queries: [B, H, S, K].
        new: keys and values of the queries' own columns, [B, H, K, S] each.
        memory: keys and values, float32 or bfloat16 [B, H, K, T] each.
        index: int32 [], the first new column, at most T - S; query i sees columns 0 .. index + i.

    Returns:
        float32 [B, H, S, K]; keys and values with the new columns.
    """
    keys, values = memory
    dtype = keys.dtype
    attended = jax.ShapeDtypeStruct(queries.shape, jnp.float32)
    call = jax.ffi.ffi_call(
        f"{_WINDOW}_{dtype}",
        (attended, *(jax.ShapeDtypeStruct(x.shape, dtype) for x in memory)),
        input_output_aliases={4: 1, 5: 2},
    )
    # A write beyond the window would be one beyond the array.
    index = jnp.clip(jnp.asarray(index, jnp.int32), 0, keys.shape[3] - queries.shape[2])
    out, keys, values = call(queries.astype(jnp.float32), *(x.astype(dtype) for x in new), index, keys, values)
    return out, keys, values


def attend_memory(queries: jax.Array, memory: tuple[jax.Array, jax.Array], visible: jax.Array) -> jax.Array:
    """Attends to keys and values that do not change.

    Args:
        queries: [B, H, S, K].
        memory: keys and values, float32 or bfloat16 [B, H, K, T] each.
        visible: bool [B, T], the keys that can be seen, one or more of each b.

    Returns:
        float32 [B, H, S, K].
    """
    call = jax.ffi.ffi_call(f"{_MEMORY}_{memory[0].dtype}", jax.ShapeDtypeStruct(queries.shape, jnp.float32))
    return call(queries.astype(jnp.float32), *memory, visible)


def register_attention() -> None:
    """Compiles the loops, unless Numba has kept their machine code, and makes them known to XLA."""
    register(f"{_WINDOW}_float32", _window_float32, _heads)
    register(f"{_WINDOW}_bfloat16", _window_bfloat16, _heads)
    register(f"{_MEMORY}_float32", _memory_float32, _heads)
    register(f"{_MEMORY}_bfloat16", _memory_bfloat16, _heads)
