"""The DQ-VAE of Huang et al. (2023) for ImageNet at 256 x 256 pixels, with regions of the larger
entropy in codes of 8 x 8 pixels: the authors' better version.

Data: ImageNet of TFDS, which is prepared by hand; see docs/data.md. The run computes the threshold
at its start.
Model: 47.6 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py dq_entropy_imagenet` on 8 devices.
"""

from dataclasses import replace

from dct_jax.dq.config import DQVAEConfig, RouterConfig
from dct_jax.experiment import load_experiment

CONFIG = replace(load_experiment("dq_dual_imagenet", DQVAEConfig), router=RouterConfig(kind="entropy", ratios=(0.5,)))
