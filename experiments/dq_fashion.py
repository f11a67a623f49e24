"""A DQ-VAE of Fashion-MNIST in ten minutes on two CPU cores: 28 x 28 pixels, codes of 4 x 4 pixels
and, in half of the regions, of 2 x 2.

Data: the bundled 10,000 + 2,000 garments.
Model: 0.54 M parameters.
Launch: `python -m dct_jax train dq_fashion`.
"""

from dct_jax.config import TrainingConfig
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import LossConfig

STEPS = 9000

CONFIG = DQVAEConfig(
    data=load_experiment("fashion").data,  # the pictures of the DCTransformer that it is compared with
    quantizer=QuantizerConfig(kind="ema", codes=512, dim=32),
    model=GrainsConfig(channels=48, groups=8, stem=2, multipliers=(1, 1), residual_blocks=1, attention=(), latent_channels=48),
    router=RouterConfig(kind="entropy", ratios=(0.5,)),
    loss=LossConfig(pixels="squared", perceptual="none", adversarial_start=STEPS, discriminator_layers=2),
    training=TrainingConfig(
        steps=STEPS,
        batch_size=16,
        learning_rate=8e-3,
        warmup_steps=100,
        evaluate_every=1500,
        checkpoint_every=500,
    ),
)
