"""The pictures of a run: pictures/STEP_NAME.png, from which trackers get them again."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from dct_jax.storage.files import replacing

log = logging.getLogger(__name__)


def write_pictures(folder: Path, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes the pictures of a step, uint8 [H, W, 3] by name, to the folder of a run."""
    for name, picture in pictures.items():
        with replacing(folder / "pictures" / f"{step:07}_{name}.png") as path:  # in order also for a file browser
            Image.fromarray(picture).save(path)


def drop_pictures(folder: Path, step: int) -> None:
    """Removes the pictures of later steps."""
    for later, paths in _paths(folder).items():
        for path in paths if later > step else []:
            path.unlink()


def picture_steps(folder: Path) -> list[int]:
    """Returns the steps that have pictures, in order."""
    return sorted(_paths(folder))


def read_pictures(folder: Path, step: int) -> tuple[float, dict[str, np.ndarray]]:
    """Reads the pictures of a step: their time (s since 1970), and uint8 [H, W, 3] by name. Those
    that cannot be read are left out with a warning."""
    time, pictures = 0.0, {}
    for path in _paths(folder)[step]:
        try:
            with Image.open(path) as image:
                pictures[path.stem.partition("_")[2]] = np.asarray(image.convert("RGB"))
            time = path.stat().st_mtime
        # Pillow has many kinds of errors, and a picture is no reason to end a training.
        except Exception as error:
            log.warning("%s cannot be read and is left out (%s)", path, error)
    return time, pictures


def _paths(folder: Path) -> dict[int, list[Path]]:
    """Returns the files of each step, in the order of their names."""
    paths: dict[int, list[Path]] = {}
    for path in sorted((folder / "pictures").glob("[0-9]*_*.png")):
        step = path.stem.partition("_")[0]
        if step.isdecimal():
            paths.setdefault(int(step), []).append(path)
    return paths
