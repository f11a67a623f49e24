"""A VQ-VAE of Fashion-MNIST in ten minutes on two CPU cores: 28 x 28 pixels, 7 x 7 codes of 512.

Data: the bundled 10,000 + 2,000 garments.
Model: 0.32 M parameters.
Launch: `python -m dct_jax train vqvae_fashion`.
"""

from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig

CONFIG = VQVAEConfig(
    data=DataConfig(
        source="fashion",
        split="train",
        held_out_split="test",
        held_out_crops=400,
        image_size=(28, 28),
        crop=(1.0, 1.0),
        flip=False,  # all shoes point to the left
    ),
    quantizer=QuantizerConfig(kind="ema", codes=512, dim=32),
    model=AutoencoderConfig(channels=64, residual_blocks=2),
    training=TrainingConfig(
        steps=6000,
        batch_size=64,
        learning_rate=3e-3,
        warmup_steps=100,
        evaluate_every=1000,
        checkpoint_every=500,
    ),
)
