"""Small models of every system, which accelerator_parity.py runs on a device and on a CPU: a
training step, and what the model samples or reconstructs."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
import optax
from random_network import random_batch

from dct_jax.codes.reader import CodesBatch
from dct_jax.config import DataConfig, RunConfig, TrainingConfig
from dct_jax.dct.config import DCTConfig
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.dq.config import DQVAEConfig, GrainsConfig
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.evaluation.prior import Prior
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig
from dct_jax.training.stage import TrainState
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import AutoencoderConfig, AutoencoderRunConfig, QuantizerConfig, VQVAEConfig
from dct_jax.vq.gan.config import ConvolutionsConfig, LossConfig, VQGANConfig
from dct_jax.vq.gan.stage import Adversary
from dct_jax.window.config import WindowConfig, WindowModelConfig

PICTURES, SIDE = 2, 24
"""Pictures of a batch, and pixels of a side. Their 12 x 12 codes are many enough for the gathered
form of the window's attention."""

DIFFERING = "arrays that differ"
"""The name of how many arrays have other bits when a step is taken again."""


def configs() -> dict[str, RunConfig]:
    """Returns a small model of each system, by the system's name. The DCTransformer and the priors
    have what their experiments have: contexts, the position pointer, and Muon."""
    rooms: dict[str, Any] = {
        "data": DataConfig(image_size=(SIDE, SIDE)),
        "training": TrainingConfig(batch_size=PICTURES, warmup_steps=0),
    }
    muon = dataclasses.replace(rooms["training"], optimizer="muon")
    debug = load_experiment("debug", DCTConfig)
    coded: dict[str, Any] = rooms | {"quantizer": QuantizerConfig(codes=16, dim=4)}
    sizes: dict[str, Any] = {"channels": 32, "multipliers": (1, 1), "residual_blocks": 1, "latent_channels": 8}
    loss = LossConfig(perceptual="none", adversarial_start=0, discriminator_channels=8, discriminator_layers=1)
    vqvae = VQVAEConfig(**coded, model=AutoencoderConfig(channels=8, residual_blocks=1, downsampling=2))
    vqgan = VQGANConfig(**coded, model=ConvolutionsConfig(**sizes, attention=(2,)), loss=loss)
    dqvae = DQVAEConfig(**coded, model=GrainsConfig(**sizes, attention=(4,), stem=2), loss=loss)
    of_codes: dict[str, Any] = rooms | {"training": muon, "autoencoder": vqvae}
    plain: dict[str, Any] = {"heads": 2, "dropout": 0.1}
    window = WindowConfig(**of_codes, model=WindowModelConfig(**plain, width=32, layers=1, window=2))
    sundae = SundaeConfig(
        **of_codes, model=SundaeModelConfig(**plain, width=32, head_size=16, before=(1,), valley=1, after=(1,))
    )
    stack = StackConfig(**plain, width=32, position_layers=1, content_layers=1)
    all_systems: list[RunConfig] = [
        dataclasses.replace(
            debug, model=dataclasses.replace(debug.model, contexts=True, position_pointer=True, dropout=0.1), training=muon
        ),
        vqvae,
        vqgan,
        window,
        sundae,
        dqvae,
        DQTransformerConfig(**of_codes | {"autoencoder": dqvae}, model=stack),
    ]
    return {config.system: config for config in all_systems}


def with_bfloat16_products(config: RunConfig) -> RunConfig:
    """Returns the configuration of a DCTransformer whose products have operands in bfloat16, as
    most experiments have them."""
    assert isinstance(config, DCTConfig)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, products="bfloat16"))


def random_state(config: RunConfig) -> TrainState:
    """Returns a state before the first step, of NumPy arrays, which are equal on every device: with
    open gates, so that every layer does work."""
    shapes = jax.eval_shape(config.build().init)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    optimizer = state.optimizer
    if isinstance(optimizer, Adversary):
        optimizer = optimizer._replace(params=_random_tree(shapes.optimizer.params, 1))
    return state._replace(variables=_random_tree(shapes.variables, 0), optimizer=optimizer)


def batch_of(config: RunConfig) -> Any:
    """Returns a random batch, as the system's reader makes them."""
    if isinstance(config, DCTConfig):
        return random_batch(config, PICTURES)
    if isinstance(config, AutoencoderRunConfig):
        return random_pictures()
    return CodesBatch(random_pictures(), np.zeros(PICTURES, np.int32), np.arange(PICTURES, dtype=np.uint32))


def random_pictures() -> np.ndarray:
    """Returns noise, uint8 [N, H, W, 3]."""
    return np.random.default_rng(5).integers(0, 256, (PICTURES, SIDE, SIDE, 3)).astype(np.uint8)


def take_step(config: RunConfig) -> dict[str, np.ndarray]:
    """Takes one training step, twice from the same state.

    Returns:
        Each "step: ...": the losses; Adam's or Muon's first moments, which are a share of the
        gradient, an array for each optimiser; a codebook. And DIFFERING, a number.
    """
    stage, devices = config.build(), jax.local_devices()[:1]
    state, batch = random_state(config), place(batch_of(config), devices)
    program = parallel(stage.step, devices)
    once, again = (jax.device_get(program(replicate(state, devices), batch)) for _ in range(2))
    after, metrics = once
    moments = [jax.tree.leaves(mu) for _, mu in optax.tree.get_all_with_path(after.optimizer, "mu")]
    differ = [x.tobytes() != y.tobytes() for x, y in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True)]
    return {
        "step: losses": np.array([mean.sum / mean.divisor for mean in metrics.means.values()]),
        **{f"step: gradient {i}": np.concatenate([x.ravel() for x in of_one]) for i, of_one in enumerate(moments) if of_one},
        **{f"step: codebook {i}": x for i, x in enumerate(jax.tree.leaves(after.variables.get("codebook", {})))},
        DIFFERING: np.array(sum(differ)),
    }


def make_pictures(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns reconstructions of an autoencoder, or samples of a prior: "sample", uint8
    [N, H, W, 3]."""
    model = config.build().trained(random_state(config).variables, ((*config.data.image_size, 1),), ())
    if isinstance(model, TrainedAutoencoder):
        return {"sample": model.reconstruct(random_pictures())[1]}
    assert isinstance(model, Prior)
    pictures = dict(model.sample_pictures(PICTURES, 0, [0], PICTURES))
    return {"sample": np.stack([pictures[i] for i in range(PICTURES)])}


def run_system(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns what `take_step` and `make_pictures` do."""
    return take_step(config) | make_pictures(config)


def _random_tree(shapes: Any, seed: int) -> Any:
    """Returns parameters about as large as fresh ones, float32 NumPy arrays."""
    rng = np.random.default_rng(seed)

    def random_leaf(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        size = math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.1
        return np.float32(path[-1].key == "scale") + np.float32(size) * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree_util.tree_map_with_path(random_leaf, shapes)
