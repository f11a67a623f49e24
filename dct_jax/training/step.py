"""One step of training: a pure function of the state and a batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dct_jax.config import TrainingConfig
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network import DCTransformer, SymbolNats, initial_params, log_likelihood
from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.training.muon import stacked_muon


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
        step: int32 [], optimiser steps taken.
        params: the network's parameters.
        optimizer: the optimiser's state.
    """

    step: jax.Array
    params: Any
    optimizer: optax.OptState


class StepMetrics(NamedTuple):
    """What a step reports: sums and counts over the global batch, so that they can be added up and divided once.

    Attributes:
        nats: minus log-likelihood by symbol, float32 [] each.
        elements: how many elements (triples and stopping tokens) that is, float32 [].
        gradient_norm: before clipping, float32 [].
    """

    nats: SymbolNats
    elements: jax.Array
    gradient_norm: jax.Array


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine to 0 at the last step."""
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, config.steps)


def make_optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """Adam, or Muon and Adam, with clipped gradients."""
    schedule = learning_rate(config)
    if config.optimizer == "adam":
        rule = optax.adam(schedule)
    else:
        ratio = config.muon_learning_rate / config.learning_rate
        rule = optax.partition(
            {"muon": stacked_muon(lambda step: ratio * schedule(step)), "adam": optax.nadam(schedule)}, _kinds
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)


def _kinds(params: Any) -> Any:
    """What Muon is for, the matrices between layers and not those from and to symbols, and the rest."""

    def one(path: Any, leaf: Any) -> str:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return "muon" if name.endswith("kernel") and "_head/" not in name else "adam"

    return jax.tree_util.tree_map_with_path(one, params)


def init_state(model: DCTransformer, optimizer: optax.GradientTransformation, batch: Chunk, seed: int) -> TrainState:
    """The state before the first step. The batch gives shapes only."""
    params = initial_params(model, batch, seed)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def train_step(
    model: DCTransformer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Chunk,
    seed: int,
    accumulate: int = 1,
) -> tuple[TrainState, StepMetrics]:
    """One step on one device's part of the batch; runs under an axis named "data" over the devices.

    The loss is minus the log-likelihood of the global batch divided by its number of elements, so that the result does not
    depend on how the batch is spread over devices, nor on how many parts each device does it in.

    Args:
        model, optimizer: what to train, and how.
        state: the same on all devices.
        batch: this device's chunks.
        seed: of dropout, with the step, the device and the part.
        accumulate: parts of the batch, one after the other; their gradients are added up.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), jax.lax.axis_index(DATA_AXIS))
    mean_elements = jax.lax.pmean(batch.is_target.sum().astype(jnp.float32), DATA_AXIS)

    def loss(params: Any, part: Chunk, key: jax.Array) -> tuple[jax.Array, SymbolNats]:
        logits = model.apply(params, part, train=True, rngs={"dropout": key})
        nats = SymbolNats(*(-x.sum() for x in log_likelihood(logits, part, model.vocabulary)))
        return sum(nats) / mean_elements, nats

    def add(total: tuple[Any, SymbolNats], part: tuple[Chunk, jax.Array]) -> tuple[tuple[Any, SymbolNats], None]:
        return jax.tree.map(jnp.add, total, jax.grad(loss, has_aux=True)(state.params, *part)), None

    parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)  # [A, b / A, ...]
    nothing = jax.tree.map(jnp.zeros_like, state.params), SymbolNats(*[jnp.zeros(())] * 3)
    (gradient, nats), _ = jax.lax.scan(add, nothing, (parts, jax.random.split(key, accumulate)))
    gradient = jax.lax.pmean(gradient, DATA_AXIS)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    metrics = StepMetrics(
        nats=jax.lax.psum(nats, DATA_AXIS),
        elements=jax.lax.psum(1.0, DATA_AXIS) * mean_elements,
        gradient_norm=optax.tree.norm(gradient),
    )
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), optimizer_state), metrics
