"""A VQ-VAE of the common size: 256 channels, codes of 512 with 256 coordinates, f = 4.

Data: the bundled garments, 28 x 28 pixels and so 7 x 7 codes; or pictures of any size that 4
divides, as in `--data.source csv:FILE --data.image-size 64 64`.
Model: 5.5 M parameters.
Launch: `python -m dct_jax train vqvae_256_channels`.
"""

from dataclasses import replace

from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig

CONFIG = VQVAEConfig(
    data=replace(load_experiment("fashion").data, flip=False),
    quantizer=QuantizerConfig(kind="gradient", codes=512, dim=256, commitment=0.5),
    model=AutoencoderConfig(channels=256, residual_blocks=2),
    training=TrainingConfig(
        steps=10_000,
        batch_size=128,
        learning_rate=1e-3,
        schedule="constant",
        warmup_steps=0,
        evaluate_every=1000,
        checkpoint_every=500,
    ),
)
