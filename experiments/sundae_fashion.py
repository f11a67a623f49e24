"""SUNDAE over 7 x 7 codes of Fashion-MNIST, by class, in ten minutes on two CPU cores. The
sides are odd, so the network is a plain transformer.

Data: the bundled 10,000 + 2,000 garments, as codes of `vqvae_fashion`, which must be trained first.
Model: 1.98 M parameters.
Launch: `python -m dct_jax train sundae_fashion`.
"""

from dataclasses import replace

from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig, UnrollConfig
from dct_jax.window.config import WindowConfig

_WINDOW = load_experiment("window_fashion", WindowConfig)

CONFIG = SundaeConfig(
    data=_WINDOW.data,
    codes=_WINDOW.codes,
    autoencoder=_WINDOW.autoencoder,
    model=SundaeModelConfig(width=192, heads=6, head_size=32, before=(), valley=4, after=(), dropout=0.1),
    unroll=UnrollConfig(steps=2),
    training=replace(_WINDOW.training, steps=1200, evaluate_every=300),  # each of which is two passes
)
