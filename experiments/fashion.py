"""The quick start: garments of Fashion-MNIST by class, 28 x 28 pixels, grey, on a laptop's CPU. It
is not in the paper.

Data: the bundled 10,000 + 2,000 of them; `--data.source idx:FOLDER` takes all 60,000 + 10,000 of
the authors' files.
Model: 1.62 M parameters.
Launch: `make quickstart`, or `python experiments/launch.py fashion`.
"""

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.config import ModelConfig

CONFIG = DCTConfig(
    # 28 pixels are 7 whole blocks of 4; blocks of 8 would need padding, which the model would have
    # to learn, too.
    codec=DCTCodec(block_size=4, quality=75, chroma_subsampling="4:0:0", channel_order="banded"),
    data=DataConfig(
        source="fashion",
        split="train",
        held_out_split="test",
        held_out_crops=400,
        image_size=(28, 28),
        crop=(1.0, 1.0),
        flip=False,  # all shoes point to the left
    ),
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
        chunk_size=64,
        overlap=16,
        max_chunks=8,
        num_classes=10,
    ),
    training=TrainingConfig(
        steps=2400,
        batch_size=32,
        optimizer="muon",
        learning_rate=3e-3,
        muon_learning_rate=1.2e-2,
        warmup_steps=100,
        label_dropout=0.1,
        evaluate_every=800,
        checkpoint_every=200,
    ),
)
