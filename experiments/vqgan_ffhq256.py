"""The VQ-GAN of Esser et al. (2021) for FFHQ at 256 x 256 pixels: 16 x 16 codes of 1,024.
CelebA has the same settings.

Data: not in TFDS. Put the pictures below data/ffhq, or give `--data.source folder:PATH`.
Model: 72.1 M parameters, and a discriminator of 2.8 M.
Launch: `python experiments/launch.py vqgan_ffhq256` on 8 devices.
"""

from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import ConvolutionsConfig, LossConfig, VQGANConfig

BATCH = 64

CONFIG = VQGANConfig(
    data=DataConfig(source="folder:data/ffhq", held_out_every=100, image_size=(256, 256), crop=(1.0, 1.0)),
    quantizer=QuantizerConfig(kind="gradient", codes=1024, dim=256),
    model=ConvolutionsConfig(),
    loss=LossConfig(adversarial_start=30_000, adversarial_weight=0.8),
    training=TrainingConfig(
        steps=400_000,
        batch_size=BATCH,
        learning_rate=4.5e-6 * BATCH,  # as the authors do, by pictures of a step
        betas=(0.5, 0.9),
        schedule="constant",
        warmup_steps=0,
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
