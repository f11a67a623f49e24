"""Data parallelism: the one place that knows about devices."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dct_jax.data.chunks import Chunk
from dct_jax.model import DCTransformer
from dct_jax.training.step import DATA_AXIS, StepMetrics, TrainState, train_step

ParallelStep = Callable[[TrainState, Chunk], tuple[TrainState, StepMetrics]]


def parallel_train_step(
    model: DCTransformer, optimizer: optax.GradientTransformation, seed: int, devices: list[jax.Device]
) -> ParallelStep:
    """train_step over these devices: the state goes in and out as one copy, and is overwritten; the batch is spread."""
    return jax.pmap(
        partial(train_step, model, optimizer, seed=seed),
        axis_name=DATA_AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=0,
        devices=devices,
    )


def replicate(state: TrainState, devices: list[jax.Device]) -> TrainState:
    """The state on every device, laid out as parallel_train_step returns it: without this its second call, which gets the
    first one's result, would be compiled anew."""
    return jax.device_put(state, NamedSharding(Mesh(np.array(devices), DATA_AXIS), PartitionSpec()))


def spread(batch: Chunk, num_devices: int) -> Chunk:
    """[B, ...] -> [num_devices, B / num_devices, ...].

    Raises:
        ValueError: if the devices do not divide the batch.
    """
    size = len(batch.label)
    if size % num_devices:
        raise ValueError(f"training.batch_size is {size}; it must be a multiple of the {num_devices} devices")
    return jax.tree.map(lambda x: np.reshape(x, (num_devices, size // num_devices, *x.shape[1:])), batch)
