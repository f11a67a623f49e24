"""The weights of a Taming checkpoint under our names.

Theirs say the path of a module and `weight` or `bias`; kernels of convolutions are [O, I, h, w].
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dct_jax.storage.torch_files import Tensor, open_torch
from dct_jax.vq.gan.config import VQGANConfig

FIRST_STAGE = "first_stage_model."
"""The names of an autoencoder's weights begin so in a file that has other models besides."""

_LEFT_ASIDE = ("loss.", "model_ema.")
"""Names of what training has beside an autoencoder begin so: discriminator, LPIPS and decayed means
of the weights."""

_PLACES: tuple[tuple[str, str], ...] = (
    ("encoder/from_pixels", "encoder.conv_in"),
    ("encoder/to_latent", "encoder.conv_out"),
    ("encoder/to_vectors", "quant_conv"),
    ("decoder/from_vectors", "post_quant_conv"),
    ("decoder/from_latent", "decoder.conv_in"),
    ("to_pixels", "decoder.conv_out"),
    ("quantizer/table", "quantize.embedding.weight"),
    (r"(encoder|decoder)/norm", r"\1.norm_out"),
    (r"(encoder|decoder)/middle/block(\d+)", r"\1.mid.block_\2"),
    (r"(encoder|decoder)/middle/attention", r"\1.mid.attn_1"),
    (r"encoder/level(\d+)/block(\d+)", r"encoder.down.\1.block.\2"),
    (r"encoder/level(\d+)/attention(\d+)", r"encoder.down.\1.attn.\2"),
    (r"encoder/halve(\d+)", r"encoder.down.\1.downsample"),
    (r"decoder/level(\d+)/block(\d+)", r"decoder.up.\1.block.\2"),
    (r"decoder/level(\d+)/attention(\d+)", r"decoder.up.\1.attn.\2"),
    (r"decoder/level(\d+)/double", r"decoder.up.\1.upsample"),
)
"""What our paths begin with -> what stands there in theirs."""

_LAYERS = {"shortcut": "nin_shortcut", "out": "proj_out", "kernel": "weight", "scale": "weight"}
"""Parts of the rest of a path that have another name in theirs."""


class Imported(NamedTuple):
    """What a checkpoint has.

    Attributes:
        variables: of the network, float32.
        left_aside: how many other things are in its dictionary of weights, by the first part of
            their names.
    """

    variables: dict[str, Any]
    left_aside: dict[str, int]


def read_weights(path: Path, config: VQGANConfig) -> Imported:
    """Reads the weights of a network out of a checkpoint.

    Args:
        path: of a file of PyTorch's: a dictionary of weights, or one that has it as "state_dict".
        config: of the network.

    Raises:
        ValueError: if the file cannot be read, or has not exactly the network's weights; the
            message names it, and the weight.
    """
    with open_torch(path) as file:
        weights = file.content.get("state_dict", file.content) if isinstance(file.content, dict) else None
        if not isinstance(weights, dict):
            raise ValueError("it has no dictionary of weights")
        own, left_aside = split_names({name: weight for name, weight in weights.items() if isinstance(name, str)})
        return Imported({"params": import_params(own, config, file.array)}, left_aside)


def split_names(weights: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Takes the autoencoder's weights out of a dictionary of weights.

    Returns:
        Them, without FIRST_STAGE, and how many others there are, by the first part of their names.
    """
    prefix = FIRST_STAGE if any(name.startswith(FIRST_STAGE) for name in weights) else ""
    own: dict[str, Any] = {}
    others: Counter[str] = Counter()
    for name, weight in weights.items():
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and not inner.startswith(_LEFT_ASIDE):
            own[inner] = weight
        else:
            others[inner.partition(".")[0]] += 1
    return own, dict(others)


def import_params(weights: Mapping[str, Any], config: VQGANConfig, read: Callable[[Tensor], np.ndarray]) -> dict[str, Any]:
    """Makes the parameters of a network.

    Args:
        weights: what a checkpoint has under the names of an autoencoder.
        config: of the network.
        read: returns the numbers of a weight.

    Raises:
        ValueError: if a weight is missing, has another shape, is not finite, or has no place in the
            network.
    """
    shapes = flatten_dict(config.build().shapes()["params"], sep="/")
    paths = {torch_name(path): path for path in shapes}
    for names, what in (
        (paths.keys() - weights.keys(), "missing"),
        (weights.keys() - paths.keys(), "in no place of the network"),
    ):
        if names:
            more = f", and {len(names) - 1} more are" if len(names) > 1 else ""
            raise ValueError(f"the weight {min(names)[:80]} is {what}{more}; is this the configuration of the checkpoint?")
    for name, path in paths.items():
        weight, wanted = weights[name], torch_shape(path, shapes[path].shape)
        if not isinstance(weight, Tensor) or weight.shape != wanted:
            has = list(weight.shape) if isinstance(weight, Tensor) else "no array"
            raise ValueError(f"the weight {name} is {has}; the configuration needs {list(wanted)}")
    params = {}
    for name, path in paths.items():
        with np.errstate(over="ignore"):
            array = read(weights[name]).astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"the weight {name} has numbers that are not finite")
        params[path] = (array.transpose(2, 3, 1, 0) if array.ndim == 4 else array).reshape(shapes[path].shape)
    return dict(unflatten_dict(params, sep="/"))


def torch_name(path: str) -> str:
    """Returns the name in a checkpoint of what is at a path of our parameters, such as
    "encoder/level0/block1/conv1/kernel"."""
    # Ours is named by the level that it leads to, theirs by the one that it leaves.
    path = re.sub(r"^decoder/double(\d+)", lambda found: f"decoder/level{int(found[1]) + 1}/double", path)
    for ours, theirs in _PLACES:
        if found := re.match(ours, path):
            rest = [_LAYERS.get(part, part) for part in path[found.end() :].split("/") if part]
            return ".".join([found.expand(theirs), *rest])
    raise ValueError(f"{path} has no name in a checkpoint of Taming Transformers")


def torch_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in a checkpoint of our array of a path. What is dense here is a convolution
    of 1 x 1 there."""
    return (*shape[:-3:-1], *(shape[:-2] or (1, 1))) if path.endswith("/kernel") else shape
