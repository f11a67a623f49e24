"""The optimisers of a run, and their learning rates."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from dct_jax.config import TrainingConfig
from dct_jax.training.muon import stacked_muon


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine to 0 at the last step."""
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, config.steps)


def no_matrix(variables: Any) -> Any:
    """Tells of all variables that they are no matrices between layers."""
    return jax.tree.map(lambda _: False, variables)


def make_optimizer(config: TrainingConfig, is_hidden: Callable[[Any], Any] = no_matrix) -> optax.GradientTransformation:
    """Adam, or Muon and Adam, with clipped gradients.

    Args:
        config: of the training.
        is_hidden: tells of each parameter of a tree whether it is a matrix between layers, which
            Muon is for; matrices from and to symbols are not.
    """
    schedule = learning_rate(config)
    if config.optimizer == "adam":
        rule = optax.adam(schedule)
    else:
        ratio = config.muon_learning_rate / config.learning_rate
        rules = {True: stacked_muon(lambda step: ratio * schedule(step)), False: optax.nadam(schedule)}
        rule = optax.partition(rules, is_hidden)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
