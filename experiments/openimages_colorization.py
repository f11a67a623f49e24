"""Open Images V4, the paper's colourisation: 1,743,042 pictures, the long side 384 pixels; the
model samples the chroma of a grey picture.

All luma comes first in the list: a sampler that is given it writes the chroma. The model is trained
on whole lists, luma included.

Data: `python -m dct_jax prepare open_images_v4`; more than 500 GB.
Model: 401 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.1 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py openimages_colorization` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=75, chroma_subsampling="4:2:0", channel_order="luma_first"),
    # Nearly all files have a long side of 1024 pixels, so none has to be enlarged.
    data=DataConfig(
        source="tfds:open_images_v4",
        split="train",
        held_out_split="validation",
        image_size=(384, 384),
        fit="whole",
    ),
    # 48 x 48 blocks: an encoder token for each is affordable. Chroma comes in a list's last chunks,
    # and a large max_chunks keeps the weights of chunks from falling that early: (1 - 30/128)^3 is
    # 0.45, (1 - 30/48)^3 would be 0.05.
    model=replace(PAPER_MODEL, encoder_stride=1, max_chunks=128),
    training=PAPER_TRAINING,
)
