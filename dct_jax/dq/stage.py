"""A DQ-VAE as a stage: a VQ-GAN's steps on the features of the grains that the router chooses."""

import math
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.distributed.parallel import DATA_AXIS, places_of
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.network import DQVAE, Routed
from dct_jax.dq.pictures import grains_of, measure_lengths
from dct_jax.dq.router import budget_loss, count_shares
from dct_jax.plots import GRAIN_NAMES
from dct_jax.vq.gan.stage import Pass, VQGANStage
from dct_jax.vq.quantizers import Quantized

SHARES = {grains: tuple(f"{name}_share" for name in names[1:]) for grains, names in GRAIN_NAMES.items()}
"""The names of the shares of regions of each grain but the coarsest, by the number of grains."""


class DQVAEStage(VQGANStage):
    """A DQ-VAE in training. A learned router chooses grains at random in training, and the most
    probable ones elsewhere."""

    config: DQVAEConfig
    network: DQVAE

    def run_network(self, variables: Any, pixels: jax.Array, step: jax.Array) -> Pass:
        """Runs the network on this device's part of the batch, float32 [b, H, W, 3], in a step.

        The budget is the whole batch's. Its gradient reaches this device's parameters through the
        gates of this device's pictures.
        """
        router = self.config.router
        is_learned = router.kind == "feature"
        noise = self.noise(step, len(pixels)) if is_learned else None
        found = self.network.apply(variables, pixels, noise, method="routed_features")
        features, routed, quantized = cast(tuple[jax.Array, Routed, Quantized], found)
        own = count_shares(routed.gates)  # [G - 1]
        shares = jax.lax.pmean(jax.lax.stop_gradient(own), DATA_AXIS)
        loss = self.loss_of_codes(quantized)
        terms = {"commitment": quantized.commitment_loss, **dict(zip(SHARES[self.config.model.grains], shares))}
        if is_learned:
            terms["budget"], slopes = jax.value_and_grad(budget_loss)(shares, router.ratios, router.budget)
            loss += jnp.vdot(slopes, own)
        return Pass(features, loss, routed.vectors, quantized, terms)

    def noise(self, step: jax.Array, pictures: int) -> jax.Array:
        """Makes the noise of this device's part of the batch, float32 [b, h, w, G]. A picture's
        depends on its place in the whole batch, and not on how many devices or processes there
        are."""
        key = jax.random.fold_in(self.random_key(step), 1)  # that of step itself is the codebook's
        keys = jax.vmap(partial(jax.random.fold_in, key))(places_of(pictures))
        shape = (*self.config.regions, self.config.model.grains)
        return jax.vmap(lambda key: jax.random.gumbel(key, shape))(keys)

    def describe_codes(self, codes: np.ndarray) -> dict[str, float]:
        """Returns the shares of regions of each grain but the coarsest; the mean number of codes of
        a picture; and the bits per pixel of the grain map at log2 G a region. Codes are grids with
        holes of crops, int [N, n, m]."""
        lengths, (height, width) = measure_lengths(grains_of(self.config, codes)), self.config.data.image_size
        grains, regions = self.config.model.grains, math.prod(self.config.regions)
        numbers = dict(zip(SHARES[grains], list(lengths.shares.values())[1:]))
        numbers["codes_per_picture"] = lengths.numbers["mean"]
        numbers["map_bits_per_pixel"] = regions * math.log2(grains) / (height * width)
        return numbers
