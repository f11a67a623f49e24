"""ImageNet, the paper's 8x upsampling: 1,281,167 pictures, the long side 384 pixels; given a picture of 48 pixels, draw it.

The banded order lists all DCs first, Y, Cr, Cb, and they are the picture at an eighth of its size: a sampler that is given them
writes the rest. The model is trained on whole lists, DCs included, and has no classes, as a small picture shows what it is of.

Data: as for imagenet: `python -m dct_jax prepare imagenet2012`.
Model: 401 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 10.5 GB a chunk that a device does at once.
Launch: `python experiments/launch.py imagenet_upsampling` on 8 devices of 80 GB; on one, add `--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import Config, DCTCodec
from dct_jax.config import DataConfig
from dct_jax.experiment import PAPER_MODEL, PAPER_TRAINING

CONFIG = Config(
    codec=DCTCodec(block_size=8, quality=75, chroma_subsampling="4:2:0", channel_order="banded"),
    data=DataConfig(
        source="tfds:imagenet2012",
        split="train",
        held_out_split="validation",
        image_size=(384, 384),
        fit="whole",
        # Many pictures have a long side below 384 pixels: without them classes would lose unequal shares. Below 192 they
        # would teach little but blur.
        enlarge=2.0,
    ),
    # 48 x 48 blocks: an encoder token for each is affordable. Detailed photographs have up to 55 chunks.
    model=replace(PAPER_MODEL, encoder_stride=1, max_chunks=48),
    training=PAPER_TRAINING,
)
