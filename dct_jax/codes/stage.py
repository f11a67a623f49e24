"""A prior over codes as a stage: what all kinds of priors share."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dct_jax import plots
from dct_jax.codes.config import CodePriorConfig
from dct_jax.codes.findings import code_findings, uniform_numbers
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.codes.random_keys import picture_keys
from dct_jax.codes.reader import CodesBatch
from dct_jax.codes.tokens import to_codes
from dct_jax.distributed.parallel import first_replica, replicate
from dct_jax.nn.initial import initial_params
from dct_jax.nn.modules import is_hidden_matrix
from dct_jax.training.batches import mean_in_batches
from dct_jax.training.optimizer import is_matrix, make_optimizer
from dct_jax.training.stage import Findings, HeldOutPictures, Mean, Metrics, Stage, Trained, TrainState
from dct_jax.training.step import gradient_step

SHOWN = 8
"""Samples that training shows."""


class CodePriorStage(Stage):
    """A prior over codes in training. The autoencoder is frozen, and a collection of its own.

    Attributes:
        whole: what its number "nats" is of.
        note: what its numbers mean, for people, where the names do not say it.
        decays: tells of each parameter whether AdamW lowers it.
    """

    config: CodePriorConfig
    unit = "codes"
    whole: ClassVar[Literal["code", "picture"]] = "code"
    note: ClassVar[str] = ""
    decays = staticmethod(is_matrix)

    def __init__(self, config: CodePriorConfig) -> None:
        self.config, self.network = config, config.network()
        self._example = jnp.zeros((1, *config.grid), jnp.int32), jnp.zeros(1, jnp.int32)

    def losses(
        self, params: Any, codes: jax.Array, labels: jax.Array, keys: jax.Array, dropout: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Judges grids.

        Args:
            params: of the network.
            codes: int32 [b, h, w].
            labels: int32 [b].
            keys: a random key for each picture, [b].
            dropout: a key, in training.

        Returns:
            The mean loss over the pictures, which alone has a gradient; and what to report of each
            picture, float32 [b] by name.
        """
        raise NotImplementedError

    @cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser of the parameters, which a model that is only loaded does not need."""

        def find_hidden() -> Any:
            return is_hidden_matrix(self.network, *self._example)["params"]

        return make_optimizer(self.config.training, find_hidden, self.decays)

    def init(self) -> TrainState:
        """Makes fresh parameters, and zeros in the place of the autoencoder's variables."""
        params = initial_params(self.network, *self._example, seed=self.config.seed)["params"]
        variables = {"params": params}
        if inner := self.config.autoencoder:
            variables["autoencoder"] = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inner.build().shapes())
        return TrainState(jnp.zeros((), jnp.int32), variables, self.optimizer.init(params))

    def codes_of(self, variables: Any, content: jax.Array) -> jax.Array:
        """Returns the codes of what the reader made, int32 [b, h, w]."""
        return content if content.ndim == 3 else to_codes(self.config, variables.get("autoencoder", {}), content)

    def step(self, state: TrainState, batch: CodesBatch) -> tuple[TrainState, Metrics]:
        """Takes one step on a device's part of a batch."""
        training, seed = self.config.training, self.config.seed
        params, rest = state.variables["params"], {name: x for name, x in state.variables.items() if name != "params"}
        keys = picture_keys(jax.random.fold_in(jax.random.key(seed), state.step), jnp.asarray(batch.seeds))

        def loss(params: Any, part: Any, dropout: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            content, labels, part_keys = part
            codes = jax.lax.stop_gradient(self.codes_of(rest, content))
            mean, found = self.losses(params, codes, labels, jax.random.wrap_key_data(part_keys), dropout)
            return mean / training.accumulate, {name: x.sum() for name, x in found.items()}

        inner = TrainState(state.step, params, state.optimizer)
        parts = jnp.asarray(batch.content), batch.labels, jax.random.key_data(keys)
        inner, sums, norm = gradient_step(loss, self.optimizer, inner, parts, seed, training.accumulate)
        number, (rows, columns) = float(training.batch_size), self.config.grid
        means = {name: Mean(x, jnp.float32(number)) for name, x in sums.items()}
        work = jnp.float32(number * rows * columns)
        return TrainState(inner.step, {"params": inner.variables, **rest}, inner.optimizer), Metrics(means, work, norm)

    def evaluate(self, variables: Any, held_out: CodesBatch, devices: Sequence[jax.Device]) -> dict[str, float]:
        """Returns the means of `losses` over held-out pictures. A device takes no more of them at a
        time than it has in training."""
        training, rows = self.config.training, len(held_out.labels)
        size = min(max(training.batch_size // (training.accumulate * len(devices)), 1), rows)
        return mean_in_batches(partial(self._judge, first_replica(variables, devices)), held_out, size)

    def equally_likely(self, numbers: dict[str, float]) -> dict[str, float]:
        """Returns what the numbers of `evaluate` are if all codes are equally likely."""
        return uniform_numbers(self.config.num_codes, self.config.grid, self.config.data.image_size)

    def pictures(self, variables: Any, held_out: CodesBatch) -> dict[str, np.ndarray]:
        """Returns a few samples, of the classes of held-out pictures."""
        model = cast(TrainedCodePrior, self.trained(variables, (), ()))
        samples = model.sample_pictures(SHOWN, self.config.seed, held_out.labels[:SHOWN].tolist(), SHOWN)
        return {"samples": plots.image_grid([picture for _, picture in samples], columns=SHOWN)}

    def findings(
        self, model: Trained, held: HeldOutPictures, records: Sequence[dict[str, Any]], batch_size: int, coders: bool
    ) -> Findings:
        """What the command evaluate says; see `findings.code_findings`."""
        devices = jax.local_devices()[:1]
        numbers = self.evaluate(replicate(model.variables, devices), held.content, devices)
        return code_findings(self.config, numbers, self.equally_likely(numbers), held, self.whole, self.note)

    @cached_property
    def _judge(self) -> Callable[..., dict[str, jax.Array]]:
        def judge(variables: Any, batch: CodesBatch) -> dict[str, jax.Array]:
            keys = picture_keys(jax.random.key(self.config.seed), jnp.asarray(batch.seeds))
            codes = self.codes_of(variables, jnp.asarray(batch.content))
            return self.losses(variables["params"], codes, jnp.asarray(batch.labels), keys, None)[1]

        return cast(Callable[..., dict[str, jax.Array]], jax.jit(judge))
