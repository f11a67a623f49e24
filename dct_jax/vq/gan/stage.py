"""A VQ-GAN as a stage: an autoencoder and a discriminator that learn in one step."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.evaluation.lpips import Lpips, load_lpips
from dct_jax.training.batches import mean_in_batches, pictures_at_a_time
from dct_jax.training.stage import Metrics, TrainState
from dct_jax.vq.codebook import follow_vectors
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.vq.gan.discriminator import Discriminator, judge
from dct_jax.vq.gan.losses import adaptive_weight, adversarial_loss, hinge_loss
from dct_jax.vq.gan.network import VQGAN
from dct_jax.vq.network import to_float
from dct_jax.vq.quantizers import Quantized
from dct_jax.vq.stage import AutoencoderStage, report_step


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


class Pass(NamedTuple):
    """What a step makes of a device's part of the batch, before the last layer.

    Attributes:
        features: what the last layer reads, [b, f h, f w, C].
        loss: float32 [], of all that is not of the reconstructions.
        vectors: before the quantiser, [b, h, w, D].
        quantized: the vectors after it.
        terms: parts of the loss to report, float32 [] by name.
    """

    features: jax.Array
    loss: jax.Array
    vectors: jax.Array
    quantized: Quantized
    terms: dict[str, jax.Array]


class VQGANStage(AutoencoderStage):
    """A VQ-GAN in training.

    A checkpoint is compared by the error of the pixels of held-out pictures plus the weighted
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
        """The perceptual loss, if the configuration has one. Raises ValueError if its weights are
        not installed."""
        name = self.config.loss.perceptual
        if name == "none":
            return None
        with jax.ensure_compile_time_eval():  # a step that is traced asks first
            return load_lpips(name, precision=None)

    def init(self) -> TrainState:
        """The state before the first step."""
        variables = self.initial_variables()
        pixels = jnp.zeros((1, *self.config.data.image_size, 3))
        key = jax.random.key(self.config.seed + 1)  # not the autoencoder's
        params = jax.jit(self.discriminator.init)(key, pixels)["params"]
        adversary = Adversary(self.optimizer.init(variables["params"]), params, self.optimizer.init(params))
        return TrainState(jnp.zeros((), jnp.int32), variables, adversary)

    @property
    def has_adversary(self) -> bool:
        """Whether the discriminator ever starts in this run."""
        return self.config.loss.adversarial_start < self.config.training.steps

    def can_be_best(self, step: int) -> bool:
        """Whether the discriminator has taught at this step, if it ever does in this run: with it,
        reconstructions are sharper, and their reconstruction loss is larger."""
        return step > self.config.loss.adversarial_start or not self.has_adversary

    def reconstruction_loss(self, copies: jax.Array, pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Compares reconstructions with pictures, float32 [b, H, W, 3] each: the loss, and its
        terms by name."""
        if self.config.loss.pixels == "absolute":
            loss = jnp.abs(copies - pixels).mean()
        else:
            loss = jnp.square(copies - pixels).mean()
        terms = {f"{self.config.loss.pixels}_error": loss}
        if self.perceptual:
            terms["lpips"] = self.perceptual.distance(self.perceptual.variables, copies, pixels).mean()
            loss += self.config.loss.perceptual_weight * terms["lpips"]
        return loss, terms

    def run_network(self, variables: Any, pixels: jax.Array, step: jax.Array) -> Pass:
        """Runs the network on this device's part of the batch, float32 [b, H, W, 3], in a step."""
        found = self.network.apply(variables, pixels, method="features")
        features, vectors, quantized = cast(tuple[jax.Array, jax.Array, Quantized], found)
        return Pass(features, self.loss_of_codes(quantized), vectors, quantized, {"commitment": quantized.commitment_loss})

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        """Takes one step of the autoencoder and, from its start on, one of the discriminator, both
        on the reconstructions of the autoencoder before the step."""
        config, pixels, adversary = self.config, to_float(batch), cast(Adversary, state.optimizer)
        variables = self.start(state, pixels)
        params = variables["params"]
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        _, height, width, _ = pixels.shape

        def make_features(params: Any) -> tuple[tuple[jax.Array, jax.Array], Pass]:
            found = self.run_network({"params": params, **rest}, pixels, state.step)
            return (found.features, found.loss), found

        def make_copies(last: Any, features: jax.Array) -> jax.Array:
            return cast(jax.Array, self.network.to_pixels.apply({"params": last}, features))[:, :height, :width]

        (features, _), pull_features, forward = jax.vjp(make_features, params, has_aux=True)
        copies, pull_copies = jax.vjp(make_copies, params["to_pixels"], features)  # [b, H, W, 3]

        # Gradients of the two losses with respect to the copies; the last kernel weighs them.
        of_copies = jax.grad(self.reconstruction_loss, has_aux=True)
        to_reconstruct, terms = of_copies(copies, pixels)

        def contend(before: Adversary) -> tuple[jax.Array, Adversary, dict[str, jax.Array]]:
            fool = jax.value_and_grad(lambda x: adversarial_loss(judge(self.discriminator, before.params, x)))
            adversarial, to_fool = fool(copies)
            kernels = [pull_copies(gradient)[0]["kernel"] for gradient in (to_reconstruct, to_fool)]
            first, second = jax.lax.pmean(kernels, DATA_AXIS)
            weight = adaptive_weight(first, second, config.loss.adversarial_limit) * config.loss.adversarial_weight

            def discriminate(params: Any) -> jax.Array:
                real, fake = (judge(self.discriminator, params, x) for x in (pixels, copies))
                return hinge_loss(real, fake)

            loss, blame = jax.value_and_grad(discriminate)(before.params)
            blame = jax.lax.pmean(blame, DATA_AXIS)
            optimizer = at_step(before.discriminator, state.step)
            updates, optimizer = self.optimizer.update(blame, optimizer, before.params)
            after = before._replace(params=cast(Any, optax.apply_updates(before.params, updates)), discriminator=optimizer)
            found = {"adversarial": adversarial, "discriminator": loss, "adversarial_weight": weight}
            return to_reconstruct + weight * to_fool, after, found

        def wait(before: Adversary) -> tuple[jax.Array, Adversary, dict[str, jax.Array]]:
            return to_reconstruct, before, dict.fromkeys(("adversarial", "discriminator", "adversarial_weight"), jnp.zeros(()))

        # All devices take the same branch, so the sums over devices within it meet. What no step of
        # the run takes is not compiled.
        is_on = state.step >= config.loss.adversarial_start
        to_copies, adversary, found = jax.lax.cond(is_on, contend, wait, adversary) if self.has_adversary else wait(adversary)
        last, to_features = pull_copies(to_copies)
        (gradient,) = pull_features((to_features, jnp.ones(())))
        gradient = jax.lax.pmean(gradient | {"to_pixels": last}, DATA_AXIS)

        updates, generator = self.optimizer.update(gradient, adversary.generator, params)
        variables = variables | {"params": optax.apply_updates(params, updates)}
        adversary = adversary._replace(generator=generator)
        key = self.random_key(state.step)
        variables, counts = follow_vectors(config.quantizer, variables, forward.vectors, forward.quantized, key)
        terms |= found | forward.terms
        return TrainState(state.step + 1, variables, adversary), report_step(terms, counts, len(batch), gradient)

    def compare(self, pictures: np.ndarray, copies: np.ndarray) -> dict[str, float]:
        """Returns the means of the reconstruction loss and its terms over pictures."""
        return mean_in_batches(self._compare, (copies, pictures), pictures_at_a_time(*pictures.shape[:3]))

    @cached_property
    def _compare(self) -> Callable[[Any], dict[str, jax.Array]]:
        def compare_one(copy: jax.Array, picture: jax.Array) -> dict[str, jax.Array]:
            with jax.default_matmul_precision("highest"):  # LPIPS is measured here; a step may round
                loss, terms = self.reconstruction_loss(to_float(copy[None]), to_float(picture[None]))
            return {self.best: loss, **terms}

        return jax.jit(lambda two: jax.vmap(compare_one)(*two))


def at_step(optimizer: optax.OptState, step: jax.Array) -> optax.OptState:
    """Moves an optimiser's state to a step of the schedule of learning rates. So the discriminator,
    which starts late, learns at the rate of the autoencoder, with means that begin afresh."""

    def move(part: Any) -> Any:
        return part._replace(count=step) if isinstance(part, optax.ScaleByScheduleState) else part

    return cast(optax.OptState, jax.tree.map(move, optimizer, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState)))
