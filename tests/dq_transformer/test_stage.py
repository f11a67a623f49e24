"""The stage of a DQ-Transformer: exact bits of pictures of both routers, samples, whole runs."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import dct_jax
from dct_jax.codes.config import CodesConfig
from dct_jax.codes.reader import CodesBatch
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq.holes import check_holes
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.dq_transformer.stage import DQTransformerStage, TrainedDQTransformer
from dct_jax.run import train_at
from dct_jax.training.stage import HeldOutPictures, TrainState
from dct_jax.vq.autoencoder import TrainedAutoencoder
from tests.codes.toys import ONE, save_run
from tests.dq.toys import CODES, dqvae_config, random_dqvae, smooth_and_rough_pictures
from tests.dq_transformer.toys import nats_of, random_tree
from tests.toys import stop_while_placing

SIDE = 8
"""Pixels of a side: 2 x 2 regions, 4 x 4 cells."""


@cache
def dqvae(kind: str = "entropy") -> TrainedAutoencoder:
    return random_dqvae(dqvae_config(kind=kind, stem=2, image_size=(SIDE, SIDE)))


def pictures(number: int, seed: int = 0) -> np.ndarray:
    config = dqvae().config
    assert isinstance(config, DQVAEConfig)
    return smooth_and_rough_pictures(number, config, seed)


def config_of(source: str = "landscapes", run: str = "gone", kind: str = "", **training: Any) -> DQTransformerConfig:
    defaults = {"steps": 4, "batch_size": 4, "warmup_steps": 1, "learning_rate": 0.01, "clip_norm": 1e3}
    config = DQTransformerConfig(
        data=DataConfig(source=source, image_size=(SIDE, SIDE), crop=(1.0, 1.0), flip=False, held_out_crops=5),
        training=TrainingConfig(**(defaults | training)),
        codes=CodesConfig(run=run, num_classes=2),
        model=StackConfig(width=16, heads=2, position_layers=1, content_layers=1),
    )
    return replace(config, autoencoder=dqvae(kind).config) if kind else config


@cache
def prior(kind: str = "entropy") -> TrainedDQTransformer:
    """With large random parameters, so that samples depend on all that they can."""
    stage = config_of(kind=kind).build()
    variables = {"params": random_tree(stage.shapes()["params"]), "autoencoder": dqvae(kind).variables}
    return stage.trained(variables, ((SIDE, SIDE, 1),), ())


def sample(model: TrainedDQTransformer, known: Any = None) -> np.ndarray:
    return model.sample([5, 6, 7, 8], 0, [0, 1, 0, 1], (4, 4), known).codes


def maps_of(grids: np.ndarray) -> np.ndarray:
    return ((grids < CODES).reshape(-1, 2, 2, 2, 2).sum(axis=(2, 4)) == 4).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["entropy", "feature"])
def test_bits_are_those_of_grain_maps_and_codes(kind: str) -> None:
    """Of pictures, three at a time, as of their codes, all at once."""
    model, labels, shown = prior(kind), np.array([1, 0, 0, 1, 1], np.int32), pictures(5)
    grids = next(dqvae(kind).tokenize(shown, 5))
    check_holes(grids, 2, CODES)
    lengths = (grids < CODES).sum(axis=(1, 2))
    assert len(set(lengths.tolist())) > 1
    nats = nats_of(model.stage.network, {"params": model.variables["params"]}, grids, labels)  # type: ignore[attr-defined]
    of_positions, of_codes = (-np.asarray(x, np.float64).sum(axis=1).mean() for x in nats)
    for content, batch in ((shown, 3), (grids, 5)):
        config = replace(model.config, training=replace(model.config.training, batch_size=batch))
        held_out = CodesBatch(content, labels, np.arange(5, dtype=np.uint32))
        numbers = config.build().evaluate(model.variables, held_out, ONE)
        bits = (of_positions + of_codes) / np.log(2)
        assert numbers == pytest.approx(
            {
                "bits_per_pixel": bits / 64,
                "bits_per_picture": bits,
                "nats": of_positions + of_codes,
                "position_nats": of_positions,
                "code_nats": of_codes,
                "codes": lengths.mean(),
            },
            rel=1e-4,
        )


def test_the_loss_is_the_nats_of_a_cell() -> None:
    model = prior()
    stage: Any = model.stage
    grids, labels = next(dqvae().tokenize(pictures(3), 3)), np.array([0, 1, 1], np.int32)
    keys = jax.random.split(jax.random.key(0), 3)
    loss, found = jax.jit(stage.losses)(model.variables["params"], grids, labels, keys, None)
    assert found["nats"].shape == (3,) and found["nats"].std() > 0.1
    np.testing.assert_allclose(found["nats"], found["position_nats"] + found["code_nats"], rtol=1e-5)
    assert float(loss) == pytest.approx(float(found["nats"].mean()) / 16, rel=1e-5)


def test_numbers_stand_beside_those_of_equally_likely_ones() -> None:
    """Sixteen grain maps, and each code one of eleven."""
    model, shown = prior(), pictures(4)
    held_out = CodesBatch(shown, np.zeros(4, np.int32), np.arange(4, dtype=np.uint32))
    findings = model.stage.findings(model, HeldOutPictures(held_out, range(4), "toys", True), [], 4, False)
    codes = (next(dqvae().tokenize(shown, 4)) < CODES).sum() / 4
    uniform = findings.report["equally_likely_codes"]
    assert uniform.keys() == findings.report["held_out"].keys()
    assert uniform["bits_per_picture"] == pytest.approx(4 + codes * np.log2(CODES))
    assert uniform["bits_per_pixel"] == pytest.approx(uniform["bits_per_picture"] / 64)
    assert uniform["position_nats"] == pytest.approx(np.log(16)) and uniform["codes"] == codes
    assert "8 x 8 pixels, 2 x 2 regions of 1 to 4 codes of K = 11 (a DQ-VAE, f = 2)" in findings.lines[0]
    assert "nats per picture" in findings.lines[2] and "position nats" in findings.lines[2]


def test_samples_decode_and_follow_the_classes_and_the_policy() -> None:
    model = prior()
    grids = sample(model)
    check_holes(grids, 2, CODES)
    shown = [picture for _, picture in model.sample_pictures(4, 0, [0, 1], 4)]
    np.testing.assert_array_equal(shown, next(dqvae().detokenize(model.sample(range(4), 0, [0, 1, 0, 1], (4, 4)).codes, 4)))
    coldest = model.with_settings({"temperature": 1e-6})
    assert coldest.policy == StackPolicy((1e-6, 1e-6)) and coldest.settings["top_k"] == (0, 0)
    of_class = sample(coldest)
    np.testing.assert_array_equal(of_class[:2], of_class[2:])
    assert (of_class[0] != of_class[1]).any() and len(np.unique(grids, axis=0)) > 2
    apart = model.with_settings({"temperature": (1.0, 0.5), "top_k": (0, 3)})
    assert apart.policy == StackPolicy((1.0, 0.5), (0, 3))


def test_a_grain_map_is_that_of_all_samples() -> None:
    grain_map = np.array([[1, 0], [0, 0]])
    grids = sample(replace(prior(), grain_map=grain_map))
    assert (maps_of(grids) == grain_map).all() and len(np.unique(grids, axis=0)) == 4
    for wrong in (np.zeros((3, 2), int), np.array([[0, 2], [0, 0]])):
        with pytest.raises(ValueError, match=r"the grain map has . x 2 numbers; it must have 2 x 2, each from 0 to 1"):
            replace(prior(), grain_map=wrong)


def test_known_regions_stay_as_they_are() -> None:
    """Of a region with an unknown cell nothing is known. A known region does not follow the grain
    map of samples."""
    model, given = prior(), next(dqvae().tokenize(pictures(4, seed=3), 4))
    mask = np.zeros((4, 4, 4), bool)
    mask[:, :2] = True
    mask[:, 0, 3] = False  # in the upper right region
    assert set(maps_of(given)[:, 0, 0].tolist()) == {0, 1}
    for one in (model, replace(model, grain_map=np.array([[1, 0], [1, 1]]))):
        grids = sample(one, (given, mask))
        check_holes(grids, 2, CODES)
        np.testing.assert_array_equal(grids[:, :2, :2], given[:, :2, :2])
        assert (grids[:, :2, 2:] != given[:, :2, 2:]).any()
    assert (maps_of(grids).reshape(4, 4)[:, 1:] == [0, 1, 1]).all()
    np.testing.assert_array_equal(sample(model, (given, np.zeros_like(mask))), sample(model))
    np.testing.assert_array_equal(sample(model, (given, np.ones_like(mask))), given)


def test_other_grids_and_holes_of_no_grain_are_refused() -> None:
    model = prior()
    with pytest.raises(ValueError, match=r"the grid is 4 x 6 cells; a DQ-Transformer samples .* alone, 4 x 4"):
        model.sample_batches(1, 0, [], 1, (4, 6))
    with pytest.raises(ValueError, match="the codes go from 0 to 12; this model has 0 to 11, which is a hole"):
        model.decode(np.array([[[0, 12, 0, 0]] * 4]))
    with pytest.raises(ValueError, match="the grid has 4 x 3 cells; it must have 4 x 4, those of training"):
        model.decode(np.zeros((1, 4, 3), int))
    wrong = sample(model)[:1].copy()
    wrong[0, 2, 2], wrong[0, 2, 3], wrong[0, 3, 2] = CODES, 1, 1
    with pytest.raises(ValueError, match="the region in row 1 and column 1 of picture 0 has codes of no grain"):
        model.decode(wrong)
    with pytest.raises(Unusable, match=r"the region in row 1 and column 1 .* has codes of no grain"):
        model.config.reader().see(Record(b"", 0, "key", wrong), np.random.default_rng(0), train=False)
    seen = model.config.reader().see(Record(b"", 1, "key", sample(model)[:1]), np.random.default_rng(0), train=False)
    np.testing.assert_array_equal(seen.content, sample(model)[0])


def test_a_stage_without_a_dq_vae_is_refused() -> None:
    with pytest.raises(ValueError, match=r"codes.run is empty; a DQ-Transformer needs the run of a DQ-VAE"):
        config_of().build()
    with pytest.raises(ValueError, match=r"data.image_size is \(8, 8\); it must be that of the DQ-VAE, \(16, 16\)"):
        replace(config_of(), autoencoder=dqvae_config(stem=2))


def fit(devices: int, accumulate: int, codes: bool) -> tuple[TrainState, Any]:
    """The state after two steps, the first of which has a rate of 0, and the last metrics."""
    stage = config_of(kind="entropy", accumulate=accumulate).build()
    where, found = jax.local_devices()[:devices], None
    state = replicate(stage.init()._replace(variables=prior().variables), where)
    step = parallel(stage.step, where)
    for seed in (0, 1):
        shown, rng = pictures(4, seed), np.random.default_rng(seed)
        content = next(dqvae().tokenize(shown, 4)) if codes else shown
        batch = CodesBatch(content, rng.integers(0, 2, 4).astype(np.int32), np.arange(4, dtype=np.uint32))
        state, found = step(state, place(batch, where))
    return TrainState(*jax.device_get(state)), jax.device_get(found)


@pytest.mark.slow
def test_codes_on_two_devices_in_two_parts_teach_as_their_pictures_on_one() -> None:
    (one, metrics), (other, metrics_other) = fit(1, 1, False), fit(2, 2, True)
    for pair in ((one.variables, other.variables), (metrics, metrics_other)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *pair)
    assert metrics.work == 4 * 16 and metrics.means["nats"].sum / 4 > 1
    jax.tree.map(np.testing.assert_array_equal, one.variables["autoencoder"], dict(dqvae().variables))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.variables["params"], dict(prior().variables["params"]))
    assert max(jax.tree.leaves(moved)) > 5e-3


@pytest.mark.slow
def test_a_stopped_run_equals_one_that_was_not(tmp_path: Path) -> None:
    """And its folder alone makes samples of both."""
    for i, picture in enumerate(pictures(20)):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    run = save_run(tmp_path / "run", dqvae())
    config = config_of(f"folder:{tmp_path}/pictures", run, steps=12, evaluate_every=100, checkpoint_every=100)
    assert train_at(config, tmp_path / "whole").step == 12
    with stop_while_placing(6):
        assert train_at(config, tmp_path / "parts").signal == "SIGTERM"
    assert train_at(config, tmp_path / "parts").step == 12
    one, other = dct_jax.load(tmp_path / "whole"), dct_jax.load(tmp_path / "parts")
    assert isinstance(one, TrainedDQTransformer) and isinstance(one.stage, DQTransformerStage)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    assert one.fingerprint == other.fingerprint and one.config == other.config
    assert one.config.autoencoder == dqvae().config and one.classes == ("a", "b")
    check_holes(sample(one), 2, CODES)
