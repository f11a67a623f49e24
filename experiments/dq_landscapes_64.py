"""A DQ-VAE of the bundled photographs on two CPU cores: 64 x 64 pixels, codes of 16 x 16, 8 x 8 and
4 x 4 pixels.

Data: the bundled landscapes, cropped.
Model: 1.36 M parameters, and a discriminator.
Launch: `python -m dct_jax train dq_landscapes_64`.
"""

from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import LossConfig

CONFIG = DQVAEConfig(
    data=DataConfig(source="landscapes", image_size=(64, 64)),
    quantizer=QuantizerConfig(kind="ema", codes=512, dim=32),
    model=GrainsConfig(
        grains=3, channels=32, groups=8, stem=2, multipliers=(1, 2, 2, 2), residual_blocks=1, attention=(), latent_channels=64
    ),
    router=RouterConfig(kind="entropy", ratios=(0.3, 0.3)),
    loss=LossConfig(perceptual="alexnet", adversarial_start=1000, discriminator_channels=32, discriminator_layers=2),
    training=TrainingConfig(
        steps=2500,
        batch_size=8,
        learning_rate=1e-3,
        betas=(0.5, 0.9),
        warmup_steps=100,
        evaluate_every=500,
        checkpoint_every=250,
    ),
)
