"""The YAML files that describe a VQ-GAN of Taming Transformers or of latent diffusion."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dct_jax.config import DataConfig
from dct_jax.storage.files import read_limited
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import SMALLEST, ConvolutionsConfig, LossConfig, VQGANConfig

LARGEST_TEXT = 2**20
"""Bytes of a file; those of the original have some thousand."""

_MOST_NUMBERS = 64

_KINDS = ("VQModel", "VQModelInterface", "VQNoDiscModel")
"""Classes whose weights and outputs are those of a VQModel. Their modules differ between forks."""

_FIXED = {
    "double_z": (True, False),
    "in_channels": (None, 3),
    "out_ch": (None, 3),
    "resamp_with_conv": (True, True),
    "use_linear_attn": (False, False),
    "attn_type": ("vanilla", "vanilla"),
    "give_pre_end": (False, False),
    "tanh_out": (False, False),
}
"""Fields of ddconfig -> (what they are if they are left out, what they must be)."""


def read_config(path: Path, source: str) -> VQGANConfig:
    """Reads the configuration of a file.

    Args:
        path: of the file.
        source: of pictures for the run, as data.source of an experiment.

    Raises:
        ValueError: if it cannot be read, or describes an autoencoder that is none of ours; the
            message names it.
    """
    text = read_limited(path, LARGEST_TEXT)
    try:
        return make_config(parse_yaml(text), source)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML of numbers, texts, lists and dictionaries, without merge keys (<<), with which a few
    lines take memory without end."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("it has merge keys (<<); write their fields out")


def parse_yaml(text: bytes) -> Any:
    """Reads numbers, texts, lists and dictionaries.

    Raises:
        ValueError: if this is no YAML, or names anything else.
    """
    try:
        return yaml.load(text, _Loader)
    # A value that does not fit its tag (!!int "") ends in whatever error its constructor meets.
    except (yaml.YAMLError, RecursionError, OverflowError, TypeError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"this is no YAML of plain values ({reason})") from None


def make_config(values: Any, source: str) -> VQGANConfig:
    """Makes the configuration of a run from the values of a file: of its model, or of the first
    stage of its transformer or diffusion model.

    Raises:
        ValueError: if the package has no network that computes the same; the message names the
            field.
    """
    params = _params(values)
    sizes = _room(params, "ddconfig")
    for name, (default, only) in _FIXED.items():
        if (value := sizes.get(name, default)) != only:
            raise ValueError(f"ddconfig.{name} is {_show(value)}; only autoencoders in which it is {only} can be imported")
    resolution, multipliers = _number(sizes, "resolution"), _numbers(sizes, "ch_mult")
    attention, f = _numbers(sizes, "attn_resolutions"), 2 ** (len(multipliers) - 1)
    if resolution < 1 or resolution % f:
        raise ValueError(
            f"ddconfig.resolution is {resolution}; it must be a multiple of {f}, as there are {len(multipliers)} ch_mult"
        )
    return VQGANConfig(
        data=DataConfig(source=source, image_size=(resolution, resolution)),
        model=ConvolutionsConfig(
            channels=_number(sizes, "ch"),
            multipliers=multipliers,
            residual_blocks=_number(sizes, "num_res_blocks"),
            # Resolutions that no level has are without effect in the original, too.
            attention=tuple(2**i for i in range(len(multipliers)) if resolution // 2**i in attention),
            latent_channels=_number(sizes, "z_channels"),
        ),
        quantizer=QuantizerConfig(
            kind="gradient", codes=_number(params, "n_embed"), dim=_number(params, "embed_dim"), start="uniform"
        ),
        loss=_loss(resolution),
    )


def _loss(resolution: int) -> LossConfig:
    """Makes losses for further training: the default ones, or what fits smaller pictures."""
    loss = LossConfig()
    while loss.discriminator_layers > 1 and loss.smallest_patch > resolution:
        loss = replace(loss, discriminator_layers=loss.discriminator_layers - 1)
    return loss if resolution >= SMALLEST[loss.perceptual] else replace(loss, perceptual="none")


def _params(values: Any) -> dict[str, Any]:
    """Returns what an autoencoder of one of _KINDS is made of."""
    model = _room(values, "model")
    params = _room(model, "params")
    if "first_stage_config" in params:
        model = _room(params, "first_stage_config")
        params = _room(model, "params")
    target = model.get("target")
    if str(target).rpartition(".")[2] not in _KINDS:
        raise ValueError(
            f"its autoencoder is of the class {_show(target)}; only a VQModel, with a plain table, can be imported"
        )
    if params.get("remap") is not None:
        raise ValueError(f"remap is {_show(params['remap'])}; an autoencoder whose codes are remapped cannot be imported")
    return params


def _room(values: Any, name: str) -> dict[str, Any]:
    """Returns a dictionary within a dictionary."""
    room = values.get(name) if isinstance(values, dict) else None
    if not isinstance(room, dict):
        raise ValueError(f"it has no {name} with fields; it must be the configuration of a VQ-GAN, with model.params.ddconfig")
    return room


def _number(values: dict[str, Any], name: str) -> int:
    if type(value := values.get(name)) is not int:
        raise ValueError(f"{name} is {_show(value)}; it must be a whole number")
    return value


def _numbers(values: dict[str, Any], name: str) -> tuple[int, ...]:
    value = values.get(name)
    if not isinstance(value, list) or len(value) > _MOST_NUMBERS or any(type(number) is not int for number in value):
        raise ValueError(f"{name} is {_show(value)}; it must be a list of at most {_MOST_NUMBERS} whole numbers")
    return tuple(value)


def _show(value: Any) -> str:
    """Returns a value as it is written in YAML, cut off."""
    return (
        "missing" if value is None else str(value)[:80] if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    )
