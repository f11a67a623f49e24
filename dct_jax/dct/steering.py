"""From pictures to what a model's samples begin with, and what to show beside them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.sampling.conditioning import Prefix, enlarged, luma, reduced, seen, small_picture
from dct_jax.dct.sampling.lists import Start

if TYPE_CHECKING:
    from dct_jax.dct.trained_model import TrainedModel


class Given(NamedTuple):
    """A picture, as far as samples are given it.

    Attributes:
        prefix: what they begin with.
        shown: what that looks like, uint8 [H, W, 3].
        original: the picture that it was made from, if that says more; uint8 [H, W, 3].
    """

    prefix: Prefix
    shown: np.ndarray
    original: np.ndarray | None = None


def to_upsample(model: "TrainedModel", small: np.ndarray, size: tuple[int, int] | None = None) -> Given:
    """A small picture, to be drawn B times larger.

    Args:
        model: whose channel order lists all DCs first.
        small: uint8 [h, w, 3], a pixel for each block.
        size: (H, W) of the samples; by default whole blocks, or the model's canvas where it has just as many.

    Raises:
        ValueError: if the model cannot do it, or the sizes do not fit.
    """
    block, canvas = model.codec.block_size, model.config.data.image_size
    full = model.codec.grid(canvas)
    height, width = size or (
        side if pixels == blocks else pixels * block for pixels, blocks, side in zip(small.shape[:2], full, canvas)
    )
    model.check_size((height, width))
    return Given(small_picture(small, model.codec, (height, width)), enlarged(small, block, (height, width)))


def to_restore(model: "TrainedModel", image: np.ndarray) -> Given:
    """The same with a small picture that is made of a larger one, uint8 [H, W, 3], which is shown as the original."""
    original = seen(image, model.config.data)
    small = reduced(original, model.codec.block_size)
    return to_upsample(model, small, original.shape[:2])._replace(original=original)


def to_colorize(model: "TrainedModel", image: np.ndarray) -> Given:
    """A grey picture, uint8 [H, W, 3], or the luma of one with colours, which is then the original.

    Raises:
        ValueError: if the model cannot do it, or the picture does not fit.
    """
    fitted = seen(image, model.config.data)
    prefix = luma(model.codec.encode(fitted))
    is_grey = (fitted == fitted[..., :1]).all()
    return Given(prefix, model.codec.decode(prefix.given), None if is_grey else fitted)


def to_continue(model: "TrainedModel", image: np.ndarray, keep: Callable[[SparseDCT], Prefix]) -> Given:
    """The coarse part of a picture, uint8 [H, W, 3]; `keep` takes it from the list. Raises ValueError if it does not fit."""
    fitted = seen(image, model.config.data)
    prefix = keep(model.codec.encode(fitted))
    return Given(prefix, model.codec.decode(prefix.given), fitted)


def starts_of(model: "TrainedModel", prefixes: Sequence[Prefix], num: int, seed: int, label: int | None = None) -> list[Start]:
    """`num` samples of each prefix; without a label it is hidden if the model was trained so, and else drawn at random."""
    starts = []
    if label is None and model.hides:
        label = model.config.model.num_classes
    for number in range(num * len(prefixes)):
        given, next_rank = prefixes[number // num]
        starts.append(Start(number, given, model.any_label(seed, number) if label is None else label, next_rank))
    return starts
