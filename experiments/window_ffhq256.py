"""A sliding-window transformer for FFHQ at 256 x 256 pixels, on 16 x 16 codes of 1,024: 24 layers
of width 1,024, as for the faces of Esser et al. (2021), which here see 8 rows and 16 columns.

Data: as for `vqgan_ffhq256`, which must be trained first, in runs/vqgan_ffhq256.
Model: 304 M parameters.
Launch: `python experiments/launch.py window_ffhq256` on 8 devices.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.window.config import WindowConfig, WindowModelConfig

AUTOENCODER = load_experiment("vqgan_ffhq256", VQGANConfig)
BATCH = 64

CONFIG = WindowConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqgan_ffhq256"),
    autoencoder=AUTOENCODER,
    model=WindowModelConfig(width=1024, heads=16, layers=24, window=8, products="bfloat16"),
    training=TrainingConfig(
        steps=500_000,
        batch_size=BATCH,
        learning_rate=4.5e-6 * BATCH,  # as the authors do, by pictures of a step
        schedule="constant",
        warmup_steps=0,
        clip_norm=1e9,  # none
        betas=(0.9, 0.95),
        weight_decay=0.01,
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
