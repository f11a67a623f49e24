"""What the command compare has measured of runs, in files beside them."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dct_jax.commands.arguments import save_image
from dct_jax.comparison.measures import from_plain, to_plain
from dct_jax.plots import image_grid
from dct_jax.storage.files import read_limited, replacing

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """Parts of what is measured of a model, a file each.

    Attributes:
        folder: of these files.
        key: all that every part depends on, as plain values.
        again: whether to measure anew what is there.
    """

    folder: Path
    key: dict[str, Any]
    again: bool

    def find(self, part: str, key: dict[str, Any], kind: type[T], measure: Callable[[], T]) -> T:
        """Returns a part as its file tells it. The file is written first if it is not there.

        Args:
            part: its name, with which that of the file begins.
            key: all else that the part depends on, as plain values.
            kind: the dataclass of the part.
            measure: returns the part.
        """
        key = json.loads(json.dumps(self.key | key))  # tuples become lists, as in the file
        path = self._path(part, key, "json")
        if path.exists() and not self.again:
            try:
                return _read(path, key, kind)
            except ValueError as error:
                log.warning("%s cannot be used (%s); this part is measured again", path, error)
        measured = {"key": key, "measured": to_plain(measure())}
        with replacing(path) as temporary:  # not a report: what is infinite comes back as it was
            temporary.write_text(json.dumps(measured, indent=1) + "\n")
        return _read(path, key, kind)

    def find_strip(self, part: str, key: dict[str, Any], make: Callable[[], Sequence[np.ndarray]]) -> Path:
        """Returns a PNG file of pictures side by side, which is written first if it is not there.

        Args:
            part: its name, with which that of the file begins.
            key: all else that the pictures depend on, as plain values.
            make: returns the pictures, uint8 [H, W, 3] each.
        """
        path = self._path(part, self.key | key, "png")
        if not path.exists() or self.again:
            pictures = make()
            save_image(image_grid(pictures, columns=len(pictures), scale=max(1, 64 // max(pictures[0].shape))), path)
        return path

    def _path(self, part: str, key: dict[str, Any], suffix: str) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{part}-{digest[:16]}.{suffix}"


def _read(path: Path, key: dict[str, Any], kind: type[T]) -> T:
    """Reads a part. Raises ValueError if the file has none of this key."""
    try:
        values = json.loads(read_limited(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict) or values.get("key") != key:
        raise ValueError("it is of something else")
    return from_plain(kind, values.get("measured"))
