"""Times a training step of an autoencoder beside its convolutions, and how fast it makes codes.

    python benchmarks/autoencoders.py [vqgan_landscapes_64] [--batch 8 --repeats 7 --json FILE]

The floor is the sum of the times of all convolutions of encoder and decoder, each alone: the
forward pass and both gradients. A step has normalisation, attention, the quantiser, the optimiser
and, of a VQ-GAN, the perceptual loss and the discriminator besides.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from machine import Figure, machine_figures, peak_memory, report, spread, timings

from dct_jax.commands.ending import run_script
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import AutoencoderRunConfig
from dct_jax.vq.gan.config import VQGANConfig

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def main(experiment: str = "vqgan_landscapes_64", batch: int = 8, repeats: int = 7, json: Path | None = None) -> None:
    """Times an experiment's network.

    Args:
        experiment: of an autoencoder.
        batch: pictures of a step.
        repeats: how often each is timed.
        json: where to write the figures.
    """
    config = load_experiment(experiment, AutoencoderRunConfig)
    config = replace(config, training=replace(config.training, batch_size=batch))
    pictures = np.random.default_rng(0).integers(0, 256, (batch, *config.data.image_size, 3)).astype(np.uint8)
    floor = [sum(parts) for parts in zip(*(convolution_seconds(*one, repeats) for one in convolutions(config, batch)))]
    figures = [Figure("parameters", _parameters(config) / 1e6, "M")]
    figures.append(spread("convolutions alone, forward and backward", floor, "ms", 1e3))
    for name, one in variants(config).items():
        seconds = step_seconds(one, pictures, repeats)
        figures.append(spread(f"step, {name}", seconds, "ms", 1e3))
        figures.append(Figure(f"step, {name} / convolutions", sorted(seconds)[repeats // 2] / sorted(floor)[repeats // 2]))
    encode = jax.jit(lambda variables, x: config.network().apply(variables, x, method="to_codes"))
    variables = config.build().init().variables
    pixels = jnp.asarray(pictures / 127.5 - 1, jnp.float32)
    jax.block_until_ready(encode(variables, pixels))
    figures.append(
        spread("codes of a picture", [x / batch for x in timings(lambda: encode(variables, pixels), repeats)], "ms", 1e3)
    )
    report([peak_memory(), *machine_figures(), *figures], json)


def variants(config: AutoencoderRunConfig) -> dict[str, AutoencoderRunConfig]:
    """The configuration; for a VQ-GAN one whose discriminator takes part from the first step, and
    those with less to compute."""
    if not isinstance(config, VQGANConfig):
        return {"all": config}
    whole, never = (replace(config, loss=replace(config.loss, adversarial_start=start)) for start in (0, config.training.steps))
    plain = replace(never, loss=replace(never.loss, perceptual="none"))
    return {"all": whole, "without the discriminator": never, "without it and perceptual loss": plain}


def step_seconds(config: AutoencoderRunConfig, pictures: np.ndarray, repeats: int) -> list[float]:
    """Times training steps on one device, after the first."""
    where = jax.local_devices()[:1]
    stage = config.build()
    state, step = replicate(stage.init(), where), parallel(stage.step, where)
    batch = place(pictures, where)
    state, _ = step(state, batch)

    def one() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    timings(one, 1)
    return timings(one, repeats)


def convolutions(config: AutoencoderRunConfig, batch: int) -> list[tuple[tuple[int, ...], nn.Conv, int]]:
    """Lists the different convolutions of a network: input shape, layer, how often."""
    found: Counter[tuple[tuple[int, ...], tuple[Any, ...]]] = Counter()
    layers: dict[tuple[Any, ...], nn.Conv] = {}

    def note(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Conv):
            module = context.module
            what = (module.features, str(module.kernel_size), module.strides, str(module.padding))
            layers[what] = nn.Conv(module.features, module.kernel_size, strides=module.strides, padding=module.padding)
            found[tuple(args[0].shape), what] += 1
        return layer(*args, **kwargs)

    pixels = jax.ShapeDtypeStruct((batch, *config.data.image_size, 3), jnp.float32)
    network = config.network()
    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), pixels)
    return [(shape, layers[what], number) for (shape, what), number in found.items()]


def convolution_seconds(shape: tuple[int, ...], layer: nn.Conv, number: int, repeats: int) -> list[float]:
    """Times a convolution, forward and both gradients, as often as the network has it."""
    x = jax.random.normal(jax.random.key(0), shape)
    variables = layer.init(jax.random.key(1), x)

    @jax.jit
    def both(variables: Any, x: jax.Array, gradient: jax.Array) -> Any:
        y, pull = jax.vjp(layer.apply, variables, x)
        return y, pull(gradient)

    gradient = layer.apply(variables, x)
    jax.block_until_ready(both(variables, x, gradient))
    return [number * seconds for seconds in timings(lambda: both(variables, x, gradient), repeats)]


def _parameters(config: AutoencoderRunConfig) -> int:
    shapes = jax.eval_shape(config.network().init, jax.random.key(0), jnp.zeros((1, *config.data.image_size, 3)))
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


if __name__ == "__main__":
    run_script(main)
