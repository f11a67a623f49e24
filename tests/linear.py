"""A whole system in a few lines: a linear autoencoder of pixels. No part of the package knows of
it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.config import RunConfig
from dct_jax.data.crops import seen_image
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Mean, Metrics, Stage, TrainState
from dct_jax.training.step import gradient_step


@dataclass(frozen=True, kw_only=True)
class LinearConfig(RunConfig):
    system = "linear"
    width: int = 8

    def reader(self) -> "PixelReader":
        return PixelReader(self)

    def build(self) -> "LinearStage":
        return LinearStage(self)


class PixelReader:
    def __init__(self, config: LinearConfig) -> None:
        self.config, self.num_classes = config, 0

    def see(self, record: Any, rng: np.random.Generator, train: bool) -> np.ndarray:
        return seen_image(record, self.config.data, train and self.config.data.flip, rng)

    def batch(self, seen: Sequence[np.ndarray], rngs: Any = ()) -> np.ndarray:
        return np.stack(seen).reshape(len(seen), -1).astype(np.float32) / 128 - 1  # [B, P]

    held_out = batch


class LinearStage(Stage):
    best, unit = "squared_error", "pictures"

    def __init__(self, config: LinearConfig) -> None:
        self.config, self.optimizer = config, make_optimizer(config.training)

    def init(self) -> TrainState:
        shape = (3 * int(np.prod(self.config.data.image_size)), self.config.width)  # [P, width]
        variables = {"params": 0.05 * jax.random.normal(jax.random.key(self.config.seed), shape)}
        return TrainState(jnp.int32(0), variables, self.optimizer.init(variables))

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        training = self.config.training

        def loss(variables: Any, part: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            error = squared_error(variables, part).sum()
            return error / len(batch), error

        state, error, norm = gradient_step(loss, self.optimizer, state, batch, self.config.seed, training.accumulate)
        return state, Metrics({"squared_error": Mean(error, training.batch_size)}, training.batch_size, norm)

    def evaluate(self, variables: Any, held_out: np.ndarray, devices: Any) -> dict[str, float]:
        return {self.best: float(squared_error(variables, held_out).mean())}


def squared_error(variables: Any, pixels: jax.Array) -> jax.Array:
    return jnp.square(pixels @ variables["params"] @ variables["params"].T - pixels).mean(axis=1)  # [B]
