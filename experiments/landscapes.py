"""64 x 64 crops of the bundled photographs of landscapes, on a laptop's CPU. It is not in the
paper.

Model: 2.37 M parameters.
Launch: `python -m dct_jax train landscapes`.
"""

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.config import ModelConfig

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=50, chroma_subsampling="4:2:0", channel_order="banded"),
    # The photographs are 240 x 120 pixels: half of the largest crop that fits is less than 64 x 64,
    # so crops are never reduced.
    data=DataConfig(source="landscapes", image_size=(64, 64), crop=(0.5, 0.5)),
    model=ModelConfig(
        width=128,
        heads=2,
        encoder=(1, 1),
        position_pointer=True,
        contexts=True,
        products="bfloat16",
        channel_decoder=(1,),
        position_decoder=(1,),
        value_decoder=(1, 1),
        chunk_size=96,
        overlap=16,
        max_chunks=32,
    ),
    training=TrainingConfig(
        steps=800,
        batch_size=16,
        optimizer="muon",
        learning_rate=4e-3,
        muon_learning_rate=1.6e-2,
        warmup_steps=50,
        evaluate_every=400,
        checkpoint_every=100,
    ),
)
