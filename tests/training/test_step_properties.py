"""What a step must do, whatever its numbers are: clipping, Muon's matrices, dropout."""

import dataclasses
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dct_jax.config import TrainingConfig
from dct_jax.dct import stage as stage_module
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.config import ModelConfig
from dct_jax.dct.network import SymbolNats
from dct_jax.dct.stage import train_step
from dct_jax.distributed.parallel import parallel, place
from dct_jax.nn.blocks import EncoderBlock
from dct_jax.nn.precision import precision_of
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Metrics, TrainState
from tests.toys import tiny_config


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_gradient_is_clipped_to_the_norm_that_is_set(optimizer: str) -> None:
    """Adam's first moment after a step is a tenth of what it was given."""
    config = TrainingConfig(optimizer=optimizer, clip_norm=0.25)
    rule, params = make_optimizer(config, lambda: {"scale": False}), {"scale": jnp.ones(40)}
    update, start = jax.jit(rule.update), rule.init(params)
    for length, clipped in ((100.0, 0.25), (0.01, 0.01)):
        gradient = {"scale": jnp.full(40, length / np.sqrt(40))}
        _, state = update(gradient, start, params)
        moments = [x for path, x in jax.tree_util.tree_leaves_with_path(state) if "mu" in jax.tree_util.keystr(path)]
        (moment,) = [x for x in moments if x.shape == (40,)]
        assert float(optax.tree.norm(moment)) == pytest.approx(0.1 * clipped, rel=1e-4)


def test_muon_moves_matrices_between_layers_and_adam_the_rest() -> None:
    """Each at its own rate: a tenth of Muon's moves its matrices a tenth as far, and leaves the
    rest where it was."""
    params = {
        name: {"kernel": jnp.asarray(np.random.default_rng(i).normal(size=(6, 4)), jnp.float32)}
        for i, name in enumerate(("layer", "value_head"))
    }
    moved = []
    for rate in (1e-2, 1e-3):
        config = TrainingConfig(optimizer="muon", muon_learning_rate=rate, learning_rate=1e-3, warmup_steps=0)
        rule = make_optimizer(config, lambda: {"layer": {"kernel": True}, "value_head": {"kernel": False}})
        updates, _ = jax.jit(rule.update)(params, rule.init(params), params)
        moved.append({name: float(optax.tree.norm(update)) for name, update in updates.items()})
    assert moved[0]["layer"] == pytest.approx(10 * moved[1]["layer"], rel=1e-3)
    assert moved[0]["value_head"] == pytest.approx(moved[1]["value_head"], rel=1e-6)


def test_a_stage_tells_muon_which_of_its_matrices_lie_between_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that `is_hidden_matrix` finds in its network."""
    params = {name: {"kernel": jnp.ones((2, 2))} for name in ("layer", "head")}
    hidden, nothing = ({"layer": {"kernel": found}, "head": {"kernel": False}} for found in (True, False))
    asked: list[Any] = []

    def find(network: Any, example: Chunk) -> Any:
        asked.append((network, example))
        return hidden

    monkeypatch.setattr(stage_module, "is_hidden_matrix", find)
    stage = tiny_config(optimizer="muon").build()
    training = stage.config.training
    rules = stage.optimizer, make_optimizer(training, lambda: hidden), make_optimizer(training, lambda: nothing)
    ours, told, untold = (jax.tree.leaves_with_path(jax.eval_shape(rule.init, params)) for rule in rules)
    assert ours == told != untold
    example = stage.config.reader().example()
    for network, batch in asked:
        assert network == stage.network
        jax.tree.map(np.testing.assert_array_equal, batch, example)


def test_float64_is_refused_where_training_begins() -> None:
    """It once ended in a traceback, with JAX in 64 bits: the backward passes are float32."""
    config = tiny_config()
    stage = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="float64")).build()
    with pytest.raises(ValueError, match=r"model\.dtype is float64, which is not for training; it must be float32 or bfloat16"):
        stage.init()


def rows(number: int) -> Chunk:
    """A batch of so many chunks of which nothing but their number counts."""
    return Chunk(*(np.ones((number, 1), np.int32) for _ in Chunk._fields))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[float, float]]:
    """The sums of what a step draws for its rows, and of their squares: its "network" gives a
    random number for each row."""

    def apply(params: Any, part: Chunk, rngs: dict[str, jax.Array]) -> jax.Array:
        return params["w"] * jax.random.uniform(rngs["dropout"], (len(part.label),))

    def nats(logits: jax.Array, part: Chunk, vocabulary: Any) -> SymbolNats:
        return SymbolNats(-logits, -(logits**2), 0 * logits)

    monkeypatch.setattr(stage_module, "log_likelihood", nats)
    model, rule = SimpleNamespace(apply=apply, vocabulary=None), optax.sgd(0.0)
    params = {"w": jnp.ones(())}

    def run(number: int, step: int = 0, seed: int = 0, accumulate: int = 1, devices: int = 1) -> tuple[float, float]:
        where = jax.local_devices()[:devices]
        program = parallel(partial(train_step, model, rule, seed=seed, accumulate=accumulate), where)
        state = TrainState(jnp.int32(step), params, rule.init(params))
        metrics: Metrics = program(state, place(rows(number), where))[1]
        return tuple(float(metrics.means[f"nats_per_triple/{name}"].sum) for name in ("channel", "position"))

    return run


def test_dropout_has_a_key_of_its_own_for_each_step_seed_device_and_part(drawn: Callable[..., tuple[float, float]]) -> None:
    assert drawn(1)[0] > 0, "dropout is off in training"
    assert drawn(1) == drawn(1)
    assert len({drawn(1, step=step)[0] for step in range(5)} | {drawn(1, seed=7)[0]}) == 6
    for how in ({"accumulate": 2}, {"devices": 2}):
        total, squares = drawn(2, **how)
        # Of two equal numbers the square of the sum is twice the sum of squares.
        assert abs(total**2 - 2 * squares) > 1e-4, how


def test_units_are_dropped_at_the_share_that_is_set() -> None:
    """A block whose branches are dropped at a rate of 0.4 loses so many units of each, and none
    when it does not train."""
    config = ModelConfig(dropout=0.4, width=64, heads=2)
    block = EncoderBlock(2, 0, config.dropout, precision_of(config.dtype, config.products))  # no feed-forward layer
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 50, 64)), jnp.float32)
    visible = jnp.ones((4, 50), bool)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    params = jax.tree.map(lambda leaf: leaf + 0.3, jax.jit(block.init)(keys, x, visible))  # gates begin at 0
    apply = jax.jit(block.apply)
    plain = apply(params, x, visible) - x
    trained = apply(params, x, visible, rngs={"dropout": jax.random.key(2)}) - x
    dropped = np.asarray(np.abs(trained) < 1e-7)
    assert not np.asarray(np.abs(plain) < 1e-7).any()
    assert dropped.mean() == pytest.approx(0.4, abs=0.02)
    kept = ~dropped
    np.testing.assert_allclose(np.asarray(trained)[kept], np.asarray(plain)[kept] / 0.6, rtol=1e-3, atol=1e-5)
