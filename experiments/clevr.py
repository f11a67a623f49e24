"""CLEVR, the paper's rendered scenes: 70,000 pictures, all of 480 x 320 pixels.

Data: `python -m dct_jax prepare clevr`.
Model: 403 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.2 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py clevr` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=90, chroma_subsampling="4:2:0", channel_order="banded"),
    data=DataConfig(
        source="tfds:clevr",
        split="train",
        held_out_split="validation",
        image_size=(320, 480),  # all pictures have this size, so the canvas need not be a square
        fit="whole",
        flip=False,  # the key light always stands on the same side, so mirrored shadows would be wrong
    ),
    # 40 x 60 blocks: 2,400 encoder tokens, an affordable number.
    model=replace(PAPER_MODEL, encoder_stride=1, max_chunks=64),
    # Fewer steps than for LSUN: they read each picture 1,460 times.
    training=replace(PAPER_TRAINING, steps=200_000),
)
