"""Garments, by class, in grey: the bundled part of Fashion-MNIST, 28 x 28 pixels. It is not in the paper.

Nothing is mirrored, as the shoes all point to the left. One class in ten is hidden, for classifier-free guidance.
Model: 1.68 M parameters.
Launch: `python -m dct_jax train fashion`.
"""

from dct_jax import Config, DCTCodec
from dct_jax.config import DataConfig, ModelConfig, TrainingConfig

CONFIG = Config(
    codec=DCTCodec(block_size=8, quality=75, chroma_subsampling="4:0:0", channel_order="banded"),
    data=DataConfig(
        source="fashion",
        split="train",
        held_out_split="test",
        held_out_crops=400,
        image_size=(28, 28),
        crop=(1.0, 1.0),
        flip=False,
    ),
    # Lists have 230 to 490 triples (5 and 95 %): 97 of 100 are two chunks, and the rest three.
    model=ModelConfig(
        width=128,
        heads=2,
        encoder=(1, 1),
        position_pointer=True,
        products="bfloat16",
        channel_decoder=(1,),
        position_decoder=(1,),
        value_decoder=(1, 1),
        chunk_size=256,
        overlap=16,
        max_chunks=8,
        num_classes=10,
    ),
    training=TrainingConfig(
        steps=800,
        batch_size=32,
        optimizer="muon",
        learning_rate=4e-3,
        muon_learning_rate=1.6e-2,
        warmup_steps=50,
        label_dropout=0.1,
        evaluate_every=400,
        checkpoint_every=100,
    ),
)
