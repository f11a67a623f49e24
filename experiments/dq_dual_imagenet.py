"""The DQ-VAE of Huang et al. (2023) for ImageNet at 256 x 256 pixels: codes of 16 x 16 pixels and,
in half of the regions, of 8 x 8, chosen by a router that learns.

Data: ImageNet of TFDS, which is prepared by hand; see docs/data.md.
Model: 47.8 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py dq_dual_imagenet` on 8 devices.
"""

from dct_jax.config import TrainingConfig
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import LossConfig

BATCH, PICTURES = 240, 1_281_167

CONFIG = DQVAEConfig(
    data=load_experiment("vqgan_imagenet256").data,
    quantizer=QuantizerConfig(kind="ema", codes=1024, dim=256, restart=1.0),
    model=GrainsConfig(multipliers=(1, 1, 2, 2, 4), attention=(8, 16)),
    router=RouterConfig(kind="feature", ratios=(0.5,), budget=20.0),
    loss=LossConfig(adversarial_start=0, adversarial_weight=1.0, adversarial_limit=0.75, discriminator_norm="batch"),
    training=TrainingConfig(
        steps=50 * PICTURES // BATCH,
        batch_size=BATCH,
        learning_rate=4.5e-6 * BATCH,  # as the authors do, by pictures of a step
        betas=(0.5, 0.9),
        warmup_steps=PICTURES // (10 * BATCH),
        clip_norm=1e9,  # none
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
