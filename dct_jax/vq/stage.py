"""A VQ-VAE as a stage: what its runs do in a step, and how they are evaluated."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Mean, Metrics, Sizes, Stage, TrainState
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import VQVAEConfig
from dct_jax.vq.measures import measure
from dct_jax.vq.network import VQVAE, to_float
from dct_jax.vq.quantizers import Codebook, Quantized, choose_rows, counts_and_sums, kmeans, nearest_codes, perplexity, update


class VQVAEStage(Stage):
    """A VQ-VAE in training."""

    config: VQVAEConfig
    best = "squared_error"
    unit = "pictures"

    def __init__(self, config: VQVAEConfig) -> None:
        self.config = config
        self.network = VQVAE(config.model, config.quantizer)
        self.optimizer = make_optimizer(config.training)

    def init(self) -> TrainState:
        """Makes fresh weights; the first step makes the table, of its batch."""
        pixels = jnp.zeros((1, *self.config.data.image_size, 3))
        variables = jax.jit(self.network.init)(jax.random.key(self.config.seed), pixels)
        return TrainState(jnp.zeros((), jnp.int32), dict(variables), self.optimizer.init(variables["params"]))

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        """Takes one step on the mean squared error and the quantiser's losses."""
        config, pixels = self.config.quantizer, to_float(batch)  # [b, H, W, 3]
        key = jax.random.fold_in(jax.random.key(self.config.seed), state.step)
        variables = jax.lax.cond(state.step == 0, partial(self._start, pixels, key), lambda x: x, state.variables)
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def loss(params: Any) -> tuple[jax.Array, Any]:
            found = self.network.apply({"params": params, **rest}, pixels)
            reconstruction, vectors, quantized = cast(tuple[jax.Array, jax.Array, Quantized], found)
            error = jnp.square(reconstruction - pixels).mean()
            total = error + quantized.codebook_loss + config.commitment * quantized.commitment_loss
            return total, (error, quantized, vectors)

        (_, (error, quantized, vectors)), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        gradient = jax.lax.pmean(gradient, DATA_AXIS)
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, variables["params"])
        variables = variables | {"params": optax.apply_updates(variables["params"], updates)}
        rows = vectors.reshape(-1, config.width)  # [N, D]
        counts, sums = jax.lax.psum(counts_and_sums(rows, quantized.codes.reshape(-1), config.num_codes), DATA_AXIS)
        if config.kind == "ema":
            spare = choose_rows(jax.lax.all_gather(rows, DATA_AXIS, tiled=True), config.num_codes, key)
            after = update(config, Codebook(**variables["codebook"]["quantizer"]), counts, sums, spare)
            variables = variables | {"codebook": {"quantizer": after._asdict()}}
        number = jax.lax.psum(float(len(batch)), DATA_AXIS)
        losses = {"squared_error": error, "commitment": quantized.commitment_loss}
        means = {name: Mean(jax.lax.psum(x * len(batch), DATA_AXIS), number) for name, x in losses.items()}
        of_codes = {"perplexity": perplexity(counts), "codes_used": (counts > 0).mean()}
        means |= {name: Mean(x, jnp.ones(())) for name, x in of_codes.items()}
        return TrainState(state.step + 1, variables, optimizer), Metrics(means, number, optax.tree.norm(gradient))

    def _start(self, pixels: jax.Array, key: jax.Array, variables: Any) -> Any:
        """Makes a table of the means of the first batch's vectors."""
        config = self.config.quantizer
        if config.kind == "fsq":
            return variables
        vectors = cast(jax.Array, self.network.apply(variables, pixels, method="encode"))
        vectors = vectors.reshape(-1, config.width)
        vectors = jax.lax.all_gather(vectors, DATA_AXIS, tiled=True)  # [N, D]
        table = kmeans(vectors, config.num_codes, key)
        if config.kind == "gradient":
            params = variables["params"] | {"quantizer": {"table": table}}
            return variables | {"params": params}
        counts, sums = counts_and_sums(vectors, nearest_codes(vectors, table), config.num_codes)
        return variables | {"codebook": {"quantizer": Codebook(table, counts, sums)._asdict()}}

    def evaluate(self, variables: Any, held_out: np.ndarray, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Measures what is lost, and what the codes cost; see `measures.measure`."""
        model = self.trained(jax.device_get(variables), (), ())
        codes, copies = model.reconstruct(held_out)
        return measure(held_out, copies, codes, self.config.quantizer.num_codes)

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> TrainedAutoencoder:
        """Makes an autoencoder of pictures."""
        return TrainedAutoencoder(self.config, variables, sizes, classes)
