"""Small DQ-VAEs: dual and triple, of both routers."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.dq.entropy import patch_entropy
from dct_jax.dq.grains import map_of
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import LossConfig
from dct_jax.vq.network import to_float

CODES = 11
SIDE = 16
"""Pixels of a picture."""


def dqvae_config(grains: Any = 2, kind: Any = "feature", stem: Any = 1, quantizer: Any = "ema", **data: Any) -> DQVAEConfig:
    """A cell of the finest grid has `stem` pixels of a side, and each grain doubles them."""
    return DQVAEConfig(
        data=DataConfig(**({"source": "landscapes", "image_size": (SIDE, SIDE), "held_out_crops": 6} | data)),
        training=TrainingConfig(
            steps=8,
            batch_size=4,
            warmup_steps=1,
            learning_rate=1e-3,
            betas=(0.5, 0.9),
            clip_norm=1e6,
            evaluate_every=8,
            checkpoint_every=8,
        ),
        quantizer=QuantizerConfig(kind=quantizer, codes=CODES, dim=4),
        model=GrainsConfig(
            channels=32, multipliers=(1,) * grains, residual_blocks=1, attention=(), latent_channels=8, grains=grains, stem=stem
        ),
        loss=LossConfig(perceptual="none", adversarial_start=8, discriminator_channels=8, discriminator_layers=1),
        router=RouterConfig(kind=kind, ratios=(0.5,) if grains == 2 else (0.3, 0.3)),
        seed=3,
    )


def smooth_and_rough_pictures(number: int, config: DQVAEConfig, seed: int = 0) -> np.ndarray:
    """Pictures, uint8 [N, H, W, 3], of regions with a brightness and a roughness of their own."""
    rng, side = np.random.default_rng(seed), config.model.divisor
    rows, columns = config.regions
    shape = (number, rows, side, columns, side, 1)
    roughness = rng.choice([0, 20, 60], (number, rows, 1, columns, 1, 1))
    levels = rng.integers(60, 196, (number, rows, 1, columns, 1, 3)) + roughness * rng.uniform(-1, 1, shape)
    return levels.astype(np.uint8).reshape(number, rows * side, columns * side, 3)


def random_dqvae(config: DQVAEConfig, seed: int = 1) -> TrainedAutoencoder:
    """Its table has vectors that its encoder makes of pictures, and each grain has many regions: a
    router of entropies has their percentiles as thresholds, and one of features has logits without
    a mean."""
    network, rng = config.network(), np.random.default_rng(seed)
    pixels = to_float(jnp.asarray(smooth_and_rough_pictures(16, config, seed)))
    shapes = jax.eval_shape(network.init, jax.random.key(0), pixels)

    def one(path: Any, leaf: Any) -> np.ndarray:
        spread = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return ((path[-1].key == "scale") + spread * rng.normal(size=leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(one, dict(shapes))
    grains = config.model.grains
    if config.router.kind == "entropy":
        entropies = entropies_of(pixels, config.model.divisor)
        variables["router"]["thresholds"] = np.quantile(entropies, np.arange(1, grains) / grains).astype(np.float32)
    else:
        last = variables["params"]["router"]["logits"]
        make_logits = jax.jit(lambda x, y: network.apply(x, y, method=lambda parts, x: parts.router(parts.encoder(x))))
        last["bias"] = last["bias"] - np.asarray(make_logits(variables, pixels)).mean(axis=(0, 1, 2))
    vectors = np.asarray(jax.jit(lambda x, y: network.apply(x, y, method="encode"))(variables, pixels))
    table = rng.permutation(np.unique(vectors.reshape(-1, vectors.shape[-1]), axis=0))[: config.quantizer.num_codes]
    variables["params" if config.quantizer.kind == "gradient" else "codebook"]["quantizer"]["table"] = table
    return TrainedAutoencoder(config, variables, ((*config.data.image_size, 1),))


def entropies_of(pixels: Any, side: int) -> np.ndarray:
    return np.asarray(_entropies(pixels, side))


def maps_of(codes: Any, grains: int) -> np.ndarray:
    """The grain maps of grids with holes."""
    return np.asarray(_maps(codes, grains))


_entropies = jax.jit(patch_entropy, static_argnums=1)
_maps = jax.jit(partial(map_of, num_codes=CODES), static_argnums=1)


def with_ratio(config: DQVAEConfig, *ratios: float, budget: float = 20.0) -> DQVAEConfig:
    return replace(config, router=replace(config.router, ratios=ratios, budget=budget))
