"""Inception's file of weights: where it is, and whether it has the network's arrays."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dct_jax.evaluation.features.safetensors import read_safetensors
from dct_jax.storage.torch_files import SEQUENCE_START, ZIP_START, read_torch

VARIABLE = "DCT_JAX_INCEPTION"
FILE = "pt_inception-2015-12-05-6726825d.pth"
_HASH = "6726825d"  # what the SHA-256 of that file begins with, as everywhere in PyTorch's hub
_CLASSES = 1008  # of the graph's last layer; torchvision's own network has 1000
_IGNORED = ("fc.", "AuxLogits.")
_TORCH_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def inception_file(path: Path | None = None) -> Path:
    """Returns `path`, or the path that DCT_JAX_INCEPTION names.

    Raises:
        ValueError: if there is neither; the message says where the file is found.
    """
    name = path or os.environ.get(VARIABLE)
    if not name:
        raise ValueError(
            f"FID needs Inception's weights: name the file {FILE} in {VARIABLE}; it is in the release fid_weights of"
            " github.com/mseitzer/pytorch-fid, and perhaps already in ~/.cache/torch/hub/checkpoints; or use --features alexnet"
        )
    return Path(os.path.expanduser(name))


def parse_weights(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file: PyTorch's, old or new, or safetensors.

    Raises:
        ValueError: if it is none of these, or damaged.
    """
    return read_torch(data) if data.startswith((ZIP_START, SEQUENCE_START)) else read_safetensors(data)


def inception_notes(data: bytes) -> tuple[str, ...]:
    """A line if the file is not, byte for byte, the usual one."""
    if hashlib.sha256(data).hexdigest().startswith(_HASH):
        return ()
    return (f"the weights are not byte for byte {FILE}; if their numbers differ too, no published FID can be compared",)


def inception_variables(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arrays under torchvision's names -> the variables of the Flax module.

    Args:
        arrays: name -> array; kernels are [out, in, height, width].
        shapes: a tree of the module's shapes.

    Returns:
        The tree with float32 arrays, and the arrays that it took, under their names in the file.

    Raises:
        ValueError: if an array is missing, has another shape, or has no place in the network.
    """
    classes = arrays["fc.weight"].shape[:1] if "fc.weight" in arrays else (_CLASSES,)
    if classes != (_CLASSES,):
        raise ValueError(
            f"fc.weight has {list(classes)} rows and not {_CLASSES}; take the weights of FID, not torchvision's own"
        )
    used: dict[str, np.ndarray] = {}

    def take(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        *modules, kind = (key.key for key in path[1:])
        name = ".".join((*modules, _TORCH_NAMES[kind]))
        wanted = leaf.shape if len(leaf.shape) < 4 else tuple(leaf.shape[axis] for axis in (3, 2, 0, 1))
        has = arrays[name].shape if name in arrays else None
        if has != wanted:
            raise ValueError(f"the array {name} is {'missing' if has is None else list(has)}; it must be {list(wanted)}")
        used[name] = arrays[name].astype(np.float32)
        return used[name] if len(wanted) < 4 else used[name].transpose(2, 3, 1, 0)

    variables = jax.tree_util.tree_map_with_path(take, shapes)
    for name in sorted(arrays.keys() - used.keys()):
        if not name.startswith(_IGNORED) and not name.endswith(".num_batches_tracked"):
            raise ValueError(f"the array {name[:80]} has no place in the network; it must have torchvision's names")
    return variables, used
