"""SUNDAE over the pixels of Fashion-MNIST, by class, on two CPU cores. The levels of 28 x 28 grey
pixels are the 784 codes, so there is no autoencoder; the hourglass halves the grid to 14 x 14 and
to 7 x 7.

Data: the bundled 10,000 + 2,000 garments.
Model: 2.44 M parameters.
Launch: `python -m dct_jax train sundae_fashion_pixels`.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig, UnrollConfig

CONFIG = SundaeConfig(
    data=load_experiment("vqvae_fashion").data,
    codes=CodesConfig(num_classes=10),
    model=SundaeModelConfig(width=128, heads=4, head_size=32, before=(1, 1), valley=3, after=(1, 1), dropout=0.1),
    unroll=UnrollConfig(steps=2),
    training=TrainingConfig(
        steps=3000,
        batch_size=16,
        optimizer="muon",
        learning_rate=2e-3,
        muon_learning_rate=1e-2,
        warmup_steps=100,
        evaluate_every=1000,
        checkpoint_every=100,
    ),
)
