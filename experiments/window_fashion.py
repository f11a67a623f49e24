"""A sliding-window transformer over 7 x 7 codes of Fashion-MNIST, by class, in ten minutes on
two CPU cores.

Data: the bundled 10,000 + 2,000 garments, as codes of `vqvae_fashion`, which must be trained first.
Model: 1.98 M parameters.
Launch: `python -m dct_jax train window_fashion`.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import VQVAEConfig
from dct_jax.window.config import WindowConfig, WindowModelConfig

AUTOENCODER = load_experiment("vqvae_fashion", VQVAEConfig)

CONFIG = WindowConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqvae_fashion", num_classes=10),
    autoencoder=AUTOENCODER,
    model=WindowModelConfig(width=192, heads=6, layers=4, window=4, dropout=0.1, products="bfloat16"),
    training=TrainingConfig(
        steps=2000,
        batch_size=64,
        optimizer="muon",
        learning_rate=2e-3,
        muon_learning_rate=1e-2,
        warmup_steps=100,
        evaluate_every=500,
        checkpoint_every=250,
    ),
)
