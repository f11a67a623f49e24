"""Makes what samples begin with: a small picture, the luma of a grey one, the coarse part of any.

All of them are prefixes of a list, and the sampler goes on after a prefix. A prefix may be complete
up to some channel: all luma, say, with its zeros. Then no more triples of channels up to there may
follow; `Prefix.next_rank` tells that to the sampler.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.channel_order import octaves
from dct_jax.codec.jpeg import PartialJPEG
from dct_jax.config import DataConfig
from dct_jax.data.crops import fit


class Prefix(NamedTuple):
    """The beginning of a list.

    Attributes:
        given: the triples.
        next_rank: the triples that follow have channels of at least this rank in the channel order.
    """

    given: SparseDCT
    next_rank: int


def complete_prefix(sparse: SparseDCT, next_rank: int) -> Prefix:
    """Returns all of a list's triples whose channels have a lower rank."""
    rank = sparse.codec.vocabulary(sparse.size).rank[sparse.channels]  # [L]
    return Prefix(sparse[: int(np.searchsorted(rank, next_rank))], next_rank)


def share(sparse: SparseDCT, keep: float) -> Prefix:
    """Returns the first triples of a list, a share of all; the last channel may go on.

    Raises:
        ValueError: unless 0 <= keep <= 1.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it must be a share of the list, from 0 to 1")
    return Prefix(sparse[: round(keep * len(sparse))], 0)


def bands(sparse: SparseDCT, keep: int) -> Prefix:
    """Returns the first bands of a list: octaves of the zigzag diagonal d = 0, 1, 2..3, 4..7, ...
    They are those of all components, in the order "luma_first" of luma until it is complete.

    Raises:
        ValueError: unless 1 <= keep <= the number of bands.
    """
    vocabulary, size = sparse.codec.vocabulary(sparse.size), sparse.codec.block_size
    band = octaves(size)[vocabulary.channels % size**2]  # [C], in list order
    number = int(band.max()) + 1
    if not 1 <= keep <= number:
        raise ValueError(f"keep_bands is {keep}; blocks of {size} x {size} have 1 to {number} bands")
    beyond = np.flatnonzero(band >= keep)
    return complete_prefix(sparse, int(beyond[0]) if len(beyond) else vocabulary.num_channels)


def small_picture(small: np.ndarray, codec: DCTCodec, size: tuple[int, int]) -> Prefix:
    """Turns a picture at 1/B of its size into the DCs of a sample ("Given beginnings" in
    docs/method.md).

    Args:
        small: uint8 [h, w, 3].
        codec: the codec of the model.
        size: (H, W) of the sample, which has h x w blocks.

    Raises:
        ValueError: if the number of blocks is another, or the channel order has not all DCs first.
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
    """Tells whether the channel order lists all DCs first: then a small picture can be given."""
    first = codec.vocabulary((1, 1)).channels[: len(codec.component_steps)]
    return not (first % codec.block_size**2).any()


def reduce(image: np.ndarray, block_size: int) -> np.ndarray:
    """Reduces uint8 [H, W, 3] to the mean of each block, which its DC says: uint8 [h, w, 3]."""
    rows, cols = (-(-side // block_size) for side in image.shape[:2])
    whole = np.pad(image, ((0, rows * block_size - image.shape[0]), (0, cols * block_size - image.shape[1]), (0, 0)), "edge")
    blocks = whole.reshape(rows, block_size, cols, block_size, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def enlarge(small: np.ndarray, block_size: int, size: tuple[int, int]) -> np.ndarray:
    """Enlarges uint8 [h, w, 3] to [H, W, 3] without a model, by bicubic interpolation."""
    whole = Image.fromarray(small).resize((small.shape[1] * block_size, small.shape[0] * block_size), Image.Resampling.BICUBIC)
    return np.asarray(whole)[: size[0], : size[1]]


def luma(sparse: SparseDCT) -> Prefix:
    """Returns all luma of a list, for colourisation.

    Raises:
        ValueError: if the channel order has chroma before the last luma, or there is no chroma.
    """
    codec, area = sparse.codec, sparse.codec.block_size**2
    if len(codec.component_steps) == 1:
        raise ValueError("the model samples grey pictures (chroma_subsampling is 4:0:0); for colourisation it needs chroma")
    if (codec.vocabulary(sparse.size).channels[:area] >= area).any():
        raise ValueError(
            f"the model's channel order is {codec.channel_order}; for colourisation it must be luma_first: train one with "
            "--codec.channel-order luma_first"
        )
    return complete_prefix(sparse, area)


def scans(partial: PartialJPEG, codec: DCTCodec) -> tuple[Prefix, int]:
    """Returns what arrived of a progressive JPEG file, as far as the channel order allows: the
    channels before the first one that lacks low bits. A DC may lack one bit, as it does in most
    files until late. Then it may be a step of quantisation too low.

    Args:
        partial: what arrived, in the codec's channel order.
        codec: that of the model; the coefficients are requantised if the file has other tables.

    Returns:
        The prefix, and how many channels beyond it arrived, in whole or in part, but are of no use.

    Raises:
        ValueError: if the subsamplings differ, or not even the first channel arrived.
    """
    theirs, ours = partial.sparse.codec.chroma_subsampling, codec.chroma_subsampling
    if theirs != ours:
        raise ValueError(f"the file has chroma subsampled {theirs}; for this model it must be {ours}")
    allowed = np.where(np.arange(len(partial.missing_bits)) % codec.block_size**2 == 0, 1, 0)  # [C]
    known = (partial.missing_bits >= 0) & (partial.missing_bits <= allowed)  # [C]
    is_ours = partial.sparse.codec == codec
    # Some encoders write values that no picture needs.
    fits = is_ours and np.abs(partial.sparse.values).max(initial=0) <= codec.vocabulary(partial.sparse.size).largest_value
    sparse = partial.sparse if fits else codec.requantize(partial.sparse)
    order = codec.vocabulary(sparse.size).channels  # [C]
    gaps = np.flatnonzero(~known[order])
    number = int(gaps[0]) if len(gaps) else len(order)
    if not number:
        raise ValueError("the first channel of the list did not arrive with all bits but one; nothing can be given")
    return complete_prefix(sparse, number), int((partial.missing_bits[order[number:]] >= 0).sum())


def fit_to_model(image: np.ndarray, data: DataConfig) -> np.ndarray:
    """Reduces a picture until it just fits on the canvas of a model, which can continue it then. A
    model that has seen whole pictures as they are takes those that fit.

    Args:
        image: uint8 [H, W, 3].
        data: the configuration of the model's training data.

    Returns:
        uint8 [h, w, 3].

    Raises:
        ValueError: if the picture is too small, or its aspect is not that of the model's crops.
    """
    if data.own_coefficients and data.fit == "whole":  # this model has seen pictures as they are
        if image.shape[0] > data.image_size[0] or image.shape[1] > data.image_size[1]:
            raise ValueError(
                f"the picture has {image.shape[0]} x {image.shape[1]} pixels; it must fit into {data.image_size[0]} x "
                f"{data.image_size[1]}"
            )
        return image
    picture = fit(image, data.image_size, data.enlarge)
    if data.fit == "crop" and picture.shape[:2] != tuple(data.image_size):
        height, width = data.image_size
        raise ValueError(
            f"the picture has {image.shape[0]} x {image.shape[1]} pixels; this model has seen {height} x {width} alone: crop "
            "the picture to that aspect"
        )
    return picture
