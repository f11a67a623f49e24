"""A SUNDAE as a stage, and the trained model, which samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import jax
import numpy as np

from dct_jax.codes.prior import Sampled, TrainedCodePrior
from dct_jax.codes.random_keys import sample_keys
from dct_jax.codes.stage import CodePriorStage
from dct_jax.sundae.config import SundaeConfig
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.sampler import sample_grids, sample_start
from dct_jax.sundae.unroll import unrolled_loss
from dct_jax.training.stage import Sizes


class SundaeStage(CodePriorStage):
    """A SUNDAE in training."""

    config: SundaeConfig
    best = "nats"
    note: ClassVar[str] = (
        "these are of codes that are denoised step by step, as in training; they bound no likelihood, so there are no bits"
    )

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
    policy: SundaePolicy = field(default_factory=SundaePolicy)

    @property
    def states(self) -> int:
        """The start, and what each step of the policy leaves."""
        return self.policy.steps + 1

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises ValueError if the hourglass cannot halve a grid of (h, w) codes, or it is too
        large."""
        super().check_grid(grid)
        self.config.model.check_grid(grid)

    def sample(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        known: tuple[np.ndarray, np.ndarray] | None = None,
        room: int = 0,
    ) -> Sampled:
        """Samples grids, all codes at once, step by step; see `TrainedCodePrior.sample`."""
        params, keys, classes = {"params": self.variables["params"]}, sample_keys(seed, numbers), np.asarray(labels, np.int32)
        start = np.asarray(sample_start(keys, grid, self.config.num_codes))  # [N, h, w]
        is_known = None
        if known is not None:
            codes, is_known = known
            start = np.where(is_known, codes, start)
        found = sample_grids(self.config.network(), params, keys, classes, start, self.policy, is_known, room)
        return Sampled(np.asarray(found.codes), np.asarray(found.steps), np.asarray(found.history) if room else None)
