"""Learning rates, and which parameters AdamW lowers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.config import TrainingConfig
from dct_jax.dq_transformer.stage import DQTransformerStage
from dct_jax.training.optimizer import learning_rate, make_optimizer


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rate_of_each_step(schedule: Any, warmup: int) -> None:
    """By the formulas. A constant rate without a warm-up was once 0 for ever."""
    config = TrainingConfig(steps=20, warmup_steps=warmup, learning_rate=0.3, schedule=schedule)
    rates = [float(learning_rate(config)(step)) for step in (0, 2, 4, 12, 20)]
    after = [0, 0, 0, 8, 16] if warmup else [0, 2, 4, 12, 20]
    falls = [0.5 + 0.5 * np.cos(np.pi * step / (20 - warmup)) if schedule == "cosine" else 1.0 for step in after]
    rises = [min(1.0, step / warmup) if warmup else 1.0 for step in (0, 2, 4, 12, 20)]
    np.testing.assert_allclose(rates, [0.3 * rise * fall for rise, fall in zip(rises, falls)], atol=1e-7)


def lowered(**how: Any) -> dict[str, Any]:
    """What is left of parameters of 1 after a step at a rate of 0.5 and a decay of 0.5, without any
    gradient."""
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "embedding": jnp.ones((2, 2))}
    config = TrainingConfig(warmup_steps=0, schedule="constant", learning_rate=0.5, weight_decay=0.5)
    optimizer = make_optimizer(config, **how)
    updates, _ = jax.jit(optimizer.update)(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    return jax.tree.map(lambda x, y: float((x + y).mean()), params, updates)


def test_matrices_decay_and_biases_do_not() -> None:
    assert lowered() == {"dense": {"kernel": 0.75, "bias": 1.0}, "embedding": 0.75}


def test_of_a_dq_transformer_kernels_alone_decay() -> None:
    assert lowered(decays=DQTransformerStage.decays) == {"dense": {"kernel": 0.75, "bias": 1.0}, "embedding": 1.0}
