"""The SUNDAE of McKinney and Willcocks (2022) for FFHQ at 256 x 256 pixels, on 16 x 16 codes of
1,024.

Data: as for `vqgan_ffhq256`, which must be trained first, in runs/vqgan_ffhq256.
Model: 177 M parameters, of depth 2-10-2. The original's other network has depth 3-10-3 and half of
the batch, `--model.before 3 --model.after 3 --training.batch-size 32`: 198 M parameters.
Launch: `python experiments/launch.py sundae_ffhq256` on 8 devices.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig, UnrollConfig
from dct_jax.vq.gan.config import VQGANConfig

AUTOENCODER = load_experiment("vqgan_ffhq256", VQGANConfig)

CONFIG = SundaeConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/vqgan_ffhq256"),
    autoencoder=AUTOENCODER,
    model=SundaeModelConfig(
        width=1024,
        heads=8,
        head_size=64,
        before=(2,),
        valley=10,
        after=(2,),
        dtype="bfloat16",  # the original computes in float16
    ),
    unroll=UnrollConfig(steps=2),
    training=TrainingConfig(
        steps=500_000,  # chosen here: the original goes on until somebody stops it
        batch_size=64,
        learning_rate=3e-5,
        schedule="constant",
        warmup_steps=0,
        clip_norm=1e9,  # none, as in the original
        betas=(0.9, 0.999),
        weight_decay=0.01,
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
