"""Products of few rows and a matrix of weights, which is read once and as it lies in memory.

The weights are packed before: panels of PANEL columns, each with all K rows. A tile of rows and
panels keeps its sums in the processor's registers while it goes through the K rows. Every sum is
taken in the order of k, with fused multiplications, by whatever tile: a row's result has the same
bits whatever the other rows are, however many rows there are, and however many threads.

Axes: M rows, K inputs, N outputs, P = ceil(N / PANEL) panels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dct_jax.kernels.bridge import address, register, size
from dct_jax.kernels.compile import compiled

PANEL = 16
"""Columns of a panel: float32 numbers in the widest vectors that there are, two or four of other
processors' vectors."""

GROUP = 4
"""Panels of an item: what a thread takes at once, and the most that a tile has."""

_PRODUCT = "dct_jax_few_rows"


def _tile(rows: int, panels: int) -> Callable[..., None]:
    """Makes the loop of a tile: a compiled function (x, weights, y, K, N) of addresses and sizes.

    LLVM makes vectors of plain loops, but does not keep a tile's sums in registers; so its
    instructions are written here.
    """
    number, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), PANEL)

    @intrinsic
    def tile(typing_context: Any, x: Any, weights: Any, y: Any, inputs: Any, outputs: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            x, weights, y, inputs, outputs = args
            fused = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{PANEL}f32"
            )

            def integer(value: int) -> ir.Constant:
                return ir.Constant(ir.IntType(64), value)

            def at(start: Any, index: Any, kind: ir.Type) -> Any:
                """Returns the pointer to float32 number `index`."""
                return builder.inttoptr(builder.add(start, builder.mul(index, integer(4))), kind.as_pointer())

            x_rows = [builder.add(x, builder.mul(inputs, integer(4 * row))) for row in range(rows)]
            panel_size = builder.mul(inputs, integer(4 * PANEL))
            starts = [builder.add(weights, builder.mul(panel_size, integer(panel))) for panel in range(panels)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(panels)] for _ in range(rows)]
            for row in sums:
                for place in row:
                    builder.store(ir.Constant(vector, [0.0] * PANEL), place)
            with cgutils.for_range(builder, inputs) as loop:
                first = builder.mul(loop.index, integer(PANEL))
                columns = [builder.load(at(start, first, vector), align=4) for start in starts]
                for start, row in zip(x_rows, sums):
                    one = builder.load(at(start, loop.index, number), align=4)
                    lanes = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.Constant(ir.IntType(32), 0))
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), PANEL), [0] * PANEL)
                    lanes = builder.shuffle_vector(lanes, ir.Constant(vector, ir.Undefined), mask)
                    for column, place in zip(columns, row):
                        builder.store(builder.call(fused, [lanes, column, builder.load(place)]), place)
            for i, row in enumerate(sums):
                start = builder.add(y, builder.mul(outputs, integer(4 * i)))
                for panel, place in enumerate(row):
                    builder.store(builder.load(place), at(start, integer(PANEL * panel), vector), align=4)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 5), code

    return tile


_tile_1x4, _tile_2x4, _tile_4x4, _tile_8x2 = _tile(1, 4), _tile(2, 4), _tile(4, 4), _tile(8, 2)
_tile_1x1, _tile_4x1 = _tile(1, 1), _tile(4, 1)


@compiled
def _whole_group(rows: int, x: int, weights: int, y: int, inputs: int, outputs: int) -> None:
    """Multiplies GROUP panels, in processors with registers for sixteen wide vectors and more."""
    row = 0
    panel, x_row, y_row = 4 * PANEL * inputs, 4 * inputs, 4 * outputs
    while row + 8 <= rows:
        for half in range(0, GROUP, 2):
            _tile_8x2(x + row * x_row, weights + half * panel, y + row * y_row + 4 * PANEL * half, inputs, outputs)
        row += 8
    while row + 4 <= rows:
        _tile_4x4(x + row * x_row, weights, y + row * y_row, inputs, outputs)
        row += 4
    while row + 2 <= rows:
        _tile_2x4(x + row * x_row, weights, y + row * y_row, inputs, outputs)
        row += 2
    if row < rows:
        _tile_1x4(x + row * x_row, weights, y + row * y_row, inputs, outputs)


@compiled
def _panels(panels: int, rows: int, x: int, weights: int, y: int, inputs: int, outputs: int) -> None:
    """Multiplies any number of panels, one at a time."""
    for panel in range(panels):
        start, row = weights + panel * 4 * PANEL * inputs, 0
        while row + 4 <= rows:
            _tile_4x1(x + row * 4 * inputs, start, y + 4 * (row * outputs + PANEL * panel), inputs, outputs)
            row += 4
        while row < rows:
            _tile_1x1(x + row * 4 * inputs, start, y + 4 * (row * outputs + PANEL * panel), inputs, outputs)
            row += 1


_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
"""Whether a vector of PANEL numbers is one register."""


@compiled
def _few_rows(job: int, item: int) -> None:
    """Multiplies a group of panels. The job's arguments: x [M, K], weights [P, K, PANEL]; its
    result: y [M, P, PANEL]."""
    rows, inputs, panels = size(job, 0, 0), size(job, 0, 1), size(job, 1, 0)
    first = item * GROUP
    weights = address(job, 1) + 4 * first * inputs * PANEL
    y = address(job, 2) + 4 * first * PANEL
    if _WIDE and first + GROUP <= panels:
        _whole_group(rows, address(job, 0), weights, y, inputs, panels * PANEL)
    else:
        _panels(min(GROUP, panels - first), rows, address(job, 0), weights, y, inputs, panels * PANEL)


@compiled
def _groups(job: int) -> int:
    """Returns the number of items."""
    return (size(job, 1, 0) + GROUP - 1) // GROUP


def pack(kernel: jax.Array) -> jax.Array:
    """Packs a layer's weights [K, N] as `multiply` reads them, float32 [P, K, PANEL], zeros after
    the last column."""
    inputs, outputs = kernel.shape
    padded = jnp.pad(kernel.astype(jnp.float32), ((0, 0), (0, -outputs % PANEL)))
    return padded.reshape(inputs, -1, PANEL).transpose(1, 0, 2)


def multiply(x: jax.Array, packed: jax.Array) -> jax.Array:
    """Returns x W.

    Args:
        x: [M, K].
        packed: W, from `pack`.

    Returns:
        float32 [M, P PANEL]; the columns after the N-th are zeros.
    """
    shape = jax.ShapeDtypeStruct((len(x), len(packed) * PANEL), jnp.float32)
    return jax.ffi.ffi_call(_PRODUCT, shape)(x.astype(jnp.float32), packed)


def register_few_rows() -> None:
    """Compiles the loops, unless Numba has kept their machine code, and makes them known to XLA."""
    register(_PRODUCT, _few_rows, _groups)
