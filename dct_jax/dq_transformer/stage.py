"""A DQ-Transformer as a stage, and the trained model, which samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codes.prior import Sampled, TrainedCodePrior
from dct_jax.codes.random_keys import sample_keys
from dct_jax.codes.stage import CodePriorStage
from dct_jax.dq.grains import map_of
from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.dq_transformer.likelihood import log_likelihood
from dct_jax.dq_transformer.network import DQTransformer
from dct_jax.dq_transformer.order import pack
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.dq_transformer.sampler import Known, sample_codes
from dct_jax.training.stage import Sizes


class DQTransformerStage(CodePriorStage):
    """A DQ-Transformer in training."""

    config: DQTransformerConfig
    network: DQTransformer
    best, unit, whole = "bits_per_pixel", "cells", "picture"
    note: ClassVar[str] = "position nats are of the grain map, code nats of its codes"

    @staticmethod
    def decays(params: Any) -> Any:
        """Tells of each parameter whether AdamW lowers it: kernels of dense layers alone, and no
        tables, as in the program of Huang et al. (2023)."""
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    def losses(
        self, params: Any, codes: jax.Array, labels: jax.Array, keys: jax.Array, dropout: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The nats of a picture, divided by the cells of its grid; and what they are of: its grain
        map and its codes, with their number. See `CodePriorStage.losses`."""
        rngs = None if dropout is None else {"dropout": dropout}
        logits = self.network.apply({"params": params}, codes, labels, rngs=rngs)
        sequences = pack(self.network.order, codes, self.network.num_codes)
        of_positions, of_codes = (-x.sum(axis=1) for x in log_likelihood(cast(Any, logits), sequences))  # [b] each
        nats = of_positions + of_codes
        number = (sequences.codes < self.network.num_codes).sum(axis=1).astype(jnp.float32)
        found = {"nats": nats, "position_nats": of_positions, "code_nats": of_codes, "codes": number}
        return nats.mean() / (codes.shape[1] * codes.shape[2]), found

    def evaluate(self, variables: Any, held_out: Any, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Returns the exact bits of held-out pictures' grain maps and codes, per pixel and picture,
        and the means of `losses`."""
        numbers = super().evaluate(variables, held_out, devices)
        return {**self._bits(numbers["nats"]), **numbers}

    def equally_likely(self, numbers: dict[str, float]) -> dict[str, float]:
        """Returns what `numbers` are if all grain maps are equally likely, and all codes."""
        order, codes = self.network.order, numbers["codes"]
        of_positions = order.regions[0] * order.regions[1] * float(np.log(order.grains))
        of_codes = codes * float(np.log(self.network.num_codes))
        nats = of_positions + of_codes
        return {**self._bits(nats), "nats": nats, "position_nats": of_positions, "code_nats": of_codes, "codes": codes}

    def _bits(self, nats: float) -> dict[str, float]:
        """Returns the bits of a pixel and a picture of so many nats."""
        (height, width), bits = self.config.data.image_size, float(nats / np.log(2))
        return {self.best: bits / (height * width), "bits_per_picture": bits}

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> "TrainedDQTransformer":
        """Makes a model that samples."""
        return TrainedDQTransformer(self.config, variables, sizes, classes)


@dataclass(frozen=True, eq=False)
class TrainedDQTransformer(TrainedCodePrior):
    """A DQ-Transformer with its parameters.

    Attributes:
        grain_map: int [h, w], the grains of all samples; None to sample them.
    """

    config: DQTransformerConfig
    policy: StackPolicy = field(default_factory=StackPolicy)
    grain_map: np.ndarray | None = None
    limit_of_known: ClassVar[str] = (
        "a code depends on the known codes before it alone, and all codes of a grain come before those of finer ones"
    )
    has_one_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.grain_map is None:
            return
        regions, grains = self.config.dq_vae.regions, self.config.dq_vae.model.grains
        is_map = self.grain_map.shape == regions and np.isin(self.grain_map, range(grains)).all()
        if not is_map:
            raise ValueError(
                f"the grain map has {' x '.join(map(str, self.grain_map.shape))} numbers; it must have {regions[0]} x "
                f"{regions[1]}, each from 0 to {grains - 1}"
            )

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises ValueError if the grid is not that of training, the only one with symbols."""
        if grid != self.config.grid:
            (height, width), (rows, columns) = grid, self.config.grid
            raise ValueError(
                f"the grid is {height} x {width} cells; a {self.config.system} samples the grid of its training alone, "
                f"{rows} x {columns}"
            )

    def sample(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        known: tuple[np.ndarray, np.ndarray] | None = None,
        room: int = 0,
    ) -> Sampled:
        """Samples grids with holes, one code after another.

        A region stays as it is if all its cells are known. What is sampled depends on what comes
        before it alone. See `TrainedCodePrior.sample`.
        """
        params, keys, classes = {"params": self.variables["params"]}, sample_keys(seed, numbers), np.asarray(labels, np.int32)
        given = self._known(len(numbers), known)
        return Sampled(np.asarray(sample_codes(self.network, params, classes, keys, self.policy, given)))

    def _known(self, batch: int, known: tuple[np.ndarray, np.ndarray] | None) -> Known | None:
        """Returns what is known of samples; None if nothing is."""
        if known is None and self.grain_map is None:
            return None
        (height, width), grains, k = self.config.dq_vae.regions, self.config.dq_vae.model.grains, self.config.num_codes
        grain_map = np.full((height, width), -1) if self.grain_map is None else self.grain_map
        grain_map = np.broadcast_to(grain_map, (batch, height, width))
        codes = np.full((batch, *self.config.grid), k)
        if known is not None:
            side = self.config.region_side
            is_known = known[1].reshape(batch, height, side, width, side).all(axis=(2, 4))  # [B, h, w]
            grain_map = np.where(is_known, map_of(jnp.asarray(known[0]), grains, k), grain_map)
            codes = np.where(is_known.repeat(side, axis=1).repeat(side, axis=2), known[0], k)
        return Known(jnp.asarray(grain_map.reshape(batch, -1), jnp.int32), jnp.asarray(codes, jnp.int32))
