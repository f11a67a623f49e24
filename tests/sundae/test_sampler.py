"""The sampler's loop, beside a plain Python loop, and what it must leave alone."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dct_jax.codes.random_keys import fold_keys, sample_keys
from dct_jax.nn.initial import initial_params
from dct_jax.sundae.config import SundaeModelConfig
from dct_jax.sundae.network import SundaeNetwork
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.random_codes import sample_cells, uniform_cells
from dct_jax.sundae.sampler import Denoised, denoise, sample_grids, sample_start, schedule_of
from dct_jax.sundae.unroll import unrolled_loss

K = 6
NETWORK = SundaeNetwork(SundaeModelConfig(width=16, heads=2, head_size=8, before=(), valley=1, after=()), K, 3)
SIZE, BATCH = (4, 2), 5
LABELS = np.array([0, 1, 2, 1, 0])


@cache
def variables() -> Any:
    """Parameters whose logits differ much."""
    params = initial_params(NETWORK, jnp.zeros((1, *SIZE), int), jnp.zeros(1, int), seed=0)
    return jax.tree.map(lambda x: 2 * x, params)


@cache
def keys() -> jax.Array:
    return sample_keys(7, np.arange(BATCH))


def sample(policy: SundaePolicy, **others: Any) -> Denoised:
    start = sample_start(keys(), SIZE, K)
    return sample_grids(NETWORK, variables(), keys(), LABELS, start, policy, **others)


def uniform(codes: jax.Array) -> jax.Array:
    return jnp.zeros((*codes.shape, K))


def copying(codes: jax.Array) -> jax.Array:
    return 1e4 * jax.nn.one_hot(codes, K)


def test_the_loop_is_a_plain_loop() -> None:
    policy = SundaePolicy(steps=12, temperature=(1.5, 0.5), proportion=(0.3, 0.05), min_steps=3)
    known = np.asarray(uniform_cells(keys(), SIZE)) < 0.3
    found = sample(policy, known=known, room=13)
    params, logits_of = variables(), jax.jit(NETWORK.apply)
    codes = np.array(sample_start(keys(), SIZE, K))
    states, steps, frozen = [codes.copy()], np.zeros(BATCH, int), np.zeros(BATCH, bool)
    for n, (temperature, proportion) in enumerate(zip(np.linspace(1.5, 0.5, 12), np.linspace(0.3, 0.05, 12))):
        proposed = np.asarray(
            sample_cells(logits_of(params, codes, LABELS), fold_keys(keys(), 2 * n + 1), jnp.float32(temperature))
        )
        chosen = np.asarray(uniform_cells(fold_keys(keys(), 2 * n + 2), SIZE)) < proportion
        for i in np.flatnonzero(~frozen):
            before = codes[i].copy()
            codes[i][chosen[i] & ~known[i]] = proposed[i][chosen[i] & ~known[i]]
            steps[i] += 1
            frozen[i] = n >= 3 and np.array_equal(before, codes[i])
        states.append(codes.copy())
    assert 0 < frozen.sum()
    assert len(set(steps)) > 1
    assert np.array_equal(found.history, states)
    assert np.array_equal(found.steps, steps)
    assert np.array_equal(found.codes, codes)
    plain = sample(policy, known=known)  # without a history
    assert plain.history.size == 0
    assert np.array_equal(plain.codes, codes)
    assert np.array_equal(plain.steps, steps)


def test_proportion_0_returns_the_start() -> None:
    found = sample(SundaePolicy(steps=9, proportion=(0, 0), min_steps=4))
    assert np.array_equal(found.codes, sample_start(keys(), SIZE, K))
    assert (found.steps == 5).all()


def test_proportion_1_takes_all_codes() -> None:
    """Of a network that adds 1 to all codes nothing stays as it was."""
    found = run_loop(lambda codes: copying((codes + 1) % K), SundaePolicy(steps=4, proportion=(1, 1), min_steps=0))
    assert np.array_equal(found.codes, (sample_start(keys(), SIZE, K) + 4) % K)


def run_loop(logits_of: Any, policy: SundaePolicy, known: np.ndarray | None = None) -> Denoised:
    start = sample_start(keys(), SIZE, K)
    known = np.zeros(start.shape, bool) if known is None else known
    run = jax.jit(partial(denoise, logits_of), static_argnums=4)
    return jax.device_get(run(start, known, keys(), schedule_of(policy), policy.steps + 1 if policy.steps < 1000 else 0))


def test_frozen_samples_stay_and_others_change() -> None:
    policy = SundaePolicy(steps=300, temperature=(1, 1), proportion=(0.3, 0.3), min_steps=5)
    found = run_loop(uniform, policy)
    assert 5 < found.steps.min() < found.steps.max() < 300
    for i, steps in enumerate(found.steps):
        changes = (found.history[1:, i] != found.history[:-1, i]).any(axis=(1, 2))  # [N]
        assert changes[policy.min_steps : steps - 1].all()
        assert not changes[steps - 1 :].any()
        assert np.array_equal(found.history[-1, i], found.codes[i])


def test_min_steps_of_all_steps_freezes_nothing() -> None:
    assert (run_loop(copying, SundaePolicy(steps=7, min_steps=7)).steps == 7).all()
    assert (run_loop(copying, SundaePolicy(steps=7, min_steps=6)).steps == 7).all()
    assert (run_loop(copying, SundaePolicy(steps=7, min_steps=5)).steps == 6).all()


def test_no_step_is_taken_once_all_samples_are_frozen() -> None:
    calls = []

    def counted(codes: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: calls.append(1))
        return copying(codes)

    found = run_loop(counted, SundaePolicy(steps=2**20, min_steps=3))
    jax.effects_barrier()
    assert len(calls) == 4
    assert (found.steps == 4).all()


def test_known_cells_never_change() -> None:
    known = np.asarray(uniform_cells(keys(), SIZE)) < 0.5
    found = run_loop(uniform, SundaePolicy(steps=20, proportion=(1, 1), min_steps=20), known)
    assert (found.history[:, known] == found.history[0][known]).all()
    assert (found.history[1:, ~known] != found.history[:-1, ~known]).mean() > 0.7


def test_a_sample_is_the_same_in_whatever_batch() -> None:
    policy = SundaePolicy(steps=8, proportion=(0.4, 0.4), min_steps=2)
    params, whole = variables(), sample(policy)
    numbers = np.array([4, 1])
    few = sample_keys(7, numbers)
    found = sample_grids(NETWORK, params, few, LABELS[numbers], sample_start(few, SIZE, K), policy)
    assert np.array_equal(found.codes, whole.codes[numbers])
    assert np.array_equal(found.steps, whole.steps[numbers])
    other = sample_keys(2**32 - 1, np.arange(BATCH))
    assert not np.array_equal(sample_start(other, SIZE, K), sample_start(keys(), SIZE, K))


def test_other_settings_need_no_other_program() -> None:
    traces = []

    def traced(codes: jax.Array) -> jax.Array:
        traces.append(1)
        return uniform(codes)

    run = jax.jit(partial(denoise, traced), static_argnums=4)
    start, known = sample_start(keys(), SIZE, K), np.zeros((BATCH, *SIZE), bool)
    for policy in (SundaePolicy(), SundaePolicy(steps=3, temperature=(1, 0.5), proportion=(1, 0), min_steps=0)):
        run(start, known, keys(), schedule_of(policy), 0)
        traces.append(0)
    assert traces[-2:] == [0, 0]


@pytest.mark.slow
def test_cold_samples_of_a_trained_toy_are_training_grids() -> None:
    """Three grids, one for each class; the samples of a class become its grid, and stay."""
    config = SundaeModelConfig(width=32, heads=2, head_size=16, before=(1,), valley=1, after=(1,))
    network = SundaeNetwork(config, K, 3)
    grids = jax.random.randint(jax.random.key(1), (3, 4, 4), 0, K)
    codes, labels = jnp.tile(grids, (4, 1, 1)), jnp.tile(jnp.arange(3), 4)
    params = initial_params(network, codes, labels, seed=0)
    optimizer = optax.adam(5e-3)

    @jax.jit
    def train(params: Any, steps: jax.Array) -> Any:
        def step(carry: Any, n: jax.Array) -> Any:
            params, state = carry
            batch_keys = jax.random.split(jax.random.fold_in(jax.random.key(2), n), 12)
            logits_of = lambda p, x, _: network.apply(p, x, labels)  # noqa: E731
            gradient = jax.grad(lambda p: unrolled_loss(logits_of, p, codes, batch_keys, K, 2)[0])(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), steps)[0][0]

    params = train(params, jnp.arange(120))
    classes = np.arange(30) % 3
    some = sample_keys(0, np.arange(30))
    policy = SundaePolicy(steps=20, temperature=(1e-3, 1e-6), proportion=(1, 1), min_steps=2)
    found = sample_grids(network, params, some, classes, sample_start(some, (4, 4), K), policy)
    assert np.array_equal(found.codes, grids[classes])
    assert (found.steps < 20).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 9}, "steps is 9 and min_steps is 10; min_steps must be at most steps"),
        ({"steps": 0, "min_steps": 0}, "steps is 0"),
        ({"temperature": (0.0, 1.0)}, "temperature"),
        ({"temperature": (1.0, 1e7)}, "temperature"),
        ({"temperature": (float("nan"), 1.0)}, "temperature"),
        ({"proportion": (0.5, 1.1)}, "proportion"),
        ({"proportion": (-0.1, 1.0)}, "proportion"),
        ({"min_steps": -1}, "min_steps"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SundaePolicy(**settings)
