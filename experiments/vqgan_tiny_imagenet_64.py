"""A VQ-GAN of Tiny ImageNet for one GPU: 64 x 64 pixels, 16 x 16 codes of 1,024.

Data: an uncompressed tar file with train/ and validation/, as for tiny_imagenet.
Model: 5.75 M parameters, and a discriminator.
Launch: `python -m dct_jax train vqgan_tiny_imagenet_64 --data.source tar:PATH`.
"""

from dataclasses import replace

from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import ConvolutionsConfig, LossConfig, VQGANConfig

CONFIG = VQGANConfig(
    # The pictures of the DCTransformer that it is compared with; all of them are squares.
    data=replace(load_experiment("tiny_imagenet_64").data, fit="crop", crop=(1.0, 1.0)),
    quantizer=QuantizerConfig(kind="ema", codes=1024, dim=64),
    model=ConvolutionsConfig(channels=64, multipliers=(1, 2, 2), residual_blocks=2, attention=(4,), latent_channels=128),
    loss=LossConfig(adversarial_start=20_000, discriminator_layers=2),
    training=TrainingConfig(
        steps=100_000,
        batch_size=64,
        learning_rate=3e-4,
        betas=(0.5, 0.9),
        warmup_steps=500,
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
