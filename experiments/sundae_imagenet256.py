"""The SUNDAE of McKinney and Willcocks (2022) for ImageNet at 256 x 256 pixels, by its 1,000
classes, on 16 x 16 codes of 1,024.

Data: as for `vqgan_imagenet256`, which must be trained first, in runs/vqgan_imagenet256.
Model: 199 M parameters, of depth 2-12-2. The original's others:
depth 2-16-2, `--model.heads 12 --model.valley 16 --training.batch-size 128`: 264 M parameters;
wide, `--model.width 2048 --model.heads 12 --model.valley 16 --training.batch-size 64
--training.learning-rate 3e-5`: 914 M parameters;
depth 3-14-3, `--model.width 2048 --model.heads 12 --model.before 3 --model.valley 14 --model.after
3 --training.batch-size 64`: 914 M parameters.
Launch: `python experiments/launch.py sundae_imagenet256` on 8 devices.
Sample: as the authors do, with `--steps 200 --temperature 0.8 0.7 --proportion 0.7`.
"""

from dataclasses import replace

from dct_jax.codes.config import CodesConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, UnrollConfig
from dct_jax.vq.gan.config import VQGANConfig

_FFHQ = load_experiment("sundae_ffhq256", SundaeConfig)
AUTOENCODER = load_experiment("vqgan_imagenet256", VQGANConfig)

CONFIG = replace(
    _FFHQ,
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqgan_imagenet256", num_classes=1000),
    autoencoder=AUTOENCODER,
    model=replace(_FFHQ.model, valley=12),
    unroll=UnrollConfig(steps=3),
    training=replace(_FFHQ.training, steps=1_000_000, batch_size=192, learning_rate=1e-6),
)
