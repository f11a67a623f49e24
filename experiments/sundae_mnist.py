"""The SUNDAE of McKinney and Willcocks (2022) for MNIST, by class. The levels of 28 x 28 grey
pixels are the codes, so there is no autoencoder.

Data: put the four files of MNIST into data/mnist. Those of Fashion-MNIST have the same network,
`--data.source idx:PATH`.
Model: 155 M parameters, of depth 2-8-2. The original's for KMNIST has depth 2-10-2, `--data.source
idx:data/kmnist --model.valley 10 --unroll.steps 3 --training.batch-size 10`: 176 M parameters.
Launch: `python experiments/launch.py sundae_mnist` on one device.
Sample: as the authors do, with `--steps 50 --temperature 0.9 --proportion 1`; for KMNIST with
`--steps 100 --proportion 1`.
"""

from dataclasses import replace

from dct_jax.codes.config import CodesConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig

_FFHQ = load_experiment("sundae_ffhq256", SundaeConfig)

CONFIG = replace(
    _FFHQ,
    data=replace(load_experiment("fashion").data, source="idx:data/mnist"),
    codes=CodesConfig(num_classes=10),
    autoencoder=None,
    model=replace(_FFHQ.model, valley=8),
    training=replace(_FFHQ.training, batch_size=8),
)
