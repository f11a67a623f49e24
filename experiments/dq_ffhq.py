"""The DQ-VAE of Huang et al. (2023) for FFHQ at 256 x 256 pixels: codes of 16 x 16 pixels and, in
half of the regions, of 8 x 8.

Data: not in TFDS. Put the pictures below data/ffhq, or give `--data.source folder:PATH`.
Model: 47.8 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py dq_ffhq` on 8 devices.
"""

from dataclasses import replace

from dct_jax.experiment import load_experiment

_IMAGENET = load_experiment("dq_dual_imagenet")
PICTURES = 70_000

CONFIG = replace(
    _IMAGENET,
    data=replace(load_experiment("vqgan_ffhq256").data, crop=(0.75**0.5, 1.0)),  # the authors' 0.75 is of the area
    training=replace(
        _IMAGENET.training,
        steps=50 * PICTURES // _IMAGENET.training.batch_size,
        warmup_steps=PICTURES // (10 * _IMAGENET.training.batch_size),
        evaluate_every=1000,
    ),
)
