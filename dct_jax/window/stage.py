"""A sliding-window transformer as a stage, and the trained model, which samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codes.prior import Sampled, TrainedCodePrior
from dct_jax.codes.random_keys import sample_keys
from dct_jax.codes.stage import CodePriorStage
from dct_jax.nn.log_prob import log_prob
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.training.stage import Sizes
from dct_jax.window.config import WindowConfig
from dct_jax.window.sampler import Known, sample_codes


class WindowStage(CodePriorStage):
    """A sliding-window transformer in training."""

    config: WindowConfig
    best = "bits_per_pixel"

    def losses(
        self, params: Any, codes: jax.Array, labels: jax.Array, keys: jax.Array, dropout: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The nats of a code; see `CodePriorStage.losses`."""
        rngs = None if dropout is None else {"dropout": dropout}
        logits = cast(jax.Array, self.network.apply({"params": params}, codes, labels, rngs=rngs))
        nats = -log_prob(logits, codes).mean(axis=(1, 2))  # [b]
        return nats.mean(), {"nats": nats}

    def evaluate(self, variables: Any, held_out: Any, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Returns the exact bits of held-out grids, per pixel and picture, and nats of a code."""
        numbers = super().evaluate(variables, held_out, devices)
        (rows, columns), (height, width) = self.config.grid, self.config.data.image_size
        bits = float(numbers["nats"] * rows * columns / np.log(2))
        return {self.best: bits / (height * width), "bits_per_picture": bits, **numbers}

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> "TrainedWindow":
        """Makes a model that samples."""
        return TrainedWindow(self.config, variables, sizes, classes)


@dataclass(frozen=True, eq=False)
class TrainedWindow(TrainedCodePrior):
    """A sliding-window transformer with its parameters."""

    config: WindowConfig
    policy: SymbolPolicy = field(default_factory=SymbolPolicy)
    limit_of_known: ClassVar[str] = "a code depends on the known codes before it in raster order alone, and on none after it"

    def sample(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        known: tuple[np.ndarray, np.ndarray] | None = None,
        room: int = 0,
    ) -> Sampled:
        """Samples grids, one code after another. A code depends on those before it alone, so what
        is known guides only what comes later in raster order. See `TrainedCodePrior.sample`."""
        params, keys, classes = {"params": self.variables["params"]}, sample_keys(seed, numbers), np.asarray(labels, np.int32)
        given = None if known is None else Known(jnp.asarray(known[0], jnp.int32), jnp.asarray(known[1]))
        return Sampled(np.asarray(sample_codes(self.network, params, grid, classes, keys, self.policy, given)))
