"""Machine instructions that Numba has no name for: pointers from addresses, bits as numbers, atomic
sums, calls of addresses.

Each function here stands for one or two instructions inside of compiled code.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT64 = ir.IntType(64)

_instruction: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Numba's decorator, whose own annotation does not say that compiled code calls what it makes with
numbers, and no context."""


def _pointer_to(dtype: types.Type) -> Callable[[int], Any]:
    @_instruction
    def pointer(typing_context: Any, address: types.Type) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.int64), code

    return pointer


int64_at = _pointer_to(types.int64)
"""The int64 numbers at an address: int64_at(a)[i]. Indices are not checked, here and below."""
int32_at = _pointer_to(types.int32)
uint8_at = _pointer_to(types.uint8)
uint16_at = _pointer_to(types.uint16)
float32_at = _pointer_to(types.float32)


@_instruction
def bits_as_float32(typing_context: Any, bits: types.Type) -> Any:
    """Returns the float32 number with these 32 bits."""
    return types.float32(types.uint32), lambda _, builder, signature, args: builder.bitcast(args[0], ir.FloatType())


@_instruction
def widen(typing_context: Any, number: types.Type) -> Any:
    """Returns a number as float32: float32 itself, or the bits of a bfloat16 number as uint16."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if number == types.float32:
            return args[0]
        bits = builder.shl(builder.zext(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(number), code


@_instruction
def fetch_and_add(typing_context: Any, address: types.Type, number: types.Type) -> Any:
    """Adds to the int64 number at an address, as one step for all threads, and returns what was
    there before."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(args[0], _INT64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@_instruction
def call(typing_context: Any, function: types.Type, argument: types.Type) -> Any:
    """Calls the C function at an address, which takes one pointer and returns one."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_INT64, [_INT64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.int64(types.int64, types.int64), code


def _call_address(context: Any, builder: ir.IRBuilder, args: Any) -> Any:
    """Calls a function that Numba has compiled, given its address and its arguments, integers. Such
    a function takes places for its result and for an exception before them, and returns a status,
    which says here that all is well."""
    places = [cgutils.alloca_once(builder, _INT64) for _ in range(2)]  # of result and exception
    kind = ir.FunctionType(ir.IntType(32), [place.type for place in places] + [_INT64] * (len(args) - 1))
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), [*places, *args[1:]])
    return builder.load(places[0])


@_instruction
def call_compiled(typing_context: Any, function: types.Type, number: types.Type) -> Any:
    """Calls the compiled function at an address, from an integer to an integer."""
    signature = types.int64(types.int64, types.int64)
    return signature, lambda context, builder, _, args: _call_address(context, builder, args)


@_instruction
def call_compiled_pair(typing_context: Any, function: types.Type, first: types.Type, second: types.Type) -> Any:
    """Calls the compiled function at an address, of two integers, which returns nothing."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        _call_address(context, builder, args)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), code


@_instruction
def allocate(typing_context: Any, size: types.Type) -> Any:
    """Takes so many bytes of memory by C's malloc; returns their address."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        malloc = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_INT64, [_INT64]), "malloc")
        return builder.call(malloc, args)

    return types.int64(types.int64), code


@_instruction
def free(typing_context: Any, address: types.Type) -> Any:
    """Gives memory back that `allocate` gave."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_INT64]), "free")
        builder.call(function, args)
        return context.get_dummy_value()

    return types.none(types.int64), code
