"""plant_leaves, the paper's largest pictures: 4,502 leaves, the long side 2048 pixels.

Data: `python -m dct_jax prepare plant_leaves`. Its files are far larger than 2048 pixels, and are
reduced each time one is read: reducing them once, into a folder, saves that (`--data.source
folder:PATH --data.split ''`).
Model: 439 M parameters. Memory: 6.8 GB for parameters, gradients and Adam; 2.6 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py plant_leaves` on 8 devices of 80 GB; on one, add
`--training.accumulate 32`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=32, quality=50, chroma_subsampling="4:2:0", channel_order="banded"),
    # There is one split only; one in 20 is held out, 225 leaves.
    data=DataConfig(source="tfds:plant_leaves", split="train", held_out_every=20, image_size=(2048, 2048), fit="whole"),
    # 64 x 64 blocks would be 4,096 encoder tokens; in twos they are 1,024.
    model=replace(PAPER_MODEL, encoder_stride=2, max_chunks=256),
    # A DCT image has 25 MB, so 512 of them would be 13 GB, several times over while batches are
    # made. Steps are fewer than for LSUN: they read each picture 6,000 times, as a picture may have
    # a hundred chunks and more.
    training=replace(PAPER_TRAINING, steps=200_000, batch_size=128, accumulate=4),
)
