"""Compiled functions as handlers of XLA's typed foreign function interface, on all of the CPU's
threads.

A handler gets the address of an XLA_FFI_CallFrame, whose layout is that of
jaxlib/include/xla/ffi/api/c_api.h. A call's work is cut into items that do not depend on one
another. The thread that XLA calls from takes items until there are none left, and so do tasks on
XLA's own thread pool. Nobody waits: the handler returns a future, which the thread completes that
does the last item. A task that starts later finds nothing to do, so a pool without a free thread
only leaves the work to the thread that calls. Python's lock is never taken.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import jax
import numba
import numpy as np
from numba import types

from dct_jax.kernels.compile import compiled
from dct_jax.kernels.memory import (
    allocate,
    call,
    call_compiled,
    call_compiled_pair,
    fetch_and_add,
    free,
    int32_at,
    int64_at,
)

API_VERSION = (0, 3)
"""The version of the header that the offsets below are from. XLA refuses a handler of a version
that it no longer supports."""

MOST_BUFFERS, MOST_DIMS = 12, 4

# Offsets in bytes. XLA_FFI_CallFrame:
_EXTENSION, _API, _CONTEXT, _STAGE, _ARGS, _RESULTS, _FUTURE = 8, 16, 24, 32, 40, 80, 168
_EXECUTE = 3
# XLA_FFI_Args and XLA_FFI_Rets: the number, the addresses. XLA_FFI_Buffer: the data, the shape.
_SIZE, _ADDRESSES, _DATA, _RANK, _DIMS = 16, 32, 24, 32, 40
# XLA_FFI_Api: its functions.
_ERROR_DESTROY, _SCHEDULE, _NUM_THREADS, _FUTURE_CREATE, _FUTURE_SET_AVAILABLE = 64, 136, 144, 152, 160

# A job, what the threads of a call share, in int64 numbers: the next item, the number of items,
# items that are not done, threads that have not ended, the function that completes the future, and
# its argument (XLA_FFI_Future_SetAvailable_Args: a size, nothing, the future); the function that
# does an item; then the buffers.
_NEXT, _ITEMS, _UNDONE, _THREADS, _COMPLETE, _COMPLETION, _JOB_FUTURE, _WORK, _BUFFERS = 0, 1, 2, 3, 4, 5, 7, 8, 9
_BUFFER_SIZE = 1 + MOST_DIMS
_JOB_BYTES = 8 * (_BUFFERS + MOST_BUFFERS * _BUFFER_SIZE)


@compiled
def address(job: int, number: int) -> int:
    """Returns the address of a call's buffer; arguments are numbered first, then results."""
    return int64_at(job)[_BUFFERS + number * _BUFFER_SIZE]


@compiled
def size(job: int, number: int, axis: int) -> int:
    """Returns the length of an axis of a call's buffer."""
    return int64_at(job)[_BUFFERS + number * _BUFFER_SIZE + 1 + axis]


@compiled
def _copy_buffers(job: int, count: int, buffers: int) -> int:
    """Writes the addresses and shapes of a frame's arguments or results into the job, after `count`
    others."""
    number = int64_at(buffers + _SIZE)[0]
    for i in range(number):
        buffer = int64_at(int64_at(buffers + _ADDRESSES)[0])[i]
        place = int64_at(job + 8 * (_BUFFERS + (count + i) * _BUFFER_SIZE))
        place[0] = int64_at(buffer + _DATA)[0]
        for axis in range(int64_at(buffer + _RANK)[0]):
            place[1 + axis] = int64_at(int64_at(buffer + _DIMS)[0])[axis]
    return count + number


@compiled
def _finish_item(job: int) -> None:
    """Counts an item that is done; after the last one the call is over for XLA."""
    if fetch_and_add(job + 8 * _UNDONE, -1) == 1 and int64_at(job)[_JOB_FUTURE]:
        call(int64_at(job)[_COMPLETE], job + 8 * _COMPLETION)


@compiled
def _leave(job: int) -> None:
    """Ends a thread's part of a job; the last thread gives the job's memory back."""
    if fetch_and_add(job + 8 * _THREADS, -1) == 1:
        free(job)


@compiled
def _is_question(frame: int) -> bool:
    """Returns whether XLA asks for the handler's version in place of calling it; it is answered."""
    extension = int64_at(frame + _EXTENSION)[0]
    if extension == 0 or int32_at(extension + 8)[0] != 1:  # XLA_FFI_Metadata_Extension
        return False
    version = int32_at(int64_at(extension + 24)[0] + 24)
    version[0], version[1] = API_VERSION
    return True


@compiled
def _begin(frame: int) -> int:
    """Makes the job of a call, for one thread so far."""
    job = allocate(_JOB_BYTES)
    _copy_buffers(job, _copy_buffers(job, 0, frame + _ARGS), frame + _RESULTS)
    fields = int64_at(job)
    fields[_NEXT], fields[_THREADS], fields[_COMPLETION], fields[_COMPLETION + 1], fields[_JOB_FUTURE] = 0, 1, 24, 0, 0
    return job


@compiled
def _call_helpers(frame: int, job: int, task: int) -> None:
    """Has other threads of XLA's pool run the task, as many as there are and the items need. Where
    that fails, the thread that calls does what they do not."""
    api, context, fields = int64_at(frame + _API)[0], int64_at(frame + _CONTEXT)[0], int64_at(job)
    # The structures that the interface's functions read, one after another:
    # XLA_FFI_ThreadPool_NumThreads_Args and others.
    block = allocate(64)
    arguments = int64_at(block)
    arguments[0], arguments[1], arguments[2], arguments[3], arguments[7] = 32, 0, context, block + 56, 1
    error = call(int64_at(api + _NUM_THREADS)[0], block)
    helpers = min(arguments[7], fields[_ITEMS]) - 1
    if error == 0 and helpers > 0:
        arguments[0], arguments[1], arguments[2] = 24, 0, 0
        error = call(int64_at(api + _FUTURE_CREATE)[0], block)
        if error == 0:
            fields[_JOB_FUTURE], fields[_COMPLETE] = arguments[2], int64_at(api + _FUTURE_SET_AVAILABLE)[0]
            int64_at(frame + _FUTURE)[0] = arguments[2]
    while error == 0 and helpers > 0:
        helpers -= 1
        fetch_and_add(job + 8 * _THREADS, 1)
        arguments[0], arguments[1], arguments[2], arguments[3], arguments[4] = 40, 0, context, task, job
        error = call(int64_at(api + _SCHEDULE)[0], block)
        if error != 0:
            fetch_and_add(job + 8 * _THREADS, -1)
    if error != 0:
        arguments[0], arguments[1], arguments[2] = 24, 0, error
        call(int64_at(api + _ERROR_DESTROY)[0], block)
    free(block)


@compiled
def _is_call(frame: int) -> bool:
    """Returns whether XLA wants the work done, and does not ask for the version or prepare."""
    return not _is_question(frame) and int32_at(frame + _STAGE)[0] == _EXECUTE


@compiled
def _next_item(job: int) -> int:
    """Returns the number of an item that no thread has taken yet; -1 if there is none."""
    item = fetch_and_add(job + 8 * _NEXT, 1)
    return item if item < int64_at(job)[_ITEMS] else -1


@compiled
def _do_items(job: int) -> int:
    """Does items until all are taken, and leaves the job. Returns how many it has done."""
    work, done, item = int64_at(job)[_WORK], 0, _next_item(job)
    while item >= 0:
        call_compiled_pair(work, job, item)
        _finish_item(job)
        done, item = done + 1, _next_item(job)
    _leave(job)
    return done


@compiled
def _serve(frame: int, functions: int) -> None:
    """Does a call, with the functions whose addresses stand at `functions`: work, num_items and
    task of `register`."""
    if _is_call(frame):
        job, fields = _begin(frame), int64_at(functions)
        items, shared = call_compiled(fields[1], job), int64_at(job)
        shared[_ITEMS], shared[_UNDONE], shared[_WORK] = items, items, fields[0]
        _call_helpers(frame, job, fields[2])
        _do_items(job)


def _address_of(function: Any, *parameters: types.Type) -> int:
    """Returns the address of a compiled function's machine code, which it compiles unless Numba has
    kept it."""
    function.compile(parameters)
    result = function.overloads[parameters]
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


@functools.cache
def _task() -> Any:
    """Makes what a thread of XLA's pool calls with a job. It holds an address, so Numba cannot keep
    its machine code; all that takes time to compile is behind the address."""
    do_items = _address_of(_do_items, types.int64)

    @numba.cfunc(types.int64(types.int64))
    def task(job: int) -> int:
        return call_compiled(do_items, job)

    return task


def register(name: str, work: Callable[[int, int], None], num_items: Callable[[int], int]) -> None:
    """Makes a compiled function known to XLA as the target `name`, for `jax.ffi.ffi_call`.

    Args:
        name: the target's name.
        work: compiled; does an item, given the job and its number. Several threads call it at once.
        num_items: compiled; says how many items a job has.
    """
    serve = _address_of(_serve, types.int64, types.int64)
    numbers = _address_of(work, types.int64, types.int64), _address_of(num_items, types.int64), _task().address
    functions = np.array(numbers, np.int64)
    place = functions.ctypes.data

    @numba.cfunc(types.int64(types.int64))  # which holds addresses, as `task` does
    def handler(frame: int) -> int:
        call_compiled_pair(serve, frame, place)
        return 0

    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(ctypes.c_void_p(handler.address)), platform="cpu", api_version=1)
    _MACHINE_CODE.extend((handler, functions))


_MACHINE_CODE: list[Any] = []
"""Machine code lives as long as the objects that it belongs to."""
