"""Masks of pictures: which pixels are to be sampled anew, and which codes are known then.

A mask is bool, True where the picture is sampled anew. Axes: H x W pixels, h x w codes, f = H / h.
"""

import numpy as np

WHITE = 128
"""The smallest level that is white in a picture of a mask."""
GREY = 128
"""The level of what a mask hides."""


def mask_of_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turns the picture of a mask into a mask of the central crop.

    Args:
        picture: uint8 [H', W', 3], white where the picture is sampled anew.
        size: (H, W) of the crop, which `data.crops.central_crop` takes out of a picture of H' x W'.

    Returns:
        bool [H, W]. A pixel of a reduced crop is sampled anew if a part of it is.
    """
    is_white = picture.mean(axis=-1) >= WHITE  # [H', W']
    largest = min(side / wanted for side, wanted in zip(is_white.shape, size))
    for axis, wanted in enumerate(size):
        side = is_white.shape[axis]
        length = min(round(wanted * largest), side)
        begin, place = (side - length) // 2, np.arange(wanted)
        before = np.insert(np.cumsum(is_white, axis=axis), 0, 0, axis=axis)  # white pixels ahead of each
        ends = begin - (-(place + 1) * length // wanted)  # rounded up
        is_white = np.take(before, ends, axis) > np.take(before, begin + place * length // wanted, axis)
    return is_white


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Makes a mask of a rectangle.

    Args:
        size: (H, W).
        box: top, left, height and width; the middle half of each side by default.

    Returns:
        bool [H, W].

    Raises:
        ValueError: if the box is empty, or not inside the picture.
    """
    height, width = size
    top, left, tall, wide = box or (height // 4, width // 4, max(height // 2, 1), max(width // 2, 1))
    if min(top, left) < 0 or min(tall, wide) < 1 or top + tall > height or left + wide > width:
        raise ValueError(
            f"box is {top} {left} {tall} {wide} (top, left, height, width); it must have a pixel or more, and lie inside the "
            f"picture of {height} x {width} pixels"
        )
    mask = np.zeros(size, bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


def random_mask(size: tuple[int, int], seed: int, blocks: int = 4, side: int | None = None) -> np.ndarray:
    """Makes a mask of squares at random places, which may overlap.

    Args:
        size: (H, W).
        seed: of the places.
        blocks: how many squares.
        side: of a square; a quarter of the shorter side of the picture by default.

    Returns:
        bool [H, W].

    Raises:
        ValueError: if there are no squares, one does not fit, or the seed is negative.
    """
    side = max(min(size) // 4, 1) if side is None else side
    if blocks < 1:
        raise ValueError(f"blocks is {blocks}; it must be 1 or more")
    if not 1 <= side <= min(size):
        raise ValueError(f"block_side is {side}; it must be from 1 to {min(size)}, the shorter side of the picture")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more")
    rng, mask = np.random.default_rng(seed), np.zeros(size, bool)
    for top, left in rng.integers(np.array(size) - side + 1, size=(blocks, 2)):
        mask[top : top + side, left : left + side] = True
    return mask


def known_codes(mask: np.ndarray, f: int, cells: int = 1) -> np.ndarray:
    """Tells which codes are known: those of whose f x f pixels none is sampled anew. Pixels that
    are added to make a picture's sides multiples of f count as known.

    Args:
        mask: bool [H, W].
        f: pixels of a side of the square that a code stands for.
        cells: the codes of a region of cells x cells are known together, or not.

    Returns:
        bool [h, w].

    Raises:
        ValueError: if all codes are known, or none is.
    """
    side, what = f * cells, "code" if cells == 1 else "region"
    padded = np.pad(mask, [(0, -length % side) for length in mask.shape])
    height, width = (length // side for length in padded.shape)
    known = np.asarray(~padded.reshape(height, side, width, side).any(axis=(1, 3)))
    if known.all() or not known.any():
        covered = f"no {what}" if known.all() else f"all of the {height} x {width} {what}s"
        raise ValueError(
            f"the mask covers {covered}; it must cover a part of one {what} or more, and leave one or more (all of its "
            f"{side} x {side} pixels) as they are"
        )
    return known.repeat(cells, axis=0).repeat(cells, axis=1)


def hide(picture: np.ndarray, mask: np.ndarray, known: np.ndarray, f: int) -> np.ndarray:
    """Shows what is sampled anew: the mask in grey; and half grey the other pixels of its codes,
    which are sampled, too.

    Args:
        picture: uint8 [H, W, 3].
        mask: bool [H, W].
        known: bool [h, w], of `known_codes`.
        f: pixels of a side of the square that a code stands for.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = mask.shape
    sampled = (~known).repeat(f, axis=0).repeat(f, axis=1)[:height, :width, None]
    faded = np.where(sampled, (picture.astype(np.uint16) + GREY) // 2, picture)
    return np.where(mask[..., None], GREY, faded).astype(np.uint8)


def paste(picture: np.ndarray, samples: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Puts the known pixels of a picture, uint8 [H, W, 3], back into samples, uint8 [N, H, W, 3]:
    all where the mask, bool [H, W], is False."""
    return np.where(mask[..., None], samples, picture)
