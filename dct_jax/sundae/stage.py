"""A SUNDAE as a stage, and the trained model, which samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import jax
import numpy as np

from dct_jax.codes.prior import Sampled, TrainedCodePrior
from dct_jax.codes.random_keys import sample_keys
from dct_jax.codes.stage import CodePriorStage
from dct_jax.sundae.config import SundaeConfig
from dct_jax.sundae.network import SundaeNetwork
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.sampler import Denoised, sample_grids, sample_start
from dct_jax.sundae.unroll import unrolled_loss
from dct_jax.training.stage import Sizes


class SundaeStage(CodePriorStage):
    """A SUNDAE in training."""

    config: SundaeConfig
    best = "nats"
    note: ClassVar[str] = (
        "these are of codes that are denoised step by step, as in training; they bound no likelihood, so there are no bits"
    )

    def __init__(self, config: SundaeConfig) -> None:
        super().__init__(config, make_network(config))

    def losses(
        self, params: Any, codes: jax.Array, labels: jax.Array, keys: jax.Array, dropout: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The nats of a code after a step of denoising, which bound no likelihood (see `unroll`),
        and the share of cells whose likeliest code is right; see `CodePriorStage.losses`."""

        def logits_of(params: Any, noisy: jax.Array, step: jax.Array) -> jax.Array:
            rngs = None if dropout is None else {"dropout": jax.random.fold_in(dropout, step)}
            return cast(jax.Array, self.network.apply({"params": params}, noisy, labels, rngs=rngs))

        mean, found = unrolled_loss(logits_of, params, codes, keys, self.config.num_codes, self.config.unroll.steps)
        return mean, found._asdict()

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> "TrainedSundae":
        """Makes a model that samples."""
        return TrainedSundae(self.config, variables, sizes, classes)


@dataclass(frozen=True, eq=False)
class TrainedSundae(TrainedCodePrior):
    """A SUNDAE with its parameters."""

    config: SundaeConfig
    has_steps: ClassVar[bool] = True

    @cached_property
    def network(self) -> SundaeNetwork:
        """The Flax module."""
        return make_network(self.config)

    @property
    def default_policy(self) -> SundaePolicy:
        """The steps of the paper's pictures of 256 pixels."""
        return SundaePolicy()

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises ValueError if the hourglass cannot halve a grid of (h, w) codes, or it is too
        large."""
        super().check_grid(grid)
        self.config.model.check_grid(grid)

    def sample_with_steps(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        known: tuple[np.ndarray, np.ndarray] | None = None,
        history: bool = False,
    ) -> Sampled:
        """Samples grids, and tells their steps; see `TrainedCodePrior.sample_with_steps`."""
        found = self.denoise(numbers, seed, labels, grid, self.policy, known, history)
        return Sampled(np.asarray(found.codes), np.asarray(found.steps), np.asarray(found.history) if history else None)

    def sample_grids(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        policy: SundaePolicy,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Samples grids, all codes at once, step by step; see `TrainedCodePrior.sample_grids`."""
        return np.asarray(self.denoise(numbers, seed, labels, grid, policy, known).codes)

    def denoise(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        policy: SundaePolicy,
        known: tuple[np.ndarray, np.ndarray] | None = None,
        history: bool = False,
    ) -> Denoised:
        """Samples grids, and tells how many steps each took and, if asked, all states between.
        Arguments are those of `sample_grids`."""
        keys = sample_keys(seed, numbers)
        start = np.asarray(sample_start(keys, grid, self.config.num_codes))  # [N, h, w]
        is_known = None
        if known is not None:
            codes, is_known = known
            start = np.where(is_known, codes, start)
        params, of = {"params": self.variables["params"]}, np.asarray(labels, np.int32)
        return sample_grids(self.network, params, keys, of, start, policy, is_known, history)


def make_network(config: SundaeConfig) -> SundaeNetwork:
    """Makes the Flax module of a configuration."""
    return SundaeNetwork(config.model, config.num_codes, config.codes.num_classes)
