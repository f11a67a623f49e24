"""How the entropies of patches are distributed in a data set, and the thresholds that this gives.

A router that shall give a share r of regions the finest grain needs the entropy that a share r of
patches exceeds. The percentiles are measured with the function that the model uses, and stand in a
file beside all that they depend on.

Axes: N patches, S pixels of a patch's side, H x W pixels of a crop, G grains.
"""

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dct_jax.config import DataConfig
from dct_jax.data.central_crops import evenly_spaced_crops
from dct_jax.data.crops import random_crop
from dct_jax.data.pixels import pixels
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Part, Record, Source
from dct_jax.dq.entropy import BINS, RANGE, SIGMA, patch_entropy
from dct_jax.storage.files import read_limited
from dct_jax.training.batches import pictures_at_a_time, run_in_batches
from dct_jax.vq.network import pad_sides, to_float

FORMAT = "dct_jax entropy percentiles 2"

PERCENTS = np.arange(1, 100)
LARGEST_FILE = 2**16
"""Bytes of a file of percentiles; it has about 3,000."""


@dataclass(frozen=True)
class Percentiles:
    """The percentiles of the entropies of a data set's patches.

    Attributes:
        values: float32 [99], nats, of 1 % to 99 % of patches; see `percentiles`.
        side: S, of the patches.
        size: (H, W), of the crops that the patches are of.
        crop: the smallest and largest crop, as data.crop of a run.
        enlarge: how many times larger a crop could become.
        source: the name of the data set, of a folder or a file without those above it.
        source_pictures: how many pictures the data set has, held-out ones among them.
        pictures: how many were cropped.
        tied: the largest share of patches that have one entropy, as those of one level have.
    """

    values: np.ndarray
    side: int
    size: tuple[int, int]
    crop: tuple[float, float]
    enlarge: float
    source: str
    source_pictures: int
    pictures: int
    tied: float

    def to_json(self) -> str:
        """Returns the text of a file of percentiles, with the bins of the entropy."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        text = {"format": FORMAT, **fields, **_BINS, "percentiles": self.values.tolist()}
        return json.dumps(text, indent=1) + "\n"


_FIELDS = ("source", "source_pictures", "pictures", "size", "crop", "enlarge", "side", "tied")
_BINS: dict[str, Any] = {"range": list(RANGE), "bins": BINS, "sigma": SIGMA}


def percentiles(values: np.ndarray) -> np.ndarray:
    """Returns float32 [99], of entropies [N] in any order: that of the place floor(N q / 100), from
    0 on, among the sorted ones, for q = 1 to 99. Raises ValueError without any."""
    if not values.size:
        raise ValueError("there are no patches, so their entropies have no percentiles")
    return np.sort(values.reshape(-1))[values.size * PERCENTS // 100].astype(np.float32)


class Crops:
    """A source whose pictures are cropped at random as in training, but always in the same way: a
    reduced crop has other entropies than one that was taken as it is."""

    def __init__(self, source: Source, size: tuple[int, int], crop: tuple[float, float], enlarge: float) -> None:
        self._source, self._size, self._crop, self._enlarge = source, size, crop, enlarge
        self.name, self.classes = source.name, source.classes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the picture cannot be read, or is too small."""
        record, rng = self._source[index], np.random.default_rng(index)
        return record._replace(image=random_crop(pixels(record), self._size, self._crop, self._enlarge, rng))


def measure_percentiles(source: Source, data: DataConfig, side: int, number: int, skipped: Skipped) -> Percentiles:
    """Measures the entropies of the patches of crops. The result depends on nothing else.

    Args:
        source: the pictures.
        data: how they are cropped.
        side: S, of the patches. Where it does not divide the sides of crops, the last row and
            column are repeated, as an autoencoder does.
        number: how many pictures, evenly spaced over the source.
        skipped: it counts the pictures that cannot be used.

    Raises:
        ValueError: if none of the pictures can be used, or too few.
    """
    cropped, size = Crops(source, data.image_size, data.crop, data.enlarge), data.image_size
    crops, batch = evenly_spaced_crops(cropped, number, None, skipped), pictures_at_a_time(number, *size)
    program = partial(_entropies, side=side)
    parts = [part for crops in _in_parts(crops, batch) for part in run_in_batches(program, crops, batch)]
    entropies = np.concatenate(parts)  # [pictures, h, w]
    _, counts = np.unique(entropies, return_counts=True)
    tied = float(counts.max() / entropies.size)
    name, total = _identity(source)
    return Percentiles(percentiles(entropies), side, size, data.crop, data.enlarge, name, total, len(entropies), tied)


@partial(jax.jit, static_argnames="side")
def _entropies(pixels: jax.Array, side: int) -> jax.Array:
    """uint8 [B, H, W, 3] -> float32 [B, h, w]."""
    return patch_entropy(pad_sides(to_float(pixels), side), side)


def _in_parts(crops: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stacks so many crops at a time: uint8 [H, W, 3] each -> [B, H, W, 3]."""
    while part := list(islice(crops, size)):
        yield np.stack(part)


def thresholds_of(values: np.ndarray, ratios: Sequence[float]) -> np.ndarray:
    """Finds the thresholds that give each grain its share of patches.

    Args:
        values: percentiles, float32 [99].
        ratios: the shares of each grain but the coarsest, from coarse to fine.

    Returns:
        float32 [G - 1], never descending. A region has grain g if its entropy is above g of them,
        so a share of ratios[g - 1:] in all is above threshold g. Shares of no whole percent are
        interpolated; below 1 % and above 99 % they are 1 % and 99 %, but 0 gives infinity, which
        nothing exceeds, and 1 gives minus infinity. They are rounded up to what bfloat16 holds: so
        weights in it have them, too, and patches of one entropy stay on one side.
    """
    shares = [sum(ratios[grain:]) for grain in range(len(ratios))]
    found = [math.inf if r <= 0 else -math.inf if r >= 1 else np.interp(100 - 100 * r, PERCENTS, values) for r in shares]
    return _round_up(np.array(found, np.float32))


def _round_up(values: np.ndarray) -> np.ndarray:
    """Rounds float32 [...] up to numbers of bfloat16, whose lower 16 bits are 0. No number is
    negative, but for minus infinity."""
    return ((values.view(np.uint32) + 0xFFFF) & 0xFFFF0000).view(np.float32)


def shares_of(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Estimates what `thresholds_of` achieves: where many entropies are equal, all of them are on
    one side of a threshold.

    Args:
        values: percentiles, float32 [99].
        thresholds: float32 [G - 1], never descending.

    Returns:
        The shares of patches of each grain, float64 [G], up to 1 %; they have the sum 1.
    """
    above = [(np.sum(values > t) + np.isfinite(t)) / 100 if t > -np.inf else 1.0 for t in thresholds]
    return -np.diff([1.0, *above, 0.0])


def read_percentiles(path: Path) -> Percentiles:
    """Reads a file of percentiles, which may come from anywhere.

    Raises:
        ValueError: if it cannot be read, has more than LARGEST_FILE bytes, is damaged, or has the
            percentiles of an entropy with other bins; the message names it.
    """
    data = read_limited(path, LARGEST_FILE)
    try:
        return _from_json(json.loads(data))
    except RecursionError:
        raise ValueError(f"{path}: its JSON is nested too deeply") from None
    except KeyError as error:
        raise ValueError(f"{path}: these percentiles cannot be used: it does not say {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: these percentiles cannot be used: {error}") from None


def _from_json(values: Any) -> Percentiles:
    """Checks the values of a file. Raises ValueError, or KeyError where one is missing."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    for name, ours in _BINS.items():
        if values[name] != ours:
            raise ValueError(f"its {name} is {str(values[name])[:40]}; this program's is {ours}")
    size, found = values["size"], values["percentiles"]
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_count, size))):
        raise ValueError("its size is not the height and width of crops")
    for name in ("side", "source_pictures", "pictures"):
        if not _is_count(values[name]):
            raise ValueError(f"its {name} must be a whole number from 1 on")
    if not (isinstance(values["source"], str) and _is_number(values["tied"], 1.0)):
        raise ValueError("its source must be a name, and tied a share")
    crop = values["crop"]
    if not (isinstance(crop, list) and len(crop) == 2 and all(_is_number(x, 1.0) for x in crop) and 0 < crop[0] <= crop[1]):
        raise ValueError("its crop must be two shares, the smallest first")
    if not (_is_number(values["enlarge"], math.inf) and values["enlarge"] >= 1):
        raise ValueError("its enlarge must be a number from 1 on")
    most = math.log(BINS) + 1e-3
    if not (isinstance(found, list) and len(found) == len(PERCENTS) and all(_is_number(x, most) for x in found)):
        raise ValueError(f"its percentiles must be {len(PERCENTS)} numbers from 0 to ln {BINS}")
    if found != sorted(found):
        raise ValueError("its percentiles descend somewhere")
    pairs = {"size": (size[0], size[1]), "crop": (crop[0], crop[1])}
    return Percentiles(np.array(found, np.float32), **{name: values[name] for name in _FIELDS} | pairs)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _is_number(value: Any, most: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= most


def check_fits(found: Percentiles, path: str, source: Source, data: DataConfig, side: int) -> None:
    """Refuses percentiles of other patches than those of a run.

    Args:
        found, path: the percentiles, and the file that they stand in.
        source: the run's training pictures.
        data: of the run.
        side: S, pixels of a side of the model's regions.

    Raises:
        ValueError: if patches, crops or the data set differ.
    """
    name, total = _identity(source)
    for what, theirs, ours in (
        ("patches with a side", found.side, side),
        ("crops", found.size, data.image_size),
        ("crops whose shares are", found.crop, data.crop),
        ("crops enlarged at most", found.enlarge, data.enlarge),
        ("the data set", found.source, name),
        ("a data set whose number of pictures is", found.source_pictures, total),
    ):
        if theirs != ours:
            make = f"make it with `{_command(data, side)}`"
            raise ValueError(f"router.thresholds is {path}, of {what} {theirs}; this run needs {ours}: {make}")


def _command(data: DataConfig, side: int) -> str:
    """Returns the command that measures the percentiles that a run needs."""
    split = ["--split", data.split] if data.split else []
    enlarge = ["--enlarge", str(data.enlarge)] if data.enlarge != 1 else []
    size, crop = (["--size", *map(str, data.image_size)], ["--crop", *map(str, data.crop)])
    return shlex.join(["thresholds", data.source, *split, *size, *crop, *enlarge, "--patch-size", str(side), "--out", "FILE"])


def _identity(source: Source) -> tuple[str, int]:
    """Names a data set as it is also named on other machines; and says how many pictures it has, of
    which a run may hold out some."""
    whole = source.source if isinstance(source, Part) else source
    return Path(whole.name.split(":", 1)[-1]).name, len(whole)
