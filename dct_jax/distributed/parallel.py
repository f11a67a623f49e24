"""Data parallelism: the one place that knows about devices.

Programs run under an axis named "data" over the devices of all processes. A process holds only what
its own, local devices have: the state once on each, and their share of the batch.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def all_devices() -> list[jax.Device]:
    """Returns the devices of all processes, process by process."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def check_devices() -> None:
    """Raises ValueError unless all processes have equally many devices, as pmap needs."""
    counts = Counter(device.process_index for device in jax.devices())
    numbers = [counts[i] for i in range(jax.process_count())]
    if len(set(numbers)) > 1:
        raise ValueError(f"the processes have {' and '.join(map(str, numbers))} devices; all must have equally many")


def local_devices(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Returns the devices of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def parallel(
    program: Callable[[Any, Any], Any], devices: Sequence[jax.Device], donate_first: bool = False
) -> jax.stages.Wrapped:
    """Compiles program(replicated, share) for all devices at once.

    Args:
        program: under the axis "data"; its results must be equal on all devices.
        devices: of all processes that call it.
        donate_first: whether the first argument is overwritten.

    Returns:
        A function of results of `replicate` and `place`; its own result is one copy a device.
    """
    return jax.pmap(
        program,
        axis_name=DATA_AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=(0,) if donate_first else (),
        devices=devices,
    )


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies the tree to each of this process's devices, laid out as `parallel` returns it.
    Otherwise the second step, which gets the first one's result, would be compiled anew."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(local_devices(devices)), DATA_AXIS), PartitionSpec()))


def first_replica(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Returns a tree of arrays on the first of this process's devices, for programs of that device
    alone. What `replicate` or `parallel` returned is not copied, so a step that overwrites it
    overwrites the result, too."""
    return jax.tree.map(lambda x: x.addressable_data(0), replicate(tree, devices))


def place(batch: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts this process's part of a batch, [b, ...], on its devices, [local devices, b / local
    devices, ...]; the copy goes on while the devices work."""
    local = local_devices(devices)
    rows = jax.tree.map(lambda x: x.reshape(len(local), -1, *x.shape[1:]), batch)
    return jax.device_put(rows, NamedSharding(Mesh(np.array(local), DATA_AXIS), PartitionSpec(DATA_AXIS)))


def places_of(rows: int) -> jax.Array:
    """Numbers this device's rows by their places in the whole batch, int32 [rows], in a program
    under the axis "data". Of P processes, process p makes the places p, p + P and so on, and
    divides them among its devices in this order."""
    processes = jax.process_count()
    process, device = jnp.divmod(jax.lax.axis_index(DATA_AXIS), jax.lax.axis_size(DATA_AXIS) // processes)
    return process + processes * (device * rows + jnp.arange(rows))


def gather_batch(rows: Any) -> Any:
    """Joins a tree of all devices' rows, [b, ...], to [B, ...], in the order of their places, in a
    program under the axis "data"."""

    def join(x: jax.Array) -> jax.Array:
        joined = jax.lax.all_gather(x, DATA_AXIS, tiled=True)  # [P * rows of a process, ...]
        parts = joined.reshape(jax.process_count(), -1, *x.shape[1:])
        return parts.swapaxes(0, 1).reshape(joined.shape)

    return jax.tree.map(join, rows)


def any_process(devices: Sequence[jax.Device]) -> Callable[[bool], jax.Array]:
    """Returns a function that all processes call with yes or no. Its result, which is there once
    the devices get to it, says whether one of them said yes."""
    ask = jax.pmap(lambda yes: jax.lax.pmax(yes, DATA_AXIS), axis_name=DATA_AXIS, out_axes=None, devices=devices)
    return lambda yes: ask(np.full(len(local_devices(devices)), yes, np.int32))


def gather_number(number: int) -> list[int]:
    """Returns the numbers, from 0 to 2^32 - 1, with which all processes call this, one of each."""
    if jax.process_count() == 1:
        return [number]
    return [int(one) for one in multihost_utils.process_allgather(np.uint32(number))]


def in_turn(do: Callable[[], None]) -> None:
    """Runs `do` in process 0, then in the others, each for itself."""
    first = jax.process_index() == 0
    if first:
        do()
    meet()
    if not first:
        do()


def meet() -> None:
    """Waits until all processes call this: for as long as they live, but for XLA's own limits. All
    devices take part, as in training, so that they are connected from then on."""
    if jax.process_count() > 1:
        bool(any_process(all_devices())(False))
