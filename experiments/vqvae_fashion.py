"""A VQ-VAE of Fashion-MNIST in ten minutes on two CPU cores: 28 x 28 pixels, 7 x 7 codes of 512.

Data: the bundled 10,000 + 2,000 garments.
Model: 0.70 M parameters.
Launch: `python -m dct_jax train vqvae_fashion`.
"""

from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig

CONFIG = VQVAEConfig(
    data=load_experiment("fashion").data,  # the pictures of the DCTransformer that it is compared with
    quantizer=QuantizerConfig(kind="ema", codes=512, dim=32),
    model=AutoencoderConfig(channels=96, residual_blocks=2),
    training=TrainingConfig(
        steps=28_000,
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=100,
        evaluate_every=4000,
        checkpoint_every=2000,
    ),
)
