"""A step of each prior over codes of experiments/, with a small network."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from dct_jax.codes.config import CodePriorConfig
from dct_jax.codes.reader import CodesBatch
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.pipeline import training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dq.config import DQVAEConfig, GrainsConfig
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig, UnrollConfig
from dct_jax.training import loop
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig
from dct_jax.vq.gan.config import LossConfig
from dct_jax.window.config import WindowModelConfig
from tests.test_experiments import ONE, PRIORS, small_data

TINY_AUTOENCODER = VQVAEConfig(
    data=DataConfig(image_size=(8, 8)),
    quantizer=QuantizerConfig(codes=8, dim=4),
    model=AutoencoderConfig(channels=8, residual_blocks=1),
)
TINY_DQ_VAE = DQVAEConfig(
    data=DataConfig(image_size=(8, 8)),
    quantizer=QuantizerConfig(codes=8, dim=4),
    model=GrainsConfig(channels=4, groups=2, multipliers=(1, 1, 1), residual_blocks=1, attention=(), latent_channels=4),
    loss=LossConfig(perceptual="none", discriminator_layers=1),
)


def shrunk_prior(name: str, folder: Path) -> CodePriorConfig:
    """The same experiment on little data, with the smallest network on 2 x 2 codes or regions: a
    transformer on those of a tiny autoencoder, a SUNDAE on 4 x 4 pixels. Experiments of one kind
    become equal but for their data and classes, so that a kind is compiled once."""
    config = load_experiment(name)
    if isinstance(config, SundaeConfig):
        tiny = {"model": SundaeModelConfig(width=16, heads=1, head_size=8, before=(0,), valley=1, after=(0,))}
        tiny |= {"unroll": UnrollConfig(steps=2), "autoencoder": None}
    elif isinstance(config, DQTransformerConfig):
        tiny = {"model": StackConfig(width=8, heads=1, position_layers=1, content_layers=1), "autoencoder": TINY_DQ_VAE}
    else:
        tiny = {"model": WindowModelConfig(width=16, heads=1, layers=1, window=2), "autoencoder": TINY_AUTOENCODER}
    return replace(
        config,
        data=small_data(replace(config.data, image_size=(8, 8) if tiny["autoencoder"] else (4, 4)), folder, 0),
        codes=replace(config.codes, run=""),
        training=TrainingConfig(batch_size=2, warmup_steps=0, weight_decay=0.01, evaluate_every=1000, checkpoint_every=1000),
        **tiny,
    )


PRIOR_KINDS = (
    ("window_fashion", "window_ffhq256", "window_landscapes_64"),
    (
        *("sundae_imagenet256", "sundae_celeba256", "sundae_fashion", "sundae_fashion_pixels", "sundae_ffhq1024"),
        *("sundae_ffhq256", "sundae_landscapes_64", "sundae_mnist"),
    ),
    ("dq_transformer_imagenet_classes", "dq_transformer_imagenet", "dq_transformer_fashion"),
)  # the first has the most classes, and the run's network has these


def test_every_prior_is_of_one_kind() -> None:
    assert sorted(name for kind in PRIOR_KINDS for name in kind) == sorted(PRIORS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRIOR_KINDS, ids="-".join)
def test_a_step_of_each_prior(kind: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run for each kind, each of whose steps has a batch of another experiment. The autoencoder
    has random weights."""
    configs = []
    for name in kind:
        (tmp_path / name).mkdir()
        configs.append(shrunk_prior(name, tmp_path / name))
    run = replace(configs[0], training=replace(configs[0].training, steps=len(kind)))
    same = {"data": run.data, "codes": run.codes, "training": run.training}
    assert {replace(config, **same) for config in configs} == {run}

    def batches(*_: object) -> Iterator[CodesBatch]:
        for config in configs:
            training, _ = open_sources(config.data)
            skipped = Skipped(len(training), 0.0)
            batch = next(training_batches(training, config, skipped))
            assert len(skipped) == 0 and batch.content.shape == (2, *run.data.image_size, 3)
            yield batch

    monkeypatch.setattr(loop, "training_batches", batches)
    given = {}
    if run.autoencoder:
        picture = np.zeros((1, *run.data.image_size, 3), np.float32)
        given = {"autoencoder": dict(jax.jit(run.autoencoder.network().init)(jax.random.key(0), picture))}
    with tfds.testing.mock_data(num_examples=4):
        outcome = loop.train(run, tmp_path / "run", ONE, given=given)
    assert (outcome.step, outcome.signal, outcome.skipped) == (len(kind), None, [])  # it raises if a loss is not finite
    assert all(math.isfinite(x) for x in outcome.evaluation.values())
