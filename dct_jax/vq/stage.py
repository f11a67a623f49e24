"""Autoencoders as stages: what they share, and a VQ-VAE, whose steps lower a squared error."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dct_jax import plots
from dct_jax.distributed.parallel import DATA_AXIS, first_replica
from dct_jax.nn.initial import initial_params
from dct_jax.training.batches import pictures_at_a_time
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Findings, HeldOutPictures, Mean, Metrics, Sizes, Stage, Trained, TrainState
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.codebook import follow_vectors, start_codebook
from dct_jax.vq.config import AutoencoderRunConfig, VQVAEConfig
from dct_jax.vq.measures import measure
from dct_jax.vq.network import to_float
from dct_jax.vq.quantizers import Quantized, perplexity

SHOWN = 8
"""Pictures that training shows."""


class AutoencoderStage(Stage):
    """An autoencoder in training."""

    config: AutoencoderRunConfig
    best = "squared_error"
    unit = "pictures"

    def __init__(self, config: AutoencoderRunConfig) -> None:
        self.config = config
        self.network = config.network()
        self.optimizer = make_optimizer(config.training)

    def initial_variables(self) -> dict[str, Any]:
        """Makes fresh weights; the first step makes the table, of its batch."""
        pixels = jax.ShapeDtypeStruct((1, *self.config.data.image_size, 3), jnp.float32)
        return dict(initial_params(self.network, pixels, seed=self.config.seed))

    def random_key(self, step: jax.Array) -> jax.Array:
        """The key of what is random in a step, equal on all devices."""
        return jax.random.fold_in(jax.random.key(self.config.seed), step)

    def start(self, state: TrainState, pixels: jax.Array) -> dict[str, Any]:
        """Returns the variables that a step begins with; the first makes a table of its batch."""
        start = partial(start_codebook, self.network, self.config.quantizer)
        key = jax.random.fold_in(self.random_key(state.step), 2)  # that of the step itself chooses spare vectors
        return jax.lax.cond(state.step == 0, lambda x: start(x, pixels, key), lambda x: x, state.variables)

    def evaluate(self, variables: Any, held_out: np.ndarray, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Measures what is lost, and what the codes cost; see `measures.measure`."""
        model = self.trained(first_replica(variables, devices), (), ())
        codes, copies = model.reconstruct(held_out)
        numbers = measure(held_out, copies, codes, self.config.quantizer.num_codes)
        return numbers | self.describe_codes(codes) | self.compare(held_out, copies)

    def loss_of_codes(self, quantized: Quantized) -> jax.Array:
        """Returns the loss of the table and the vectors, float32 []."""
        return quantized.codebook_loss + self.config.quantizer.commitment * quantized.commitment_loss

    def describe_codes(self, codes: np.ndarray) -> dict[str, float]:
        """Returns further numbers about the codes of crops, int [N, h, w], by name."""
        return {}

    def compare(self, pictures: np.ndarray, copies: np.ndarray) -> dict[str, float]:
        """Returns further numbers about reconstructions, uint8 [N, H, W, 3] each, by name."""
        return {}

    def pictures(self, variables: Any, held_out: np.ndarray) -> dict[str, np.ndarray]:
        """Returns held-out pictures above their reconstructions."""
        shown = held_out[:SHOWN]
        as_evaluated = pictures_at_a_time(*held_out.shape[:3])  # the program is there already
        _, copies = self.trained(variables, (), ()).reconstruct(shown, as_evaluated)
        return {"reconstructions": plots.image_grid([*shown, *copies], columns=len(shown))}

    def findings(
        self, model: Trained, held: HeldOutPictures, records: Sequence[dict[str, Any]], batch_size: int, coders: bool
    ) -> Findings:
        """What the command evaluate says; see `findings.autoencoder_findings`."""
        from dct_jax.vq.findings import autoencoder_findings  # training needs no Fréchet distances

        return autoencoder_findings(cast(TrainedAutoencoder, model), held, batch_size)

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> TrainedAutoencoder:
        """Makes an autoencoder of pictures."""
        return TrainedAutoencoder(self.config, variables, sizes, classes)


class VQVAEStage(AutoencoderStage):
    """A VQ-VAE in training."""

    config: VQVAEConfig

    def init(self) -> TrainState:
        """The state before the first step."""
        variables = self.initial_variables()
        return TrainState(jnp.zeros((), jnp.int32), variables, self.optimizer.init(variables["params"]))

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        """Takes one step on the mean squared error and the quantiser's losses."""
        config, pixels = self.config.quantizer, to_float(batch)  # [b, H, W, 3]
        variables = self.start(state, pixels)
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def loss(params: Any) -> tuple[jax.Array, Any]:
            found = self.network.apply({"params": params, **rest}, pixels)
            reconstruction, vectors, quantized = cast(tuple[jax.Array, jax.Array, Quantized], found)
            error = jnp.square(reconstruction - pixels).mean()
            return error + self.loss_of_codes(quantized), (error, quantized, vectors)

        (_, (error, quantized, vectors)), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        gradient = jax.lax.pmean(gradient, DATA_AXIS)
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, variables["params"])
        variables = variables | {"params": optax.apply_updates(variables["params"], updates)}
        variables, counts = follow_vectors(config, variables, vectors, quantized, self.random_key(state.step))
        losses = {"squared_error": error, "commitment": quantized.commitment_loss}
        metrics = report_step(losses, counts, len(batch), gradient)
        return TrainState(state.step + 1, variables, optimizer), metrics


def report_step(losses: Mapping[str, jax.Array], counts: jax.Array, pictures: int, gradient: Any) -> Metrics:
    """Reports a step of an autoencoder.

    Args:
        losses: means over this device's part of the batch, by name.
        counts: how many vectors of the global batch had each code, [K].
        pictures: of this device's part.
        gradient: of the global batch.
    """
    number = jax.lax.psum(float(pictures), DATA_AXIS)
    means = {name: Mean(jax.lax.psum(x * pictures, DATA_AXIS), number) for name, x in losses.items()}
    of_codes = {"perplexity": perplexity(counts), "codes_used": (counts > 0).mean()}
    means |= {name: Mean(x, jnp.ones(())) for name, x in of_codes.items()}
    return Metrics(means, number, optax.tree.norm(gradient))
