"""ImageNet, the paper's class-conditional model: 1,281,167 pictures of 1,000 classes, the long side
384 pixels.

Data: ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, from image-net.org by hand, into TFDS's
folder downloads/manual; then `python -m dct_jax prepare imagenet2012`.
Model: 402 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.1 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py imagenet` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax import DCTCodec, DCTConfig
from dct_jax.config import DataConfig
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING

CONFIG = DCTConfig(
    codec=DCTCodec(block_size=8, quality=75, chroma_subsampling="4:2:0", channel_order="banded"),
    data=DataConfig(
        source="tfds:imagenet2012",
        split="train",
        held_out_split="validation",
        image_size=(384, 384),
        fit="whole",
        # Many pictures have a long side below 384 pixels: without them classes would lose unequal
        # shares. Below 192 they would teach little but blur.
        enlarge=2.0,
    ),
    # 48 x 48 blocks: an encoder token for each is affordable. Detailed photographs have up to 55
    # chunks.
    model=replace(PAPER_MODEL, encoder_stride=1, max_chunks=48, num_classes=1000),
    training=PAPER_TRAINING,
)
