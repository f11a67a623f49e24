"""Tiny ImageNet in 42 minutes on two CPU cores, all luma before chroma: for `colorize`.

As tiny_imagenet_64_classes, but for the order of channels. What it reaches is in
docs/colorization.md.
Model: 2.43 M parameters.
Launch: `python -m dct_jax train tiny_imagenet_64_luma_first --data.source tar:PATH`.
"""

from dataclasses import replace

from dct_jax import DCTConfig
from dct_jax.experiment import load_experiment

CLASSES = load_experiment("tiny_imagenet_64_classes", DCTConfig)
CONFIG = replace(
    CLASSES,
    codec=replace(CLASSES.codec, channel_order="luma_first"),
    # Chroma fills the last one or two chunks of a list: with so large a K they are chosen about as
    # often as the others.
    model=replace(CLASSES.model, max_chunks=256),
)
