"""The command thresholds, which measures the entropy of patches for the router of a DQ-VAE."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dct_jax.commands.arguments import check_least, parse, say
from dct_jax.config import DataConfig
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dq.config import CALIBRATION_PICTURES, LARGEST_REGION
from dct_jax.storage.files import replacing
from dct_jax.tables import align

SHOWN = (10, 25, 50, 75, 90)
"""Per cent of patches whose entropies the table has."""


@dataclass(frozen=True)
class Thresholds:
    """Measures how much the grey levels of patches vary in a data set, for the entropy router of a
    DQ-VAE: --router.thresholds FILE.

    Attributes:
        source: as data.source of an experiment.
        out: the file of percentiles to write, as JSON.
        split: of the source, as data.split of an experiment.
        patch_size: pixels of a patch's side: that of a region, the square of a coarsest code.
        size: height and width in pixels of crops, as data.image_size. Where patch_size does not
            divide them, the last row and column are repeated until it does.
        crop: the smallest and largest crop, as data.crop.
        enlarge: how many times larger a crop may become, as data.enlarge.
        num: how many pictures at most, evenly spaced over the source.
    """

    source: Annotated[str, tyro.conf.Positional]
    out: Path
    split: str = ""
    patch_size: int = 16
    size: tuple[int, int] = (256, 256)
    crop: tuple[float, float] = (0.8, 1.0)
    enlarge: float = 1.0
    num: int = CALIBRATION_PICTURES


def thresholds(args: Sequence[str]) -> int:
    """Runs `thresholds SOURCE --out FILE`."""
    command = parse(Thresholds, args, "thresholds")
    side, size = command.patch_size, command.size
    check_least(command, num=1, patch_size=1)
    if side > LARGEST_REGION:
        raise ValueError(f"patch_size is {side}; it must be at most {LARGEST_REGION}, the largest region that a model can have")
    data = DataConfig(source=command.source, image_size=size, crop=command.crop, enlarge=command.enlarge)
    from dct_jax.dq.thresholds import measure_percentiles

    source = open_source(command.source, command.split)
    number = min(command.num, len(source))
    skipped = Skipped(number, most=1.0)
    with replacing(command.out) as path:  # the place is tried before the long work
        found = measure_percentiles(source, data, side, number, skipped)
        path.write_text(found.to_json())
    print(f"{found.pictures} of {len(source)} pictures; the patches have {side} x {side} pixels")
    if skipped:
        say(skipped.summary())
    rows = [[f"{percent} %", f"{found.values[percent - 1]:.3f}"] for percent in SHOWN]
    print(align([["patches", "at most, nats"], *rows]))
    print(f"{found.tied:.1%} of the patches have one and the same entropy")
    return say(f"the percentiles are in {command.out}")
