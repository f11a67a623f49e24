"""The VQ-GAN of Esser et al. (2021) for ImageNet at 256 x 256 pixels: 16 x 16 codes of 1,024.

Data: ImageNet of TFDS, which is prepared by hand; see docs/data.md.
Model: 72.1 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py vqgan_imagenet256` on 8 devices.
"""

from dataclasses import replace

from dct_jax.config import DataConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.gan.config import VQGANConfig

_FFHQ = load_experiment("vqgan_ffhq256", VQGANConfig)

CONFIG = replace(
    _FFHQ,
    data=DataConfig(
        source="tfds:imagenet2012",
        split="train",
        held_out_split="validation",
        held_out_crops=1000,
        image_size=(256, 256),
        crop=(1.0, 1.0),
        enlarge=4.0,  # some are smaller
    ),
    loss=replace(_FFHQ.loss, adversarial_start=250_000),
    training=replace(_FFHQ.training, steps=1_000_000),
)
