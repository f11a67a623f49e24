"""The DQ-Transformer of Huang et al. (2023) for ImageNet at 256 x 256 pixels, by class.

Data: as for `dq_entropy_imagenet`, which must be trained first, in runs/dq_entropy_imagenet.
Model: 309 M parameters.
Launch: `python experiments/launch.py dq_transformer_imagenet_classes` on 8 devices.
Sample: as the authors do, with `--top-k 0 300`.
"""

from dataclasses import replace

from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.experiment import load_experiment

_WITHOUT = load_experiment("dq_transformer_imagenet", DQTransformerConfig)

CONFIG = replace(_WITHOUT, codes=replace(_WITHOUT.codes, num_classes=1000))
