"""Pictures by index: the bundled landscapes and any folder of image files."""

import logging
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from dct_jax.data.pixels import rgb_pixels, why_not

LANDSCAPES = Path(__file__).parent / "landscapes"
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

log = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture of a source.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        label: its class.
        key: its name, for messages.
    """

    image: np.ndarray
    label: int
    key: str


def read_image(path: str | Path) -> np.ndarray:
    """The RGB pixels of an image file, uint8 [H, W, 3], turned as its EXIF orientation says; of several frames the first.

    Grey, palette, 1-bit, YCbCr, HSV and CMYK images become RGB, CMYK without its colour profile. What is transparent is laid
    over white. 16-bit samples lose their lower 8 bits.

    Raises:
        ValueError: if the file is missing, unreadable or no image, or if its samples have no certain meaning as RGB (32-bit
            numbers, Lab); the message names it.
    """
    try:
        with Image.open(path) as image:
            reason = why_not(image)
            if not reason:
                return rgb_pixels(image)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: this is no image that Pillow can read") from None
    # Pillow's decoders raise nearly anything for a damaged file, SyntaxError and struct.error among it.
    except Exception as error:
        raise ValueError(f"{path}: this image cannot be read ({error!r})") from None

    raise ValueError(f"{path}: {reason}")


class Pictures:
    """A random-access collection of image files. A file that does not yield a picture is skipped, counted, and named in the
    log once; a source without a single good picture is an error.

    Attributes:
        classes: the names of the classes, by label; empty if the files lie in no sub-folders.
        skipped: why each picture that could not be used was skipped, by its path.
    """

    def __init__(self, root: Path, paths: list[Path]) -> None:
        """Args: the folder, and the files below it in the order of their indices."""
        self.root, self.paths = root, paths
        self.classes = sorted({path.relative_to(root).parts[0] for path in paths if path.parent != root})
        self._labels = {name: label for label, name in enumerate(self.classes)}
        self.skipped: dict[str, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Picture:
        """Raises ValueError if the file is no readable image."""
        path = self.paths[index]
        return Picture(read_image(path), self._labels.get(path.relative_to(self.root).parts[0], 0), str(path))

    def split(self, held_out_every: int) -> tuple["Pictures", "Pictures"]:
        """The pictures to train on, and every n-th one, held out. Both know all classes.

        Raises:
            ValueError: if that leaves one part empty.
        """
        if len(self) < held_out_every:
            raise ValueError(
                f"{self.root} has {len(self)} pictures and one in {held_out_every} is held out "
                "(data.held_out_every): add pictures or lower that number"
            )
        held_out = self.paths[held_out_every - 1 :: held_out_every]
        training = sorted(set(self.paths) - set(held_out))
        parts = Pictures(self.root, training), Pictures(self.root, held_out)
        for part in parts:
            part.classes, part._labels = self.classes, self._labels
        return parts

    def skip(self, index: int, error: ValueError) -> None:
        """Counts a picture that cannot be used, and logs its name and why the first time.

        Raises:
            ValueError: if no picture is left.
        """
        key, reason = str(self.paths[index]), str(error)
        reason = reason if key in reason else f"{key}: {reason}"
        with self._lock:
            if key not in self.skipped:
                self.skipped[key] = reason
                log.warning("skipping picture %d: %s", len(self.skipped), reason)
            if len(self.skipped) == len(self):
                raise ValueError(f"{self.root}: none of the {len(self)} pictures can be used; the last one: {reason}")

    def none_usable(self, tried: str) -> ValueError:
        """The error to raise if every picture that was tried had to be skipped; `tried` says which those were."""
        reason = next(iter(self.skipped.values()))
        return ValueError(f"{self.root}: none of the {tried} that were tried can be used; the first: {reason}")


def open_source(source: str) -> Pictures:
    """The pictures that DataConfig.source names.

    Raises:
        ValueError: if the source is unknown, or has no pictures.
    """
    kind, _, rest = source.partition(":")
    if source == "landscapes":
        root = LANDSCAPES
    elif kind == "folder" and rest:
        root = Path(rest).expanduser()
    else:
        raise ValueError(f"data.source is {source!r}; it must be 'landscapes' or 'folder:PATH'")
    if not root.is_dir():
        raise ValueError(f"data.source is {source!r}: there is no folder {root}")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"data.source is {source!r}: no image file below that folder ({', '.join(sorted(SUFFIXES))})")
    return Pictures(root, paths)
