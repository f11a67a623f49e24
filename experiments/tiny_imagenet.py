"""Tiny ImageNet, for one GPU: 100,000 pictures of 64 x 64 pixels and 200 classes. It is not in the
paper.

Data: an uncompressed tar file with train/CLASS/... and validation/CLASS/..., given as
`--data.source tar:PATH`. (Stanford's archive keeps the classes of its validation pictures in a
table; they have to be sorted into folders.)
Model: 58 M parameters. Memory: 0.9 GB for parameters, gradients and Adam; 1.0 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py tiny_imagenet` on one device.
"""

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dct.config import ModelConfig

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=50, chroma_subsampling="4:2:0", channel_order="banded"),
    data=DataConfig(
        source="tar:data/tiny_imagenet.tar",
        split="train",
        held_out_split="validation",
        held_out_crops=1000,
        image_size=(64, 64),
        fit="whole",
    ),
    # Lists have 1,494 triples on average and 2,364 at most in 99 of 100: two or three chunks.
    model=ModelConfig(
        width=512,
        heads=8,
        encoder=(2, 2),
        channel_decoder=(2, 2),
        position_decoder=(2, 2),
        value_decoder=(2, 2, 3),
        chunk_size=896,
        overlap=128,
        max_chunks=4,
        num_classes=200,
        dropout=0.1,
        dtype="bfloat16",
    ),
    # The steps read each picture 26 times.
    training=TrainingConfig(
        steps=20_000,
        batch_size=128,
        accumulate=4,
        learning_rate=5e-4,
        warmup_steps=1000,
        evaluate_every=1000,
        checkpoint_every=500,
    ),
)
