"""The optimisers of a run, and their learning rates."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from dct_jax.config import TrainingConfig
from dct_jax.training.muon import stacked_muon


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """Linear warm-up from 0, then the peak for ever, or a cosine that is 0 after the last step."""
    if config.schedule == "constant":
        start = 0.0 if config.warmup_steps else config.learning_rate  # of a warm-up of no steps Optax takes the start for ever
        return optax.warmup_constant_schedule(start, config.learning_rate, config.warmup_steps)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, config.steps)


def is_matrix(params: Any) -> Any:
    """Tells of each parameter whether it has two axes or more: biases and scales have one."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def make_optimizer(
    config: TrainingConfig,
    find_hidden: Callable[[], Any] | None = None,
    decays: Callable[[Any], Any] = is_matrix,
) -> optax.GradientTransformation:
    """Adam, or Muon and NAdam, with clipped gradients.

    Args:
        config: of the training.
        find_hidden: for Muon, tells of each parameter, in a tree of bool, whether it is a matrix
            between layers, which Muon is for; matrices from and to symbols are not.
        decays: for Adam with a weight decay, tells of each parameter whether it decays.

    Raises:
        ValueError: if the optimiser is Muon, and nothing tells what it is for.
    """
    schedule = learning_rate(config)
    first, second = config.betas
    if config.optimizer == "adam" and config.weight_decay:
        rule = optax.adamw(schedule, first, second, weight_decay=config.weight_decay, mask=decays)
    elif config.optimizer == "adam":
        rule = optax.adam(schedule, first, second)
    elif find_hidden is None:
        raise ValueError("training.optimizer is muon; it must be adam where nothing tells which matrices are hidden")
    else:
        ratio = config.muon_learning_rate / config.learning_rate
        rules = {True: stacked_muon(lambda step: ratio * schedule(step)), False: optax.nadam(schedule, first, second)}
        rule = optax.partition(rules, find_hidden())
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
