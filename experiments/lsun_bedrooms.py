"""LSUN bedrooms, one of the paper's unconditional models: 3,033,042 pictures, the long side 384
pixels.

Data: `python -m dct_jax prepare lsun/bedroom`, for which TFDS needs tensorflow_io besides
TensorFlow.
Model: 401 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.1 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py lsun_bedrooms` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=75, chroma_subsampling="4:2:0", channel_order="banded"),
    data=DataConfig(
        source="tfds:lsun/bedroom",
        split="train",
        held_out_split="validation",
        image_size=(384, 384),
        fit="whole",
        enlarge=1.5,  # the files' short side is 256 pixels, so square pictures need as much
    ),
    # 48 x 48 blocks: an encoder token for each is affordable. Detailed photographs have up to 53
    # chunks, most of LSUN's pictures fewer.
    model=replace(PAPER_MODEL, encoder_stride=1, max_chunks=48),
    training=PAPER_TRAINING,
)
