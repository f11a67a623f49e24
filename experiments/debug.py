"""Everything at its smallest: trains in seconds, to see that an installation works. Its samples are
noise.

Model: 0.0399 M parameters.
Launch: `python experiments/launch.py debug`, on anything.
"""

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.config import ModelConfig

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=20),
    data=DataConfig(source="landscapes", image_size=(32, 32), held_out_crops=4),
    model=ModelConfig(
        width=16, heads=2, channel_decoder=(1,), position_decoder=(1,), value_decoder=(1,), chunk_size=48, overlap=8
    ),
    training=TrainingConfig(steps=20, batch_size=8, warmup_steps=2, evaluate_every=10, checkpoint_every=10),
)
