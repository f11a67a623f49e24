"""A VQ-VAE of the bundled photographs in ten minutes on two CPU cores: 64 x 64 pixels, 16 x 16
codes of 512.

Data: 64 x 64 crops of the bundled landscapes.
Model: 0.70 M parameters.
Launch: `python -m dct_jax train vqvae_landscapes_64`.
"""

from dataclasses import replace

from dct_jax.experiment import load_experiment

_FASHION = load_experiment("vqvae_fashion")

CONFIG = replace(
    _FASHION,
    data=load_experiment("landscapes").data,  # the pictures of the DCTransformer that it is compared with
    training=replace(_FASHION.training, steps=5000, evaluate_every=1000, checkpoint_every=500),
)
