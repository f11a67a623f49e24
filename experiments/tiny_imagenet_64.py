"""Tiny ImageNet in an hour on two CPU cores: 64 x 64 pixels, without classes. It is not in the
paper.

Data: an uncompressed tar file with train/ and validation/, as for tiny_imagenet. Of 20,000 pictures
with 30 million triples the run sees 25 million. Held-out figures and the curve are in
docs/evaluation.md.
Model: 2.38 M parameters.
Launch: `python -m dct_jax train tiny_imagenet_64 --data.source tar:PATH`.
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
        held_out_crops=100,
        image_size=(64, 64),
        fit="whole",
    ),
    # Short chunks: attention is cheap, and the encoder soon shows every triple to those that
    # follow. Lists have 16 of them, and max_chunks far beyond that makes all nearly equally likely
    # in training, as they count equally in the bits.
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
        max_chunks=64,
    ),
    training=TrainingConfig(
        steps=8000,
        batch_size=32,
        optimizer="muon",
        learning_rate=3e-3,
        muon_learning_rate=1.2e-2,
        warmup_steps=100,
        evaluate_every=400,
        checkpoint_every=200,
    ),
)
