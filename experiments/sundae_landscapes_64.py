"""SUNDAE over 16 x 16 codes of the bundled photographs, in eight minutes on two CPU cores. The
hourglass halves the grid to 8 x 8.

Data: 64 x 64 crops of the bundled landscapes, as codes of `vqvae_landscapes_64`, which must be
trained first.
Model: 3.97 M parameters.
Launch: `python -m dct_jax train sundae_landscapes_64`.
"""

from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig, UnrollConfig
from dct_jax.window.config import WindowConfig

_WINDOW = load_experiment("window_landscapes_64", WindowConfig)

CONFIG = SundaeConfig(
    data=_WINDOW.data,
    codes=_WINDOW.codes,
    autoencoder=_WINDOW.autoencoder,
    model=SundaeModelConfig(
        width=192, heads=6, head_size=32, before=(1,), valley=4, after=(1,), dropout=0.1, products="bfloat16"
    ),
    unroll=UnrollConfig(steps=2),
    training=_WINDOW.training,
)
