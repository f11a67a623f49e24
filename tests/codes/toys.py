"""Autoencoders with random weights, their runs, priors over their codes, and small pictures."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dct_jax.codes.config import CodePriorConfig, CodesConfig
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.stage import Trained, TrainState
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import AutoencoderConfig, AutoencoderRunConfig, QuantizerConfig, VQVAEConfig
from dct_jax.vq.gan.config import ConvolutionsConfig, LossConfig, VQGANConfig
from dct_jax.window.config import WindowConfig, WindowModelConfig

CODES, SIDE, DOWNSAMPLING = 11, 8, 2
ONE = jax.local_devices()[:1]
KINDS = ("window", "sundae")


def vqvae_config(**data: Any) -> VQVAEConfig:
    return VQVAEConfig(
        data=DataConfig(**({"image_size": (SIDE, SIDE)} | data)),
        quantizer=QuantizerConfig(codes=CODES, dim=4),
        model=AutoencoderConfig(channels=8, residual_blocks=1, downsampling=DOWNSAMPLING),
    )


def vqgan_config() -> VQGANConfig:
    return VQGANConfig(
        data=DataConfig(image_size=(SIDE, SIDE)),
        quantizer=QuantizerConfig(kind="gradient", codes=CODES, dim=4),
        model=ConvolutionsConfig(channels=32, multipliers=(1, 1), residual_blocks=1, attention=(), latent_channels=8),
        loss=LossConfig(perceptual="none", discriminator_layers=1),
    )


@cache
def random_autoencoder(config: AutoencoderRunConfig, seed: int = 1) -> TrainedAutoencoder:
    """Its table has vectors that its encoder makes of random pictures, so all codes are used. Many
    tests share it; nobody may change it."""
    network, rng = config.network(), np.random.default_rng(seed)
    pixels = jnp.asarray(rng.uniform(-1, 1, (16, *config.data.image_size, 3)), jnp.float32)

    def one(path: Any, leaf: Any) -> np.ndarray:
        spread = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return ((path[-1].key == "scale") + spread * rng.normal(size=leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(one, config.build().shapes())
    vectors = np.asarray(jax.jit(lambda x, y: network.apply(x, y, method="encode"))(variables, pixels))
    table = rng.permutation(vectors.reshape(-1, vectors.shape[-1]))[: config.quantizer.num_codes]
    variables["params" if config.quantizer.kind == "gradient" else "codebook"]["quantizer"]["table"] = table
    return TrainedAutoencoder(config, variables, ((*config.data.image_size, 1),))


def save_run(folder: Path, model: Trained) -> str:
    """Makes a run's folder with one checkpoint of a model."""
    state = TrainState(jnp.int32(1), jax.tree.map(jnp.asarray, model.variables), {"none": jnp.zeros(1)})
    Checkpoints(folder / "checkpoints").save(state, model.sizes, model.config, None, model.classes)
    return str(folder)


def random_pictures(number: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, height, width, 3)).astype(np.uint8)


def write_pictures(folder: Path, number: int = 20) -> str:
    """Writes random pictures of two classes; returns the name of the source."""
    for i, picture in enumerate(random_pictures(number)):
        path = folder / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return f"folder:{folder}"


def prior_config(kind: str, source: str = "landscapes", run: str = "", classes: int = 0, **training: Any) -> CodePriorConfig:
    """Of one layer, on whole pictures, unmirrored."""
    defaults = {"steps": 4, "batch_size": 4, "warmup_steps": 1, "learning_rate": 0.01, "weight_decay": 0.1}
    shared = {
        "data": DataConfig(
            source=source, image_size=(SIDE, SIDE), crop=(1.0, 1.0), flip=False, held_out_crops=5, held_out_every=4
        ),
        "training": TrainingConfig(**(defaults | training)),
        "codes": CodesConfig(run=run, num_classes=classes),
        "seed": 3,
    }
    if kind == "window":
        return WindowConfig(**shared, model=WindowModelConfig(width=16, heads=2, layers=1, window=2))
    model = SundaeModelConfig(width=16, heads=2, head_size=8, before=(), valley=1, after=())
    return SundaeConfig(**shared, model=model)


def with_autoencoder(config: CodePriorConfig, autoencoder: AutoencoderRunConfig) -> CodePriorConfig:
    return replace(config, autoencoder=autoencoder, codes=replace(config.codes, run="gone"))


@cache
def random_prior(config: CodePriorConfig, autoencoder: TrainedAutoencoder | None = None, seed: int = 2) -> TrainedCodePrior:
    """With large random parameters, so that samples depend on all that they can. Many tests share
    it; nobody may change it."""
    if autoencoder:
        config = with_autoencoder(config, autoencoder.config)
    stage, rng = config.build(), np.random.default_rng(seed)

    def one(path: Any, leaf: Any) -> np.ndarray:
        return ((path[-1].key == "scale") + 0.5 * rng.normal(size=leaf.shape)).astype(np.float32)

    variables = {"params": jax.tree_util.tree_map_with_path(one, stage.shapes()["params"])}
    if autoencoder:
        variables["autoencoder"] = autoencoder.variables
    return stage.trained(variables, ((*config.data.image_size, 1),), ())
