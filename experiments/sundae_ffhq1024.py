"""The SUNDAE of McKinney and Willcocks (2022) for FFHQ at 1024 x 1024 pixels, on 32 x 32 codes of
8,192.

Data: as for `vqgan_ffhq1024`, which must be trained first, in runs/vqgan_ffhq1024.
Model: 669 M parameters, of depth 2-10-2 and width 2,048. The original's others, wide ones first:
depth 2-12-2, `--model.valley 12 --training.batch-size 8`: 745 M parameters;
depth 2-14-2, `--model.valley 14 --training.batch-size 8`: 820 M parameters;
depth 2-12-2, `--model.width 1024 --model.valley 12 --unroll.steps 3 --training.batch-size 10
--training.learning-rate 5e-6`: 213 M parameters, on as many devices as divide 10;
depth 3-10-3, `--model.width 1024 --model.before 3 --model.after 3`: 213 M parameters;
depth 3-12-3, `--model.width 1024 --model.before 3 --model.valley 12 --model.after 3`: 234 M
parameters.
Launch: `python experiments/launch.py sundae_ffhq1024` on 8 devices of 80 GB.
Sample: as the authors do, with `--temperature 0.7` or `--temperature 1 0.7`.
"""

from dataclasses import replace

from dct_jax.codes.config import CodesConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig
from dct_jax.vq.gan.config import VQGANConfig

_SMALL = load_experiment("sundae_ffhq256", SundaeConfig)
AUTOENCODER = load_experiment("vqgan_ffhq1024", VQGANConfig)

CONFIG = replace(
    _SMALL,
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqgan_ffhq1024"),
    autoencoder=AUTOENCODER,
    model=replace(_SMALL.model, width=2048),
    training=replace(_SMALL.training, batch_size=16),
)
