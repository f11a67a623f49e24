"""A sliding-window transformer over 16 x 16 codes of the bundled photographs, in seven minutes on
two CPU cores.

Data: 64 x 64 crops of the bundled landscapes, as codes of `vqvae_landscapes_64`, which must be
trained first.
Model: 1.98 M parameters.
Launch: `python -m dct_jax train window_landscapes_64`.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.config import VQVAEConfig
from dct_jax.window.config import WindowConfig, WindowModelConfig

AUTOENCODER = load_experiment("vqvae_landscapes_64", VQVAEConfig)

CONFIG = WindowConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqvae_landscapes_64"),
    autoencoder=AUTOENCODER,
    # The photographs are few, so a larger network would learn them by heart.
    model=WindowModelConfig(width=192, heads=6, layers=4, window=6, dropout=0.1, products="bfloat16"),
    training=TrainingConfig(
        steps=1000,
        batch_size=16,
        optimizer="muon",
        learning_rate=2e-3,
        muon_learning_rate=1e-2,
        warmup_steps=100,
        evaluate_every=250,
        checkpoint_every=100,
    ),
)
