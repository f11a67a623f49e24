"""The DQ-VAE of Huang et al. (2023) for ImageNet at 256 x 256 pixels with three grains: codes of
32 x 32, 16 x 16 and 8 x 8 pixels, for 40, 30 and 30 % of the regions.

Data: ImageNet of TFDS, which is prepared by hand; see docs/data.md.
Model: 73.7 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py dq_triple_imagenet` on 8 devices.
"""

from dataclasses import replace

from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.experiment import load_experiment

CONFIG = replace(
    load_experiment("dq_dual_imagenet", DQVAEConfig),
    model=GrainsConfig(grains=3, multipliers=(1, 1, 2, 2, 4, 4), attention=(8, 16, 32)),
    router=RouterConfig(kind="feature", ratios=(0.3, 0.3), budget=1.0),
)
