"""The command inpaint, which samples a part of a picture anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dct_jax import plots
from dct_jax.codes import masks
from dct_jax.commands.arguments import parse, save_image, say
from dct_jax.commands.code_sampling import CodeSettings, named_settings, sample_codes_into
from dct_jax.commands.runs import load_code_prior
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import read_image
from dct_jax.published import results_folder

FIGURE = "inpainted.png"
COLUMNS = 10


@dataclass(frozen=True)
class Inpaint:
    """Samples a part of a picture anew from a prior over codes. A code stays as it is only if the
    mask covers no pixel of its square; of a DQ-VAE's codes, no pixel of its region.

    SUNDAE takes any mask, and all known codes guide it. A code of a window transformer depends on
    the known codes before it in raster order alone; one of a DQ-Transformer on those of coarser
    grains, and those before it of its own grain.

    Attributes:
        run: folder of the run.
        image: the picture; its largest central part of the shape of the run's crops is taken, and
            resized to theirs. It may be enlarged as far as data.enlarge of the run says.
        mask: a picture of the image's size, white where it is sampled anew; "box" for a rectangle,
            or "random" for squares at random places.
        box: top, left, height and width of the rectangle, in pixels of the crop; its middle half by
            default.
        blocks: how many squares; 4 by default. They may overlap.
        block_side: pixels of a side of a square; a quarter of the crop's shorter side by default.
        num: how many samples.
        label: the class of the samples, by name or number; chosen at random by default.
        paste: put the known pixels of the picture back into the samples.
        seed: of the samples and the squares; one seed gives equal samples in every call.
        batch_size: samples at a time.
        settings: how to sample.
        out: folder for inpainted.png (the picture, what is sampled anew in grey, the samples),
            samples.jsonl and samples/, in place of those of an earlier call; by default
            RUN/inpainted.
    """

    run: Annotated[str, tyro.conf.Positional]
    image: Annotated[Path, tyro.conf.Positional]
    mask: str
    box: tuple[int, int, int, int] | None = None
    blocks: int | None = None
    block_side: int | None = None
    num: int = 4
    label: str | None = None
    paste: bool = False
    seed: int = 0
    batch_size: int = 16
    settings: Annotated[CodeSettings, tyro.conf.arg(name="")] = field(default_factory=CodeSettings)
    out: Path | None = None


def inpaint(args: Sequence[str]) -> int:
    """Runs `inpaint RUN IMAGE --mask FILE|box|random`."""
    command = parse(Inpaint, args, "inpaint")
    _check_flags(command)
    picture = read_image(command.image)
    out = command.out or results_folder(command.run) / "inpainted"
    model = load_code_prior(command.run, "inpaint").with_settings(named_settings(command.settings))
    labels = [] if command.label is None else [model.label(command.label)]
    size, f = model.config.data.image_size, model.config.downsampling
    try:
        crop = central_crop(picture, size, model.config.data.enlarge)
    except ValueError as error:
        raise ValueError(f"{command.image}: {error}") from None
    mask = _mask(command, picture.shape[:2], size)
    known = masks.known_codes(mask, f, model.config.region_side)  # [h, w]
    codes = model.encode(crop[None])[0]  # [h, w]
    is_code = codes < model.config.num_codes  # others are holes
    number = int((known & is_code).sum())
    found = sample_codes_into(
        out,
        (FIGURE,),
        model,
        command.num,
        command.seed,
        labels,
        command.batch_size,
        codes.shape,
        (codes, known),
        made_from={"picture": command.image.name, "mask": _name(command), "known": number, "paste": command.paste},
        finish=(lambda samples: masks.paste(crop, samples, mask)) if command.paste else (lambda samples: samples),
    )
    tiles = [crop, masks.hide(crop, mask, known, f), *found.pictures]
    scale = max(1, 160 // max(crop.shape[:2]))
    save_image(plots.image_grid(tiles, columns=min(len(tiles), COLUMNS), scale=scale), out / FIGURE)
    notes = [f"{number} of {is_code.sum()} codes are known"]
    if model.limit_of_known:
        notes.append(f"note: in a {model.config.system} {model.limit_of_known}")
    return say(*notes, f"{command.num} samples are in {out}: {FIGURE}, samples.jsonl, samples/")


def _check_flags(command: Inpaint) -> None:
    """Raises ValueError if a flag belongs to another kind of mask."""
    flags = (("box", "box", command.box), ("blocks", "random", command.blocks), ("block_side", "random", command.block_side))
    for name, kind, value in flags:
        if value is not None and command.mask != kind:
            raise ValueError(f"{name} is for --mask {kind}; here the mask is {command.mask}")


def _mask(command: Inpaint, picture_size: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """Makes the mask of the crop, bool [H, W], True where it is sampled anew."""
    if command.mask == "box":
        return masks.box_mask(size, command.box)
    if command.mask == "random":
        return masks.random_mask(size, command.seed, 4 if command.blocks is None else command.blocks, command.block_side)
    picture = read_image(command.mask)
    if picture.shape[:2] != picture_size:
        ours, theirs = (" x ".join(map(str, one)) for one in (picture.shape[:2], picture_size))
        raise ValueError(f"{command.mask}: the mask has {ours} pixels; it must have as many as {command.image}, {theirs}")
    return masks.mask_of_picture(picture, size)


def _name(command: Inpaint) -> str:
    """Returns what samples.jsonl says of the mask."""
    return command.mask if command.mask in ("box", "random") else Path(command.mask).name
