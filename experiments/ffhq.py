"""FFHQ, the paper's faces: 70,000 pictures of 1024 x 1024 pixels.

Data: not in TFDS. Put the files of images1024x1024 below data/ffhq, or give `--data.source
folder:PATH`.
Model: 413 M parameters. Memory: 6.6 GB for parameters, gradients and Adam; 2.6 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py ffhq` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=16, quality=35, chroma_subsampling="4:2:0", channel_order="banded"),
    # One in 100 is held out: 700 faces are enough to tell how training goes.
    data=DataConfig(source="folder:data/ffhq", held_out_every=100, image_size=(1024, 1024), fit="whole"),
    # 64 x 64 blocks would be 4,096 encoder tokens; in twos they are 1,024.
    model=replace(PAPER_MODEL, encoder_stride=2, max_chunks=128),
    # Fewer steps than for LSUN: they read each picture 2,200 times.
    training=replace(PAPER_TRAINING, steps=300_000),
)
