"""What a sample can begin with: a small picture, the luma of a grey one, the coarse part of any.

All of them are prefixes of a list. Drawing goes on after a prefix; and where the prefix is complete up to some channel (all the
luma there is, say, with its zeros), no more triples of these channels may follow, which `Prefix.next_rank` tells the sampler.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.channel_order import zigzag
from dct_jax.codec.jpeg import PartialJPEG
from dct_jax.config import DataConfig
from dct_jax.data.crops import fitted


class Prefix(NamedTuple):
    """The beginning of a list.

    Attributes:
        given: its triples.
        next_rank: what follows has channels of at least this rank in the channel order.
    """

    given: SparseDCT
    next_rank: int


def complete_prefix(sparse: SparseDCT, next_rank: int) -> Prefix:
    """All of a list's triples whose channels have a lower rank."""
    rank = sparse.codec.vocabulary(sparse.size).rank[sparse.channels]  # [L]
    return Prefix(sparse[: int(np.searchsorted(rank, next_rank))], next_rank)


def share(sparse: SparseDCT, keep: float) -> Prefix:
    """The first triples of a list, that share of them; the last channel may go on.

    Raises:
        ValueError: unless 0 <= keep <= 1.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it must be a share of the list, from 0 to 1")
    return Prefix(sparse[: round(keep * len(sparse))], 0)


def bands(sparse: SparseDCT, keep: int) -> Prefix:
    """The first bands of a list: octaves of the zigzag diagonal d = 0, 1, 2..3, 4..7, ..., of all components (in the order
    "luma_first", of luma until that is complete).

    Raises:
        ValueError: unless 1 <= keep <= the number of bands.
    """
    vocabulary, size = sparse.codec.vocabulary(sparse.size), sparse.codec.block_size
    row, col = np.divmod(zigzag(size), size)
    band = np.frexp(row + col)[1][vocabulary.channels % size**2]  # [C], in list order
    number = int(band.max()) + 1
    if not 1 <= keep <= number:
        raise ValueError(f"keep_bands is {keep}; blocks of {size} x {size} have 1 to {number} bands")
    beyond = np.flatnonzero(band >= keep)
    return complete_prefix(sparse, int(beyond[0]) if len(beyond) else vocabulary.num_channels)


def small_picture(small: np.ndarray, codec: DCTCodec, size: tuple[int, int]) -> Prefix:
    """A picture at 1/B of its size, as the DCs of all components of the picture to be drawn (section 5 of docs/method.md).

    Args:
        small: uint8 [h, w, 3].
        codec: of the model.
        size: (H, W) of the picture to be drawn, which has h x w blocks.

    Raises:
        ValueError: if it has another number of blocks, or the channel order does not list all DCs first.
    """
    block, (rows, cols) = codec.block_size, codec.grid(size)
    if small.shape[:2] != (rows, cols):
        raise ValueError(
            f"the small picture has {small.shape[0]} x {small.shape[1]} pixels; for {size[0]} x {size[1]} it must have "
            f"{rows} x {cols}, one for each block"
        )
    if not dcs_first(codec):
        raise ValueError(
            f"the model's channel order is {codec.channel_order}; for upsampling it must list all DCs first, as banded and "
            "interleaved do"
        )
    blocks = small.repeat(block, axis=0).repeat(block, axis=1)[: size[0], : size[1]]
    return complete_prefix(codec.encode(blocks), len(codec.component_steps))


def dcs_first(codec: DCTCodec) -> bool:
    """Whether the channel order lists the DCs of all components before anything else, so that a small picture can be given."""
    first = codec.vocabulary((1, 1)).channels[: len(codec.component_steps)]
    return not (first % codec.block_size**2).any()


def reduced(image: np.ndarray, block_size: int) -> np.ndarray:
    """The small picture of a larger one: the mean of each block, which is what its DC says. uint8 [H, W, 3] -> [h, w, 3]."""
    rows, cols = (-(-side // block_size) for side in image.shape[:2])
    whole = np.pad(image, ((0, rows * block_size - image.shape[0]), (0, cols * block_size - image.shape[1]), (0, 0)), "edge")
    blocks = whole.reshape(rows, block_size, cols, block_size, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def enlarged(small: np.ndarray, block_size: int, size: tuple[int, int]) -> np.ndarray:
    """What can be done without a model: bicubic interpolation. uint8 [h, w, 3] -> [H, W, 3]."""
    whole = Image.fromarray(small).resize((small.shape[1] * block_size, small.shape[0] * block_size), Image.Resampling.BICUBIC)
    return np.asarray(whole)[: size[0], : size[1]]


def luma(sparse: SparseDCT) -> Prefix:
    """All luma of a list, for colourisation.

    Raises:
        ValueError: if its channel order has chroma before the last luma, or it has no chroma at all.
    """
    codec, area = sparse.codec, sparse.codec.block_size**2
    if len(codec.component_steps) == 1:
        raise ValueError("the model draws grey pictures (chroma_subsampling is 4:0:0); for colourisation it needs chroma")
    if (codec.vocabulary(sparse.size).channels[:area] >= area).any():
        raise ValueError(
            f"the model's channel order is {codec.channel_order}; for colourisation it must be luma_first: train one with "
            "--codec.channel-order luma_first"
        )
    return complete_prefix(sparse, area)


def scans(partial: PartialJPEG, codec: DCTCodec) -> tuple[Prefix, int]:
    """What arrived of a progressive JPEG file, as far as the channel order allows: the channels before the first one of which
    low bits are missing. A DC may lack one, as it does in most files until late: it may then be a step of quantisation too low.

    Args:
        partial: of the file, in the codec's channel order.
        codec: of the model; the coefficients are requantised if the file has other tables.

    Returns:
        The prefix, and how many channels beyond it arrived, in whole or in part, without being of use.

    Raises:
        ValueError: if the subsamplings differ, or not even the first channel arrived.
    """
    theirs, ours = partial.sparse.codec.chroma_subsampling, codec.chroma_subsampling
    if theirs != ours:
        raise ValueError(f"the file has chroma subsampled {theirs}; for this model it must be {ours}")
    allowed = np.where(np.arange(len(partial.missing_bits)) % codec.block_size**2 == 0, 1, 0)  # [C]
    known = (partial.missing_bits >= 0) & (partial.missing_bits <= allowed)  # [C]
    sparse = partial.sparse if partial.sparse.codec == codec else codec.requantize(partial.sparse)
    order = codec.vocabulary(sparse.size).channels  # [C]
    lacking = np.flatnonzero(~known[order])
    used = int(lacking[0]) if len(lacking) else len(order)
    if not used:
        raise ValueError("the first channel of the list did not arrive with all bits but one; nothing can be given")
    return complete_prefix(sparse, used), int((partial.missing_bits[order[used:]] >= 0).sum())


def seen(image: np.ndarray, data: DataConfig) -> np.ndarray:
    """A picture as a model can continue it: reduced until it just fits on the model's canvas.

    Args:
        image: uint8 [H, W, 3].
        data: of the model's training.

    Returns:
        uint8 [h, w, 3].

    Raises:
        ValueError: if the picture is too small, or of another aspect than a model of crops has seen.
    """
    if data.own_coefficients and data.fit == "whole":  # such a model has seen pictures as they are
        if image.shape[0] > data.image_size[0] or image.shape[1] > data.image_size[1]:
            raise ValueError(
                f"the picture has {image.shape[0]} x {image.shape[1]} pixels; it must fit into {data.image_size[0]} x "
                f"{data.image_size[1]}"
            )
        return image
    reduced = fitted(image, data.image_size, data.enlarge)
    if data.fit == "crop" and reduced.shape[:2] != tuple(data.image_size):
        height, width = data.image_size
        raise ValueError(
            f"the picture has {image.shape[0]} x {image.shape[1]} pixels; this model has seen {height} x {width} alone: crop "
            "the picture to that aspect"
        )
    return reduced
