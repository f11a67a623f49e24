"""Tiny ImageNet in 42 minutes on two CPU cores, with classes: for `sample --label`, `upsample` and
`continue`.

As tiny_imagenet_64, but one of 200 classes is given, and hidden one time in ten for classifier-free
guidance. What it reaches is in docs/sampling.md.
Model: 2.40 M parameters.
Launch: `python -m dct_jax train tiny_imagenet_64_classes --data.source tar:PATH`.
"""

from dataclasses import replace

from dct_jax import DCTConfig
from dct_jax.experiment import load_experiment

UNCONDITIONAL = load_experiment("tiny_imagenet_64", DCTConfig)
CONFIG = replace(
    UNCONDITIONAL,
    model=replace(UNCONDITIONAL.model, num_classes=200),
    training=replace(UNCONDITIONAL.training, steps=2600, label_dropout=0.1),
)
