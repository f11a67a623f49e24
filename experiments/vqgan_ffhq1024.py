"""A VQ-GAN of FFHQ at 1024 x 1024 pixels: 32 x 32 codes of 8,192, for the prior of McKinney and
Willcocks (2022).

Data: not in TFDS. Put the files of images1024x1024 below data/ffhq, or give `--data.source
folder:PATH`.
Model: 75.4 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py vqgan_ffhq1024` on 8 devices of 80 GB.
"""

from dataclasses import replace

from dct_jax.experiment import load_experiment
from dct_jax.vq.gan.config import VQGANConfig

_SMALL = load_experiment("vqgan_ffhq256", VQGANConfig)
BATCH = 8  # one picture a device

CONFIG = replace(
    _SMALL,
    data=replace(_SMALL.data, image_size=(1024, 1024)),
    quantizer=replace(_SMALL.quantizer, codes=8192),
    model=replace(_SMALL.model, multipliers=(1, 1, 2, 2, 4, 4), residual_blocks=1),
    loss=replace(_SMALL.loss, adversarial_start=15_000, adversarial_weight=0.5),
    training=replace(_SMALL.training, steps=1_000_000, batch_size=BATCH, learning_rate=5e-6 * BATCH),
)
