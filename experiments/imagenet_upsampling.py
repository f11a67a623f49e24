"""ImageNet, the paper's 8x upsampling: 1,281,167 pictures, the long side 384 pixels; the model
samples them from pictures of 48 pixels.

The banded order lists all DCs first, Y, Cr, Cb, and they are the picture at an eighth of its size:
a sampler that is given them writes the rest. The model is trained on whole lists, DCs included, and
has no classes, as a small picture shows what it is of.

Data: as for imagenet: `python -m dct_jax prepare imagenet2012`.
Model: 401 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.1 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py imagenet_upsampling` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTConfig
from dct_jax.experiment import load_experiment

IMAGENET = load_experiment("imagenet", DCTConfig)
CONFIG = replace(IMAGENET, model=replace(IMAGENET.model, num_classes=0))
