"""The SUNDAE of McKinney and Willcocks (2022) for CelebA at 256 x 256 pixels, on 16 x 16 codes of
1,024.

Data: CelebA of TFDS, aligned faces of 218 x 178 pixels, which are cropped and enlarged (the authors
crop the middle; see docs/experiments.md); and a
VQ-GAN of them, which must be trained first, by `python experiments/launch.py vqgan_ffhq256
--run-dir runs/vqgan_celeba256 --data.source tfds:celeb_a --data.split train --data.held-out-split
validation --data.held-out-crops 1000 --data.enlarge 1.5`.
Model: 198 M parameters.
Launch: `python experiments/launch.py sundae_celeba256` on 8 devices.
Sample: as the authors do, with `--steps 200`.
"""

from dataclasses import replace

from dct_jax.codes.config import CodesConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, UnrollConfig
from dct_jax.vq.gan.config import VQGANConfig

_FFHQ = load_experiment("sundae_ffhq256", SundaeConfig)
_DATA = replace(_FFHQ.data, source="tfds:celeb_a", split="train", held_out_split="validation", held_out_crops=1000, enlarge=1.5)

CONFIG = replace(
    _FFHQ,
    data=_DATA,
    codes=CodesConfig(run="runs/vqgan_celeba256"),
    autoencoder=replace(load_experiment("vqgan_ffhq256", VQGANConfig), data=_DATA),
    model=replace(_FFHQ.model, valley=12),
    unroll=UnrollConfig(steps=3),
    training=replace(_FFHQ.training, batch_size=48),
)
