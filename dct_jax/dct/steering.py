"""Makes, from pictures, what a model's samples begin with, and what to show beside them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.sampling.conditioning import Prefix, enlarge, fit_to_model, luma, reduce, small_picture
from dct_jax.dct.sampling.lists import Start

if TYPE_CHECKING:
    from dct_jax.dct.trained_model import TrainedModel


class Given(NamedTuple):
    """A picture, as far as it is given to samples.

    Attributes:
        prefix: what the samples begin with.
        shown: what the prefix looks like, uint8 [H, W, 3].
        original: the picture that the prefix was made from, if that says more; uint8 [H, W, 3].
    """

    prefix: Prefix
    shown: np.ndarray
    original: np.ndarray | None = None


def to_upsample(model: "TrainedModel", small: np.ndarray, size: tuple[int, int] | None = None) -> Given:
    """Gives a small picture to samples, which are B times larger.

    Args:
        model: its channel order lists all DCs first.
        small: uint8 [h, w, 3], a pixel for each block.
        size: (H, W) of the samples; by default whole blocks, or the canvas if it has as many.

    Raises:
        ValueError: if the model cannot do it, or the sizes do not fit.
    """
    block, canvas = model.codec.block_size, model.config.data.image_size
    full = model.codec.grid(canvas)
    height, width = size or (
        side if pixels == blocks else pixels * block for pixels, blocks, side in zip(small.shape[:2], full, canvas)
    )
    model.check_size((height, width))
    return Given(small_picture(small, model.codec, (height, width)), enlarge(small, block, (height, width)))


def to_restore(model: "TrainedModel", image: np.ndarray) -> Given:
    """Reduces a picture, uint8 [H, W, 3], and gives the small one to samples (see `to_upsample`).
    The picture is the original."""
    original = fit_to_model(image, model.config.data)
    small = reduce(original, model.codec.block_size)
    return to_upsample(model, small, original.shape[:2])._replace(original=original)


def to_colorize(model: "TrainedModel", image: np.ndarray) -> Given:
    """Gives to samples a grey picture, uint8 [H, W, 3], or the luma of a coloured original.

    Raises:
        ValueError: if the model cannot do it, or the picture does not fit.
    """
    picture = fit_to_model(image, model.config.data)
    prefix = luma(model.codec.encode(picture))
    is_grey = (picture == picture[..., :1]).all()
    return Given(prefix, prefix.given.codec.decode(prefix.given), None if is_grey else picture)


def to_continue(model: "TrainedModel", image: np.ndarray, keep: Callable[[SparseDCT], Prefix]) -> Given:
    """Gives to samples the coarse part of a picture, uint8 [H, W, 3]; `keep` takes it from the
    list. Raises ValueError if the picture does not fit."""
    picture = fit_to_model(image, model.config.data)
    prefix = keep(model.codec.encode(picture))
    return Given(prefix, prefix.given.codec.decode(prefix.given), picture)


def starts_of(model: "TrainedModel", prefixes: Sequence[Prefix], num: int, seed: int, label: int | None = None) -> list[Start]:
    """Returns `num` starts with each prefix. Without a label the class is hidden if the model was
    trained so, and random otherwise."""
    starts = []
    if label is None and model.hides:
        label = model.config.model.num_classes
    for number in range(num * len(prefixes)):
        given, next_rank = prefixes[number // num]
        starts.append(Start(number, given, model.random_label(seed, number) if label is None else label, next_rank))
    return starts
