"""One file for one model: a safetensors file of its parameters; all else is in its metadata.

The library safetensors reads and writes the numbers; the fingerprint shows whether they are right.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from dct_jax.config import RunConfig, read_sizes
from dct_jax.distributed.processes import NO_BACKEND
from dct_jax.published import SUFFIX
from dct_jax.storage.files import replacing
from dct_jax.systems import read_config
from dct_jax.tables import first_line
from dct_jax.training.stage import Sizes

FORMAT = "dct_jax model 1"
Kind = Literal["float32", "bfloat16", "float16"]
_DTYPES = ("F32", "F16", "BF16")
_FIELDS = ("format", "config", "sizes", "classes", "fingerprint", "about")
LARGEST_MODEL = 2**32
"""Parameters that a file may have; reading it takes 4 bytes for each."""


@dataclasses.dataclass(frozen=True)
class About:
    """What a reader should know of a model.

    Attributes:
        data: what it was trained on.
        licence: of the weights.
        command: the command that trained it.
        results: figures by name, such as "bits_per_pixel".
    """

    data: str = ""
    licence: str = ""
    command: str = ""
    results: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Weights(NamedTuple):
    """What a file holds.

    Attributes:
        config, sizes, classes: as of `training.stage.Trained`.
        variables: float32, whatever the file's numbers are.
        fingerprint: what `Trained.fingerprint` of all that must be.
        about: what to know of it.
    """

    config: RunConfig
    variables: Any
    sizes: Sizes
    classes: tuple[str, ...]
    fingerprint: str
    about: About


def round_to(variables: Any, kind: Kind) -> Any:
    """Rounds float32 variables to what a file of this kind gives back."""
    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    return jax.tree.map(lambda x: np.asarray(x).astype(dtype).astype(np.float32), variables)


def write_weights(path: Path, weights: Weights, kind: Kind) -> None:
    """Writes a file whose numbers are of this kind, to which `round_to` has rounded them.

    Raises:
        ValueError: if the file's name does not end in SUFFIX, it cannot be written, or there are
            more than LARGEST_MODEL parameters, which `read_weights` would refuse.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: the name of a file of weights must end in {SUFFIX}")
    try:
        _check_size(sum(np.size(x) for x in jax.tree.leaves(weights.variables)))
    except ValueError as error:
        raise ValueError(f"{path} cannot be written: {error}") from None
    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    arrays = {name: np.asarray(x).astype(dtype) for name, x in flatten_dict(weights.variables, sep="/").items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(weights.config.to_dict()),
        "sizes": json.dumps(weights.sizes),
        "classes": json.dumps(weights.classes),
        "fingerprint": weights.fingerprint,
        "about": json.dumps(dataclasses.asdict(weights.about)),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(arrays, metadata))


def read_about(path: Path) -> tuple[About, int]:
    """Returns what to know of a model, and its number of parameters, without reading them.

    Raises:
        ValueError: as `read_weights`, as far as the header tells.
    """
    with _name_errors(path):
        config, metadata = _header(path)
        return _about(metadata), sum(map(math.prod, _shapes(path, config).values()))


def read_weights(path: Path) -> Weights:
    """Reads a file, array by array. The caller must check its fingerprint.

    Raises:
        ValueError: if it is missing, damaged or of another version, its arrays do not fit, or it
            has more than LARGEST_MODEL parameters. All but damaged numbers is found before memory
            is taken for them.
    """
    with _name_errors(path):
        config, metadata = _header(path)
        sizes, classes = read_sizes(json.loads(metadata["sizes"])), tuple(map(str, json.loads(metadata["classes"])))
        config.check_classes(classes)
        _shapes(path, config)
        with safetensors.safe_open(path, framework="numpy") as file:
            params = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
        return Weights(config, unflatten_dict(params, sep="/"), sizes, classes, metadata["fingerprint"], _about(metadata))


@contextlib.contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Turns any error into one line that names the file."""
    try:
        yield
    except (ImportError, MemoryError):  # the file is not to blame
        raise
    # The library has an error of its own; other JSON raises KeyError, TypeError and so on.
    except Exception as error:
        if str(error).startswith(str(path)) or NO_BACKEND in str(error):
            raise
        raise ValueError(f"{path}: this is no file of weights that can be used ({first_line(error, 300)})") from None


def _header(path: Path) -> tuple[RunConfig, dict[str, str]]:
    """The configuration and the metadata."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format', 'none')!r}; this version reads {FORMAT!r}")
    for name in _FIELDS:
        if name not in metadata:
            raise ValueError(f"its header has no {name}")
    return read_config(json.loads(metadata["config"])), metadata


def _about(metadata: Mapping[str, str]) -> About:
    values = json.loads(metadata["about"])
    results = {str(name): float(value) for name, value in values["results"].items()}
    return About(str(values["data"]), str(values["licence"]), str(values["command"]), results)


def _check_size(parameters: int) -> None:
    """Raises ValueError if a file would have, or has, too many parameters."""
    if parameters > LARGEST_MODEL:
        raise ValueError(f"the model has {parameters} parameters; a file of weights has at most {LARGEST_MODEL}")


def _shapes(path: Path, config: RunConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each array. It must be that of the configuration's stage, the arrays'
    types must be known, and there must not be too many numbers."""
    wanted = {name: tuple(leaf.shape) for name, leaf in flatten_dict(config.build().shapes(), sep="/").items()}
    shapes = {}
    with safetensors.safe_open(path, framework="numpy") as file:
        for name in file.keys():
            part = file.get_slice(name)
            if part.get_dtype() not in _DTYPES:
                raise ValueError(f"{name} is of the type {part.get_dtype()}; it must be one of {', '.join(_DTYPES)}")
            shapes[name] = tuple(part.get_shape())
    for name in sorted(wanted.keys() | shapes.keys()):
        shape = shapes.get(name, "missing")
        if shape != wanted.get(name, "unknown"):
            raise ValueError(f"{name} is {shape}; its configuration needs {wanted.get(name, 'none of that name')}")
    _check_size(sum(map(math.prod, shapes.values())))
    return shapes
