"""The stage of a DQ-VAE: its noise, its budget, what counts once, and whole steps."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dct_jax
from dct_jax.distributed.parallel import DATA_AXIS, parallel, place, replicate
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.grains import has_code
from dct_jax.dq.network import Routed
from dct_jax.dq.router import choose_grains
from dct_jax.dq.stage import DQVAEStage
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.stage import Metrics, TrainState
from dct_jax.vq.codebook import follow_vectors
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.network import to_float
from dct_jax.vq.quantizers import Quantized, Quantizer, kmeans
from tests.dq.toys import CODES, dqvae_config, maps_of, random_dqvae, smooth_and_rough_pictures, with_ratio
from tests.toys import stop_while_placing

ONE = jax.local_devices()[:1]
NOTHING = jnp.zeros(())


class Judge(nn.Module):
    """A network that is nothing but a router of the brightness of regions of 2 x 2 pixels."""

    grains: int

    def setup(self) -> None:
        self.dense = nn.Dense(self.grains)

    def routed_features(self, pixels: jax.Array, noise: jax.Array | None) -> tuple[jax.Array, Routed, Quantized]:
        logits = self.dense(nn.avg_pool(pixels, (2, 2), (2, 2)))
        vectors = jnp.zeros((*pixels.shape[:3], 1))
        routed = Routed(vectors, choose_grains(logits, noise))
        return vectors, routed, Quantized(vectors[..., 0].astype(int), vectors, NOTHING, NOTHING)


def judge_stage(config: DQVAEConfig) -> tuple[DQVAEStage, Any]:
    """A stage with that network, and its parameters, by which most regions are coarse."""
    stage = config.build()
    stage.network = Judge(config.model.grains)  # type: ignore[assignment]
    rng, grains = np.random.default_rng(0), config.model.grains
    bias = np.array([1.5, 0.0, -0.5][:grains], np.float32)
    return stage, {"dense": {"kernel": rng.normal(size=(3, grains)).astype(np.float32), "bias": bias}}


def slopes_of(stage: DQVAEStage, devices: int) -> Callable[..., Any]:
    """A program of (parameters, step) and a batch: the loss's gradient, and what is reported."""

    def program(given: Any, batch: jax.Array) -> Any:
        params, step = given

        def loss(params: Any) -> tuple[jax.Array, Any]:
            found = stage.run_network({"params": params}, to_float(batch), step)
            return found.loss, found.terms

        gradient, terms = jax.grad(loss, has_aux=True)(params)
        return jax.lax.pmean((gradient, terms), DATA_AXIS)

    return parallel(program, jax.local_devices()[:devices])


@pytest.mark.parametrize("grains", [2, 3])
def test_the_budget_of_two_devices_is_that_of_the_whole_batch(grains: int) -> None:
    """Written down anew: the gates of all pictures at once, and squares of their mean shares."""
    config = with_ratio(dqvae_config(grains, image_size=(8, 8)), *(0.6, 0.3)[3 - grains :])
    side = config.model.divisor
    stage, params = judge_stage(config)
    batch = np.random.default_rng(1).integers(0, 256, (4, 8 // side * 2, 8 // side * 2, 3)).astype(np.uint8)
    step = jnp.int32(5)
    noise = parallel(lambda step, batch: stage.noise(step, len(batch)), ONE)(step, place(batch, ONE))
    assert noise.shape == (4, *config.regions, grains) and len(np.unique(noise)) == noise.size

    def expected(params: Any) -> tuple[jax.Array, jax.Array]:
        found = stage.network.apply({"params": params}, to_float(batch), noise, method="routed_features")
        shares = found[1].gates.mean(axis=(0, 1, 2))
        return 20 * sum((shares[i + 1] - ratio) ** 2 for i, ratio in enumerate(config.router.ratios)), shares

    (budget, shares), gradient = jax.jit(jax.value_and_grad(expected, has_aux=True))(params)
    assert np.abs(gradient["dense"]["kernel"]).max() > 0.01
    for devices in (1, 2):
        where = jax.local_devices()[:devices]
        found, terms = slopes_of(stage, devices)(replicate((params, step), where), place(batch, where))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, gradient)
        assert terms["budget"] == pytest.approx(float(budget), rel=1e-5)
        assert terms["fine_share"] == pytest.approx(float(shares[-1]), rel=1e-5)
        if grains == 3:
            assert terms["median_share"] == pytest.approx(float(shares[1]), rel=1e-5)


@pytest.mark.parametrize("ratios", [(0.25,), (0.75,), (0.3, 0.3)])
def test_the_budget_moves_the_shares_to_their_ratios(ratios: tuple[float, ...]) -> None:
    """By plain steps against its gradient, from 18 % of fine regions, or 15 % and 10 % of three
    grains."""
    config = with_ratio(dqvae_config(len(ratios) + 1), *ratios)
    stage, params = judge_stage(config)
    side = 2 * np.array(config.regions)
    batch = place(np.random.default_rng(1).integers(0, 256, (32, *side, 3)).astype(np.uint8), ONE)
    program, found = slopes_of(stage, 1), []
    for step in range(60):
        gradient, terms = program(replicate((params, jnp.int32(step)), ONE), batch)
        params = jax.tree.map(lambda x, slope: x - 0.3 * np.asarray(slope), params, gradient)
        found.append([float(terms[name]) for name in ("median_share", "fine_share") if name in terms])
    assert np.abs(found[0] - np.array(ratios)).max() > 0.06
    np.testing.assert_allclose(np.mean(found[-10:], axis=0), ratios, atol=0.03)


def coarse_and_fine(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A grain map, int32 [2, 2, 3], and vectors of its cells, [2, 4, 6, 3]: equal ones in coarse
    regions."""
    rng = np.random.default_rng(seed)
    grain_map = rng.integers(0, 2, (2, 2, 3)).astype(np.int32)
    grain_map[0, 0, :2] = 0, 1
    fine, coarse = rng.normal(size=(2, 4, 6, 3)), rng.normal(size=(2, 2, 3, 3)).repeat(2, axis=1).repeat(2, axis=2)
    is_fine = grain_map.repeat(2, axis=1).repeat(2, axis=2)[..., None] == 1
    return grain_map, np.where(is_fine, fine, coarse).astype(np.float32)


def weights_of(grain_map: np.ndarray) -> np.ndarray:
    """How often each cell counts, float32 [2, 4, 6]."""
    return np.asarray(jax.jit(has_code, static_argnums=1)(grain_map, 2), np.float32)


@pytest.mark.parametrize("kind", ["gradient", "ema"])
def test_each_code_counts_once_in_losses_and_statistics(kind: Any) -> None:
    """A coarse cell counts a quarter in the published mask, and a fine one whole. The statistics of
    two devices, without decay, are those of a loop over codes."""
    grain_map, vectors = coarse_and_fine()
    config = QuantizerConfig(kind=kind, codes=5, dim=3, decay=0.0, restart=0.0)
    table = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    inner = {"table": table} if kind == "gradient" else {"table": table, "counts": np.zeros(5), "sums": np.zeros((5, 3))}
    variables = {"params" if kind == "gradient" else "codebook": {"quantizer": inner}}
    of_quantizer = {name: tree["quantizer"] for name, tree in variables.items()}
    weights = weights_of(grain_map)
    quantized = jax.jit(Quantizer(config).apply)(of_quantizer, vectors, weights)
    codes = np.square(vectors[..., None, :] - table).sum(axis=-1).argmin(axis=-1)
    mask = np.where(grain_map == 1, 1, 0.25).repeat(2, axis=1).repeat(2, axis=2)[..., None]
    loss = np.mean(mask * np.square(vectors - table[codes]))
    assert quantized.commitment_loss == pytest.approx(loss, rel=1e-4)
    assert quantized.codebook_loss == pytest.approx(loss if kind == "gradient" else 0, rel=1e-4)

    def follow(variables: Any, part: Any) -> Any:
        found = Quantized(part[1], part[0], NOTHING, NOTHING, part[2])
        return follow_vectors(config, variables, part[0], found, jax.random.key(0))

    two = jax.local_devices()[:2]
    part = (vectors, np.asarray(quantized.codes), weights)
    after, counts = parallel(follow, two)(replicate(variables, two), place(part, two))
    expected, sums = np.zeros(5), np.zeros((5, 3))
    for (i, y, x), grain in np.ndenumerate(grain_map):
        for cell in [(2 * y, 2 * x)] if grain == 0 else [(2 * y + a, 2 * x + b) for a in (0, 1) for b in (0, 1)]:
            expected[codes[i, *cell]] += 1
            sums[codes[i, *cell]] += vectors[i, *cell]
    np.testing.assert_array_equal(counts, expected)
    if kind == "ema":
        np.testing.assert_allclose(after["codebook"]["quantizer"]["counts"], expected, rtol=1e-5)
        np.testing.assert_allclose(after["codebook"]["quantizer"]["sums"], sums, rtol=1e-4, atol=1e-5)


def test_a_dead_code_becomes_a_vector_that_counts() -> None:
    """All five codes are restarted, by the five vectors of two devices that count. The others are
    far away."""
    config = QuantizerConfig(kind="ema", codes=5, dim=3, decay=0.0, restart=100.0)
    vectors = np.random.default_rng(2).normal(size=(2, 4, 6, 3)).astype(np.float32)
    weights = np.zeros((2, 4, 6), np.float32)
    weights[0, :2, 3] = weights[1, 1, 2:5] = 1
    vectors[weights == 0] += 50
    codes = np.random.default_rng(3).integers(0, 5, (2, 4, 6)).astype(np.int32)
    inner = {"table": np.zeros((5, 3)), "counts": np.zeros(5), "sums": np.zeros((5, 3))}

    def follow(variables: Any, part: Any) -> Any:
        found = Quantized(part[1], part[0], NOTHING, NOTHING, part[2])
        return follow_vectors(config, variables, part[0], found, jax.random.key(0))

    two = jax.local_devices()[:2]
    variables = replicate({"codebook": {"quantizer": inner}}, two)
    after, _ = parallel(follow, two)(variables, place((vectors, codes, weights), two))
    table, expected = np.asarray(after["codebook"]["quantizer"]["table"]), vectors[weights == 1]
    np.testing.assert_allclose(table[np.lexsort(table.T)], expected[np.lexsort(expected.T)], rtol=1e-4)


def test_the_first_table_has_each_code_once() -> None:
    """As many means as codes are these codes, whose cells would otherwise be chosen again."""
    grain_map, vectors = coarse_and_fine()
    weights = weights_of(grain_map).reshape(-1)
    number = int(weights.sum())
    assert number < weights.size
    find_means = jax.jit(kmeans, static_argnums=1)
    table = np.asarray(find_means(vectors.reshape(-1, 3), number, jax.random.key(1), weights))
    expected = np.unique(vectors.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(table[np.lexsort(table.T[::-1])], expected, rtol=1e-4, atol=1e-5)


def test_the_numbers_of_codes_are_those_of_loops() -> None:
    """(26, 19, 19) regions of the three grains; and a network's codes have no hole among them."""
    stage = dqvae_config(3, image_size=(32, 32)).build()
    maps = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [26, 19, 19])).reshape(1, 8, 8)
    codes = np.where(jax.jit(has_code, static_argnums=1)(maps, 3), 1, CODES)
    numbers = stage.describe_codes(codes)
    assert numbers == {
        "median_share": 19 / 64,
        "fine_share": 19 / 64,
        "codes_per_picture": 26 + 4 * 19 + 16 * 19,
        "map_bits_per_pixel": pytest.approx(64 * np.log2(3) / 1024),
    }


def test_an_evaluation_counts_codes_and_not_holes() -> None:
    model = random_dqvae(dqvae_config(2, "feature", 2))
    pictures = smooth_and_rough_pictures(6, model.config)
    codes, _ = model.reconstruct(pictures)
    numbers = model.stage.evaluate(model.variables, pictures, ONE)
    kept = codes[codes < CODES]
    share = np.bincount(kept) / len(kept)
    entropy = -np.sum(share[share > 0] * np.log2(share[share > 0]))
    assert numbers["perplexity"] == pytest.approx(2**entropy)
    assert numbers["bits_per_pixel"] == pytest.approx(len(kept) / (6 * 256) * np.log2(CODES))
    assert numbers["codes_per_picture"] == len(kept) / 6
    assert numbers["fine_share"] == np.mean(maps_of(codes, 2) == 1)
    assert 0 < numbers["fine_share"] < 1 and numbers["codes_used"] <= 1
    assert numbers["reconstruction_loss"] == numbers["absolute_error"]


def config_of(**loss: Any) -> DQVAEConfig:
    """With a discriminator from the third step on."""
    config = dqvae_config(2, "feature", 2)
    return replace(config, loss=replace(config.loss, **({"adversarial_start": 2} | loss)))


@cache
def run(devices: int = 1, loss: Any = MappingProxyType({})) -> list[tuple[TrainState, Metrics]]:
    """The state and the metrics after each of four steps."""
    config = config_of(**loss)
    stage, where = config.build(), jax.local_devices()[:devices]
    state, step = replicate(stage.init(), where), parallel(stage.step, where)
    found = []
    for seed in range(4):
        batch = smooth_and_rough_pictures(4, config, seed)
        state, metrics = jax.device_get(step(state, place(batch, where)))
        found.append((TrainState(*state), metrics))
    return found


@pytest.mark.slow
def test_a_step_reports_its_losses_and_moves_all_kernels() -> None:
    (first, _), *_, (last, metrics) = run()
    assert {"absolute_error", "commitment", "budget", "fine_share", "discriminator", "perplexity"} <= set(metrics.means)
    mean = {name: float(x.sum / x.divisor) for name, x in metrics.means.items()}
    assert mean["budget"] == pytest.approx(20 * (mean["fine_share"] - 0.5) ** 2, rel=1e-4)
    assert mean["adversarial_weight"] > 0

    def moved(path: Any, a: np.ndarray, b: np.ndarray) -> None:
        assert a.ndim < 2 or np.abs(a - b).max() > 1e-5, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(moved, first.variables["params"], last.variables["params"])


@pytest.mark.slow
def test_two_devices_give_the_weights_and_the_codebook_of_one() -> None:
    (start, _), *_, (one, metrics_one) = run()
    *_, (two, metrics_two) = run(2)
    trees = [state.variables["params"] for state in (start, one, two)]
    for before, a, b in zip(*map(jax.tree.leaves, trees)):
        if a.ndim == 4:  # Adam makes much of the signs of tiny gradients
            assert np.abs(a - b).mean() < 0.03 * np.abs(a - before).mean()
    codebooks = (state.variables["codebook"] for state in (one, two))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-2), *codebooks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), metrics_one, metrics_two)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["feature", "entropy"])
def test_a_stopped_run_equals_one_that_was_not(tmp_path: Path, kind: str) -> None:
    """Noise, budget, codebook and thresholds, bit for bit."""
    config = replace(dqvae_config(2, kind, 2), loss=config_of(pixels="squared").loss)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert loop.train(config, whole, ONE).step == 8
    with stop_while_placing(4):
        outcome = loop.train(config, parts, ONE)
    assert outcome.signal == "SIGTERM" and 2 < outcome.step < 8
    assert loop.train(config, parts, ONE).step == 8
    like = jax.eval_shape(config.build().init)
    one, other = (Checkpoints(run / "checkpoints").restore(8, like) for run in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert dct_jax.load(whole).fingerprint == dct_jax.load(parts).fingerprint
    if kind == "entropy":
        assert np.isfinite(dct_jax.load(whole).variables["router"]["thresholds"]).all()
