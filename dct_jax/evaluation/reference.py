"""What sample metrics need to know of a set of pictures, and a cache of it on disk."""

import hashlib
import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.crops import count_whole, gather, owners_of
from dct_jax.evaluation.distances import Moments
from dct_jax.evaluation.features.network import FeatureNetwork
from dct_jax.storage.files import replacing

log = logging.getLogger(__name__)

_ROWS = 2048  # vectors that are added to the moments at a time; of each addition a part costs as much as so many vectors
_CHOICE_SEED = 0


@dataclass(frozen=True)
class Statistics:
    """A set of pictures as a feature network sees it.

    Attributes:
        count: how many pictures.
        different: how many pictures these are crops of; `count` if none is a crop of another's.
        moments: features -> the moments of all pictures.
        kept: features -> float32 [K, D], the vectors of all pictures or a random choice, in order.
        owners: int [K], the number of the picture that each vector is of a crop of.
    """

    count: int
    different: int
    moments: Mapping[str, Moments]
    kept: Mapping[str, np.ndarray]
    owners: np.ndarray


def statistics(
    network: FeatureNetwork,
    pictures: Pictures,
    keep: int,
    batch_size: int = 50,
    cache: Path | None = None,
    title: str = "pictures",
    owners: np.ndarray | None = None,
) -> Statistics:
    """Moments and kept features of a set of pictures.

    Args:
        network: the features.
        pictures: the set. With a cache it is read for its hash, and again if that is unknown.
        keep: of how many pictures the features are kept; a fixed seed chooses them, as files may be
            sorted by class. All crops of a picture are kept, or none.
        batch_size: pictures at a time.
        cache: a folder of earlier statistics. Their names are hashes of the network, the choice,
            and every pixel, so nobody has to renew them.
        title: of the progress bar.
        owners: int [N], the number of the picture that each one is a crop of; by default as
            `owners_of` says.

    Raises:
        ValueError: if a picture is not uint8 [H, W, 3], or its features are not finite.
    """
    owners, path = owners_of(pictures) if owners is None else owners, None
    choice = _choose(owners, keep)
    if cache is not None:
        key = _key(network, choice)
        for _ in _read_through(pictures, key, f"{title}, reading"):
            pass
        path = cache / f"{network.name}-{key.hexdigest()[:40]}.npz"
        if stored := _load(path, network.dimensions, owners, choice):
            return stored
    key = _key(network, choice)
    result = _gather(network, _read_through(pictures, key, title), owners, choice, batch_size)
    # Kept under the hash of what the network saw: files may have changed since the first reading.
    if path is not None:
        _save(path.with_stem(f"{network.name}-{key.hexdigest()[:40]}"), result)
    return result


def _choose(owners: np.ndarray, keep: int) -> np.ndarray:
    """Chooses at most so many pictures, with all crops of each: bool [N]."""
    order = gather(np.random.default_rng(_CHOICE_SEED).permutation(len(owners)), owners)
    choice = np.zeros(len(owners), bool)
    choice[order[: count_whole(owners[order], min(keep, len(owners)))]] = True
    return choice


def _key(network: FeatureNetwork, choice: np.ndarray) -> Any:
    key = hashlib.sha256(f"statistics 2\0{network.name}\0{network.fingerprint}\0{len(choice)}\0".encode())
    key.update(np.packbits(choice).data)
    return key


def _read_through(pictures: Pictures, key: Any, title: str) -> Iterator[np.ndarray]:
    for i in tqdm(range(len(pictures)), desc=title, unit=" pictures", disable=None):
        image = np.ascontiguousarray(pictures[i])
        key.update(f"{image.dtype.str} {image.shape}\0".encode())
        key.update(image.data)
        yield image


def _gather(
    network: FeatureNetwork, images: Iterator[np.ndarray], owners: np.ndarray, choice: np.ndarray, batch_size: int
) -> Statistics:
    count = len(owners)
    moments = {name: Moments.of(np.empty((0, d))) for name, d in network.dimensions.items()}
    kept: dict[str, list[np.ndarray]] = {name: [np.empty((0, d), np.float32)] for name, d in network.dimensions.items()}
    pending: dict[str, list[np.ndarray]] = {name: [] for name in network.dimensions}
    done = waiting = 0
    for batch in network.extract(images, batch_size):
        number = len(batch["pool"])
        done, waiting = done + number, waiting + number
        for name, features in batch.items():
            kept[name].append(features[choice[done - number : done]])
            pending[name].append(features)
        if waiting >= _ROWS or done == count:
            moments = {name: sums + Moments.of(np.concatenate(pending[name])) for name, sums in moments.items()}
            pending, waiting = {name: [] for name in pending}, 0
    return _of_choice(owners, choice, moments, {name: np.concatenate(parts) for name, parts in kept.items()})


def _of_choice(owners: np.ndarray, choice: np.ndarray, moments: dict[str, Moments], kept: dict[str, np.ndarray]) -> Statistics:
    return Statistics(len(owners), len(np.unique(owners)), moments, kept, owners[choice])


def _save(path: Path, statistics: Statistics) -> None:
    arrays: dict[str, Any] = {}
    for name, moments in statistics.moments.items():
        arrays |= {f"{name}_mean": moments.mean, f"{name}_scatter": moments.scatter, f"{name}_kept": statistics.kept[name]}
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    except (OSError, ValueError) as error:  # the numbers are there; that they cannot be kept is no reason to lose them
        log.warning("the statistics are not kept: %s", error)


def _load(path: Path, dimensions: Mapping[str, int], owners: np.ndarray, choice: np.ndarray) -> Statistics | None:
    """What _save has written, or None if there is no such file or it is damaged."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            moments, kept = {}, {}
            for name, d in dimensions.items():
                mean = _read(archive, f"{name}_mean", (d,), "<f8")
                moments[name] = Moments(len(owners), mean, _read(archive, f"{name}_scatter", (d, d), "<f8"))
                kept[name] = _read(archive, f"{name}_kept", (choice.sum(), d), "<f4")
            return _of_choice(owners, choice, moments, kept)
    # zipfile and NumPy raise nearly anything for a damaged file.
    except Exception as error:
        log.warning("%s is damaged (%s); its statistics are computed again", path, error)
        return None


def _read(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """One array, after its header has shown that it is what is expected."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0) or np.lib.format.read_array_header_1_0(file) != (shape, False, np.dtype(dtype)):
            raise ValueError(f"{name} is not {dtype} {list(shape)}")
    with archive.open(f"{name}.npy") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return array
