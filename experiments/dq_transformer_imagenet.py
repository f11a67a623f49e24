"""The DQ-Transformer of Huang et al. (2023) for ImageNet at 256 x 256 pixels, without classes: 6
blocks for positions and 18 for codes.

Data: as for `dq_entropy_imagenet`, which must be trained first, in runs/dq_entropy_imagenet.
Model: 308 M parameters.
Launch: `python experiments/launch.py dq_transformer_imagenet` on 8 devices.
Sample: as the authors do, with `--top-k 0 300`.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.experiment import load_experiment

AUTOENCODER = load_experiment("dq_entropy_imagenet", DQVAEConfig)
BATCH, PICTURES = 240, 1_281_167

CONFIG = DQTransformerConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/dq_entropy_imagenet"),
    autoencoder=AUTOENCODER,
    model=StackConfig(width=1024, heads=8, position_layers=6, content_layers=18, dropout=0.1, products="bfloat16"),
    training=TrainingConfig(
        steps=100 * PICTURES // BATCH,
        batch_size=BATCH,
        learning_rate=5e-4,
        warmup_steps=0,
        clip_norm=1e9,  # none
        betas=(0.9, 0.95),
        weight_decay=0.01,
        evaluate_every=5000,
        checkpoint_every=1000,
    ),
)
