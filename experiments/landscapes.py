"""The quick start: 64 x 64 crops of the bundled landscapes on a laptop's CPU.

Model: 1.68 M parameters.
Launch: `make quickstart`, or `python experiments/launch.py landscapes`.
"""

from dct_jax import Config, DCTCodec
from dct_jax.config import DataConfig, ModelConfig, TrainingConfig

CONFIG = Config(
    codec=DCTCodec(block_size=8, quality=50, chroma_subsampling="4:2:0", channel_order="banded"),
    # The photographs are 240 x 120 pixels: half of the largest crop that fits is less than 64 x 64, so crops are never reduced.
    data=DataConfig(source="landscapes", image_size=(64, 64), crop=(0.5, 0.5)),
    model=ModelConfig(
        width=128,
        heads=2,
        encoder=(1, 1),
        channel_decoder=(1,),
        position_decoder=(1,),
        value_decoder=(1, 1),
        chunk_size=160,
        overlap=32,
        max_chunks=16,
    ),
    training=TrainingConfig(
        steps=260, batch_size=40, learning_rate=4e-3, warmup_steps=50, evaluate_every=130, checkpoint_every=50
    ),
)
