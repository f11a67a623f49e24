"""What the commands say and show of a DQ-VAE's codes: how many a picture has, and where."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dct_jax import plots
from dct_jax.codec import DCTCodec
from dct_jax.commands.arguments import save_figure, save_image
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import read_image

if TYPE_CHECKING:
    from dct_jax.codes.prior import TrainedCodePrior

GRAINS, SYMBOLS, GROWTH = "grains.png", "symbols.png", "growth.png"
BLOCK = 8
"""Pixels of a side of a block of the lists of triples, at most; regions may be smaller."""
COLUMNS, ROWS = 8, 4
"""Pictures of grains.png, and of symbols.png and growth.png, at most."""


def grain_tiles(rows: Sequence[Sequence[np.ndarray]], grains: Sequence[plots.Grains]) -> np.ndarray:
    """Makes a picture with a column for each of the first pictures.

    Args:
        rows: of pictures, uint8 [H, W, 3] each; below them the first row stands again, with the
            colours of its grains, and with the squares of its codes.
        grains: of each picture of the first row.

    Returns:
        uint8 [H', W', 3].
    """
    columns, scale = min(COLUMNS, len(grains)), max(1, 160 // max(rows[0][0].shape[:2]))
    shown = [*rows, [plots.grain_overlay(picture, one) for picture, one in zip(rows[0], grains)]]
    tiles = [picture.repeat(scale, axis=0).repeat(scale, axis=1) for row in shown for picture in row[:columns]]
    tiles += [plots.grain_lines(picture, one, scale) for picture, one in zip(rows[0][:columns], grains)]
    return plots.image_grid(tiles, columns)


def write_grains(out: Path, pictures: np.ndarray, copies: np.ndarray, grains: Sequence[plots.Grains]) -> tuple[str, str]:
    """Writes grains.png and symbols.png of pictures and their reconstructions, uint8 [N, H, W, 3].
    Returns the names of the files."""
    save_image(grain_tiles([list(pictures), list(copies)], grains), out / GRAINS)
    lists = DCTCodec(block_size=min(BLOCK, grains[0].side)).encode_batch(pictures[:ROWS])
    save_figure(plots.symbols_beside(list(pictures[:ROWS]), grains[:ROWS], lists), out / SYMBOLS)
    return GRAINS, SYMBOLS


def with_grains_of(model: "TrainedCodePrior", file: Path) -> "TrainedCodePrior":
    """Returns a DQ-Transformer whose samples have the grains of a picture's central crop.

    Raises:
        ValueError: if the model is another one, or the file is no picture that is large enough.
    """
    from dct_jax.dq.pictures import grains_of
    from dct_jax.dq_transformer.stage import TrainedDQTransformer

    if not isinstance(model, TrainedDQTransformer):
        raise ValueError(f"a {model.config.system} has no grains_of; it is for a DQ-Transformer")
    picture, data = read_image(file), model.config.data
    try:
        crop = central_crop(picture, data.image_size, data.enlarge)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return replace(model, grain_map=grains_of(model.config.dq_vae, model.encode(crop[None]))[0].map)
