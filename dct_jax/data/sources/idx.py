"""Pictures in the idx files of MNIST, Fashion-MNIST, KMNIST, EMNIST and their like."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dct_jax.data.sources.idx_file import read_idx
from dct_jax.data.sources.record import Record
from dct_jax.storage.files import read_limited

CLASSES_FILE = "classes.txt"
"""The names of the classes, one on a line, in the order of the labels; it may be missing."""
LARGEST_CLASSES = 2**20
"""Bytes of that file; labels are bytes, so there are at most 256 names."""

FASHION_MNIST = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_FASHION_LABELS = frozenset(  # SHA-256 of the labels of its authors' two parts, without headers
    {
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    }
)

_IMAGES = re.compile(r"(?:(?P<family>.+)-)?(?P<part>[^-.]+)-images(?P<dot>[-.])idx3-ubyte")
_TEST = "t10k"  # MNIST's name of the test part


class _Part(NamedTuple):
    """One part of a data set: the data set's name (or ""), the part's own name, its files."""

    family: str
    name: str
    images: Path
    labels: Path


class IdxSource:
    """The pictures in a folder of idx files, in their order and in memory, a byte for each pixel.

    Files are named like train-images-idx3-ubyte and train-labels-idx1-ubyte, or with a dot before
    idx; each may be gzipped. The name of a data set may stand in front, as in
    emnist-letters-train-images-idx3-ubyte.gz. "t10k" is the part "test". EMNIST's pictures, which
    are stored column by column, are turned upright.

    Attributes:
        name, classes: as of any Source. The names of the classes are those in classes.txt, or of
            Fashion-MNIST if the labels are that data set's, or else the numbers from 0 to the
            largest label.
        parts: which parts these are.
    """

    def __init__(self, root: Path, split: str = "", name: str = "") -> None:
        """Reads a folder, or the part that `split` names: "train", "test" or what there is. In a
        folder of several data sets the data set's name comes first, as in "emnist-letters-train".
        `name` stands for the folder in messages.

        Raises:
            ValueError: if the folder, the part or a file is missing, or a file is damaged or
                misfits.
        """
        self.name = f"{name or f'idx:{root}'}{split and f' ({split})'}"
        self._arguments = root, split, name
        family, chosen = _choose(self.name, split, _find(self.name, root))
        self.parts = tuple(part.name for part in chosen)
        labels = {part: read_idx(part.labels, 1) for part in family}  # uint8 [N] each
        self.classes = _classes(root / CLASSES_FILE, labels)
        self._files = [part.images for part in chosen]
        self._labels = [labels[part] for part in chosen]
        self._pictures = [_pictures(part, len(labels[part])) for part in chosen]  # uint8 [N, H, W] each
        self._starts = np.cumsum([0, *map(len, self._labels)])  # of each part; the last one is the number of all

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Record:
        """Returns the pixels of a picture, whose grey is repeated for R, G and B."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: there is no record {index} of {len(self)}")
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        place = index - int(self._starts[part])
        grey = self._pictures[part][place]  # [H, W]
        label = int(self._labels[part][place])
        return Record(grey[..., None].repeat(3, axis=-1), label, f"{self._files[part]}, picture {place}")

    def __reduce__(self) -> tuple[type["IdxSource"], tuple[Path, str, str]]:
        """Another process reads the files itself, and is not sent what is in them."""
        return IdxSource, self._arguments


def _find(name: str, root: Path) -> list[_Part]:
    """Finds the parts whose pictures lie in a folder, sorted. Of a file that is there gzipped and
    unpacked, the unpacked one counts."""
    if not root.is_dir():
        raise ValueError(f"{name}: there is no folder {root}")
    try:
        files = {path.name.removesuffix(".gz") for path in root.iterdir() if path.is_file()}  # folders may have such names, too
    except OSError as error:
        raise ValueError(f"{name}: this folder cannot be read ({error.strerror})") from None
    parts = []
    for unpacked in sorted(files):
        if match := _IMAGES.fullmatch(unpacked):
            part, family = match["part"], match["family"] or ""
            labels = f"{family and family + '-'}{part}-labels{match['dot']}idx1-ubyte"
            part = "test" if part == _TEST else part
            parts.append(_Part(family, part, _find_file(root / unpacked), _find_file(root / labels)))
    if not parts:
        raise ValueError(f"{name}: there are no idx files in that folder, which are named like train-images-idx3-ubyte.gz")
    return parts


def _find_file(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def _choose(name: str, split: str, parts: list[_Part]) -> tuple[list[_Part], list[_Part]]:
    """Returns all parts of the data set that a split is of, and the parts that it names."""
    families = {part.family for part in parts}
    named = {part: part.name if len(families) == 1 else f"{part.family}-{part.name}".lstrip("-") for part in parts}
    known = ", ".join(sorted(named.values()))
    if len(set(named.values())) < len(parts):
        raise ValueError(f"{name}: the parts in that folder are {known}; there must be one of each name")
    if not split and len(families) > 1:
        raise ValueError(f"{name}: several data sets lie in that folder; name one part (data.split) of {known}")
    chosen = [part for part in parts if split in ("", named[part])]
    if not chosen:
        raise ValueError(f"{name}: there is no part {split!r} (data.split); there are {known}")
    return [part for part in parts if part.family == chosen[0].family], chosen


def _classes(file: Path, labels: dict[_Part, np.ndarray]) -> tuple[str, ...]:
    """Returns the names of the classes of all parts of a data set, whose labels are uint8 [N]."""
    if file.exists():
        names = _names(file)
    elif all(hashlib.sha256(one.data).hexdigest() in _FASHION_LABELS for one in labels.values()):
        names = FASHION_MNIST
    else:
        return tuple(map(str, range(1 + max(int(one.max()) for one in labels.values()))))
    for part, ours in labels.items():
        if (largest := int(ours.max())) >= len(names):
            place = f"picture {int(ours.argmax())} has label {largest}"
            raise ValueError(f"{part.labels}: {place}, but {file} has {len(names)} names, of 0 to {len(names) - 1}")
    return names


def _names(file: Path) -> tuple[str, ...]:
    try:
        lines = read_limited(file, LARGEST_CLASSES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file}: this is no text in UTF-8; it must have the name of a class on each line") from None
    names = tuple(line.strip() for line in lines)
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{file}: it must have the name of a class on each line, none of them empty or twice")
    return names


def _pictures(part: _Part, num: int) -> np.ndarray:
    """Reads a part's pictures, uint8 [N, H, W], upright; N must be `num`, the number of labels."""
    pictures = read_idx(part.images, 3)
    if len(pictures) != num:
        raise ValueError(f"{part.images} has {len(pictures)} pictures, but {part.labels} has {num} labels; get both anew")
    return pictures.transpose(0, 2, 1) if part.family.startswith("emnist") else pictures
