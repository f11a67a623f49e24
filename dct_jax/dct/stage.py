"""DCTransformer as a stage: it takes the steps of a run, and evaluates it."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from dct_jax.dct.chunks import Chunk
from dct_jax.dct.coders import ARITHMETIC, available_coders, scan_bits_per_pixel
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.findings import find
from dct_jax.dct.likelihood import bits_per_pixel, list_log_prob
from dct_jax.dct.network import DCTransformer, SymbolNats, log_likelihood, network
from dct_jax.dct.network.transformer import Logits
from dct_jax.dct.reader import HeldOut
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.nn.initial import initial_params
from dct_jax.nn.modules import is_hidden_matrix
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Findings, HeldOutPictures, Mean, Metrics, Sizes, Stage, TrainState
from dct_jax.training.step import gradient_step


class DCTStage(Stage):
    """A DCTransformer in training."""

    best = "bits_per_pixel"
    unit = "triples"

    def __init__(self, config: DCTConfig) -> None:
        self.config, self._example = config, config.reader().example()
        self.network = network(config)

    @cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser of the parameters, which a model that is only loaded does not need."""
        return make_optimizer(self.config.training, partial(is_hidden_matrix, self.network, self._example))

    def trace_shapes(self) -> Any:
        """Finds the shapes of the parameters, without a trace of the optimiser."""
        return jax.eval_shape(self.network.init, jax.random.key(0), self._example)

    def init(self) -> TrainState:
        """Makes fresh parameters.

        Raises:
            ValueError: if the network is float64, whose backward passes are float32.
        """
        if self.config.model.dtype == "float64":
            raise ValueError("model.dtype is float64, which is not for training; it must be float32 or bfloat16")
        return init_state(self.network, self.optimizer, self._example, self.config.seed)

    def step(self, state: TrainState, batch: Chunk[jax.Array]) -> tuple[TrainState, Metrics]:
        """Takes a step; see `train_step`."""
        accumulate = self.config.training.accumulate
        return train_step(self.network, self.optimizer, state, batch, self.config.seed, accumulate)

    def evaluate(self, variables: Any, held_out: HeldOut, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Computes bits per pixel, and nats per element of each symbol."""
        lists, training = held_out.lists, self.config.training
        at_a_time = training.batch_size // training.accumulate
        nats = list_log_prob(self.network, variables, lists, held_out.labels, at_a_time, devices)
        elements = sum(len(sparse) + 1 for sparse in lists)
        by_symbol = {name: -float(x.sum()) / elements for name, x in nats._asdict().items()}
        return {self.best: bits_per_pixel(nats, lists), **by_symbol}

    def trained(self, variables: Any, sizes: Sizes, classes: tuple[str, ...]) -> TrainedModel:
        """Returns a model that samples."""
        return TrainedModel(self.config, variables, sizes, classes)

    def findings(
        self, model: Any, held: HeldOutPictures, records: Sequence[dict[str, Any]], batch_size: int, coders: bool
    ) -> Findings:
        """Finds out where the model's bits go, and what established coders need."""
        return find(model, held, records, batch_size, coders)

    def conclusion(self, evaluation: dict[str, float], held_out: HeldOut) -> list[str]:
        """Compares the bits with those of JPEG's arithmetic coding, if that is installed."""
        lines = super().conclusion(evaluation, held_out)
        if ARITHMETIC in available_coders(self.config.codec):
            try:
                bits = f"{scan_bits_per_pixel(ARITHMETIC, held_out.lists):.3f} bits per pixel"
            except ValueError as error:
                bits = f"not measured ({error})"
            lines.append(f"JPEG's arithmetic coding of the same coefficients: {bits}")
        return lines


def init_state(model: DCTransformer, optimizer: optax.GradientTransformation, batch: Chunk[Any], seed: int) -> TrainState:
    """Makes the state before the first step. The batch gives shapes only."""
    params = initial_params(model, batch, seed=seed)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def train_step(
    model: DCTransformer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Chunk[jax.Array],
    seed: int,
    accumulate: int = 1,
) -> tuple[TrainState, Metrics]:
    """Takes a step on one device's chunks; see `training.step.gradient_step`.

    The loss is minus the log-likelihood of the global batch divided by its number of elements
    (triples and stopping tokens).
    """
    mean_elements = jax.lax.pmean(batch.is_target.sum().astype(jnp.float32), DATA_AXIS)

    def loss(params: Any, part: Chunk[jax.Array], key: jax.Array) -> tuple[jax.Array, SymbolNats[jax.Array]]:
        logits = cast(Logits, model.apply(params, part, rngs={"dropout": key}))
        nats = SymbolNats(*(-x.sum() for x in log_likelihood(logits, part, model.vocabulary)))
        return sum(nats) / mean_elements, nats

    state, nats, norm = gradient_step(loss, optimizer, state, batch, seed, accumulate)
    elements = jax.lax.psum(1.0, DATA_AXIS) * mean_elements
    by_symbol = nats._asdict() | {"total": sum(nats)}
    means = {f"nats_per_triple/{name}": Mean(x, elements) for name, x in by_symbol.items()}
    return state, Metrics(means, elements, norm)
