"""diabetic_retinopathy_detection, the paper's retinas: 35,126 pictures, the long side 1024 pixels.

Data: from kaggle.com by hand, as TFDS explains; then
`python -m dct_jax prepare diabetic_retinopathy_detection/original`.
Model: 414 M parameters. Memory: 6.6 GB for parameters, gradients and Adam; 2.6 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py diabetic_retinopathy` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=16, quality=75, chroma_subsampling="4:2:0", channel_order="banded"),
    # Left and right eyes are mirror images, so data.flip stays on. Pictures below 1024 pixels are
    # skipped.
    data=DataConfig(
        source="tfds:diabetic_retinopathy_detection/original",
        split="train",
        held_out_split="validation",
        image_size=(1024, 1024),
        fit="whole",
    ),
    # 64 x 64 blocks would be 4,096 encoder tokens; in twos they are 1,024.
    model=replace(PAPER_MODEL, encoder_stride=2, max_chunks=128),
    # Fewer steps than for LSUN: they read each picture 2,200 times.
    training=replace(PAPER_TRAINING, steps=150_000),
)
