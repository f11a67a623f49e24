"""Commands of autoencoders: tokenize, detokenize and reconstruct."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from tqdm import tqdm

from dct_jax import plots
from dct_jax.commands.arguments import check_least, parse, save_image, say, write_report
from dct_jax.commands.grains import write_grains
from dct_jax.commands.runs import load_autoencoder
from dct_jax.config import LARGEST_IMAGE, DataConfig
from dct_jax.data.central_crops import Crop, central_crops, evenly_spaced_crops
from dct_jax.data.codes_file import CodesHeader, CodesWriter, is_codes_file, read_codes, read_text_codes, writing
from dct_jax.data.crops import central_crop, mirror
from dct_jax.data.pixels import read_image
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Source, open_source
from dct_jax.dq.config import DQVAEConfig
from dct_jax.published import results_folder
from dct_jax.storage.files import replacing

if TYPE_CHECKING:
    from dct_jax.vq.autoencoder import TrainedAutoencoder

SHOWN = 8


@dataclass(frozen=True)
class Tokenize:
    """Turns all pictures of a source into codes: of central crops, as large as fit. Pictures may be
    enlarged as far as data.enlarge of the run says.

    If the command is stopped, the same command goes on where it was.

    Attributes:
        run: folder of an autoencoder's run.
        source: as data.source of an experiment.
        out: the file of codes; FILE.keys beside it has the names of the classes, and the keys and
            labels of the pictures.
        split: of the source, as data.split of an experiment.
        mirrored: put the mirrored picture after each picture.
        text: also write FILE.txt, a line of codes for each picture. Of a DQ-VAE it has the cells of
            the finest grid, where K, the number of codes, stands for a hole.
        batch_size: pictures at a time; the codes do not depend on it. By default 64, or as many as
            have about a million pixels.
    """

    run: Annotated[str, tyro.conf.Positional]
    source: Annotated[str, tyro.conf.Positional]
    out: Path
    split: str = ""
    mirrored: bool = False
    text: bool = False
    batch_size: int | None = None


@dataclass(frozen=True)
class Detokenize:
    """Turns codes into pictures.

    Attributes:
        run: folder of the autoencoder's run that made the codes.
        file: of codes, which `tokenize` wrote; or a text with a line of codes for each picture.
        out: folder for the pictures, 000000.png and so on.
        grid: rows and columns of codes of a line of a text file; by default those of the run's
            crops, or a square if a line has another number of codes.
        batch_size: pictures at a time; by default 64, or as many as have about a million pixels.
    """

    run: Annotated[str, tyro.conf.Positional]
    file: Annotated[Path, tyro.conf.Positional]
    out: Path
    grid: tuple[int, int] | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Reconstruct:
    """Shows and measures what an autoencoder leaves of pictures: PSNR, LPIPS, FD-AlexNet, and what
    its codes cost; of a DQ-VAE also how many codes a picture has, and where, beside the triples of
    a DCTransformer.

    Attributes:
        run: folder of an autoencoder's run.
        source: a picture, or as data.source of an experiment.
        split: of the source, as data.split of an experiment.
        num: how many pictures, at even distances in the source.
        out: folder for reconstructions.png, codes.png and reconstruction.json, of a DQ-VAE also
            grains.png and symbols.png; by default RUN/reconstructed.
    """

    run: Annotated[str, tyro.conf.Positional]
    source: Annotated[str, tyro.conf.Positional]
    split: str = ""
    num: int = 100
    out: Path | None = None


def tokenize(args: Sequence[str]) -> int:
    """Runs `tokenize RUN SOURCE --out FILE`."""
    command = parse(Tokenize, args, "tokenize")
    check_least(command, batch_size=1)
    from dct_jax.training.batches import pictures_at_a_time, split

    model = load_autoencoder(command.run, "tokenize")
    source, size = open_source(command.source, command.split), model.config.data.image_size
    rows, columns = model.config.grid
    shape, copies = (1, rows, columns), 1 + command.mirrored
    header = CodesHeader(model.fingerprint, model.config.num_symbols, shape, command.mirrored, source.name)
    skipped = Skipped(len(source), model.config.data.max_skipped)
    batch_size = command.batch_size or max(1, pictures_at_a_time(copies * len(source), *size) // copies)
    with writing(command.out, header, source.classes) as writer:
        _check_goes_on(writer, source, copies)
        rest = range(writer.done // copies, len(source))
        bar = tqdm(total=len(source), initial=rest.start, unit=" pictures", disable=None)
        for part in split(rest, batch_size):
            crops = _read(source, part, model.config.data, command.mirrored, skipped)
            pictures = [crop.pixels for crop in crops if crop.pixels is not None]
            codes = [np.zeros((0, rows, columns), np.int32)]
            if pictures:
                codes = list(model.tokenize(np.stack(pictures), copies * batch_size))
            writer.append(np.concatenate(codes), crops)
            bar.update(len(part))
        bar.close()
        header = writer.finish()
    if command.text:
        with replacing(command.out.with_name(f"{command.out.name}.txt")) as path, path.open("w") as file:
            file.writelines(" ".join(map(str, row.reshape(-1).tolist())) + "\n" for row in header.map_codes(command.out))
    if skipped:
        say(skipped.summary())
    number, rows, columns = header.shape
    what = "cells" if model.config.num_symbols > model.config.quantizer.num_codes else "codes"  # some are holes
    return say(f"{command.out} has {number} pictures of {rows} x {columns} {what}")


def _check_goes_on(writer: CodesWriter, source: Source, copies: int) -> None:
    """Raises ValueError if the last picture of a partial file stands elsewhere in the source now: a
    folder has other files than before."""
    if writer.last is None:
        return
    number, key = writer.last[0] // copies, writer.last[1]
    if number >= len(source) or source[number].key != key:
        raise ValueError(
            f"{writer.path}.partial is of another model or source: its picture {number} is {key}, which stands elsewhere in "
            f"{source.name} now; remove it, or name another --out"
        )


def _read(source: Source, part: Iterable[int], data: DataConfig, mirrored: bool, skipped: Skipped) -> list[Crop]:
    """Reads crops of a part of a source, by the data of a run; with `mirrored`, the mirrored crop
    follows each."""
    crops: list[Crop] = []
    for crop in central_crops(source, part, data.image_size, skipped, data.enlarge):
        crops.append(crop)
        if mirrored:
            crops.append(crop if crop.pixels is None else crop._replace(pixels=mirror(crop.pixels)))
    return crops


def detokenize(args: Sequence[str]) -> int:
    """Runs `detokenize RUN FILE --out DIR`."""
    command = parse(Detokenize, args, "detokenize")
    check_least(command, batch_size=1)
    if command.grid and min(command.grid) < 1:
        raise ValueError(f"grid is {command.grid[0]} x {command.grid[1]}; both sides must be 1 or more")
    model = load_autoencoder(command.run, "detokenize")
    codes = _codes(model, command.file, command.grid)
    _, rows, columns = codes.shape
    if (pixels := rows * columns * model.config.sizes.downsampling**2) > LARGEST_IMAGE:
        raise ValueError(
            f"{command.file}: its grids of {rows} x {columns} codes are pictures of {pixels} pixels; there must be at most "
            f"{LARGEST_IMAGE}"
        )
    pictures = itertools.chain.from_iterable(model.detokenize(codes, command.batch_size))
    for number, picture in enumerate(tqdm(pictures, total=len(codes), unit=" pictures", disable=None)):
        save_image(picture, command.out / f"{number:06d}.png")
    return say(f"{len(codes)} pictures are in {command.out}")


def _codes(model: "TrainedAutoencoder", file: Path, grid: tuple[int, int] | None) -> np.ndarray:
    """Reads the codes of a file of codes, or of a text file: [N, h, w]."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    if is_codes_file(file):
        if grid:
            raise ValueError(f"{file} says which grid it has; --grid is for a text with a line of codes for each picture")
        found = read_codes(file)
        if found.header.fingerprint != model.fingerprint:
            ours, theirs = model.fingerprint[:8], found.header.fingerprint[:8]
            raise ValueError(f"{file}: these are codes of another model: {theirs}, and this one is {ours}")
        return found.codes
    rows = read_text_codes(file)  # [N, L]
    number = rows.shape[1]
    side, own = int(number**0.5), model.config.grid
    height, width = grid or (own if math.prod(own) == number else (side, side))
    if height * width != number:
        raise ValueError(f"{file}: its lines have {number} codes, which is not {height} x {width}: give --grid ROWS COLUMNS")
    return rows.reshape(-1, height, width)


def reconstruct(args: Sequence[str]) -> int:
    """Runs `reconstruct RUN SOURCE|IMAGE`."""
    command = parse(Reconstruct, args, "reconstruct")
    check_least(command, num=1)
    from dct_jax.vq.findings import compare_pictures

    model = load_autoencoder(command.run, "reconstruct")
    out = command.out or results_folder(command.run) / "reconstructed"
    pictures = _pictures(model, command)
    codes, copies = model.reconstruct(pictures)
    found = compare_pictures(pictures, copies, codes, model.config.quantizer.num_codes)
    scale, columns = max(1, 160 // max(pictures.shape[1:3])), min(SHOWN, len(pictures))
    for name, tiles in (
        ("reconstructions.png", [*pictures[:columns], *copies[:columns]]),
        ("codes.png", _maps(codes[:columns], model)),
    ):
        save_image(plots.image_grid(tiles, columns=columns, scale=scale), out / name)
    report = {"pictures": len(pictures), "fingerprint": model.fingerprint, **found.numbers, "notes": found.notes}
    lines, files = found.lines(), ["reconstructions.png (originals above)", "codes.png"]
    if isinstance(model.config, DQVAEConfig):
        from dct_jax.dq.pictures import grains_of, measure_lengths

        maps = grains_of(model.config, codes)
        lengths = measure_lengths(maps)
        report |= {"codes_of_a_picture": lengths.numbers, "regions": lengths.shares}
        lines += ["", *lengths.lines()]
        files += write_grains(out, pictures, copies, maps)
    write_report(out / "reconstruction.json", report)
    say(*"\n".join([f"{len(pictures)} pictures", "", *lines, ""]).split("\n"))
    return say(f"{out} has {', '.join(files)} and reconstruction.json")


def _pictures(model: "TrainedAutoencoder", command: Reconstruct) -> np.ndarray:
    """Reads the pictures to reconstruct, uint8 [N, H, W, 3]."""
    data = model.config.data
    if Path(command.source).is_file():
        return central_crop(read_image(command.source), data.image_size, data.enlarge)[None]
    source = open_source(command.source, command.split)
    number = min(command.num, len(source))
    skipped = Skipped(number, data.max_skipped)
    return np.stack(list(evenly_spaced_crops(source, number, data.image_size, skipped, data.enlarge)))


def _maps(codes: np.ndarray, model: "TrainedAutoencoder") -> list[np.ndarray]:
    """Makes pictures of codes, [N, h, w] -> uint8 [H, W, 3] each: a colour for each code."""
    if isinstance(model.config, DQVAEConfig):
        from dct_jax.dq.pictures import fill_holes

        codes = fill_holes(model.config, codes)
    colours = np.random.default_rng(0).integers(40, 256, (model.config.quantizer.num_codes, 3), np.uint8)
    f = model.config.sizes.downsampling
    return [colours[one].repeat(f, axis=0).repeat(f, axis=1) for one in codes]
