"""The configuration of a prior, and the autoencoder's inside it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dct_jax import systems
from dct_jax.codes.config import CodePriorConfig, CodesConfig
from dct_jax.config import DataConfig, changed_fields, with_fields
from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.training.stage import Trained
from tests.codes.toys import KINDS, SIDE, prior_config, vqgan_config, vqvae_config, with_autoencoder
from tests.dq.toys import dqvae_config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [None, vqvae_config(), vqgan_config()], ids=["pixels", "VQ-VAE", "VQ-GAN"])
def test_a_configuration_survives_json(kind: str, inside: Any) -> None:
    config = prior_config(kind, classes=2)
    config = with_autoencoder(config, inside) if inside else config
    values = json.loads(json.dumps(config.to_dict()))
    read = systems.read_config(values)
    assert type(read) is type(config) and read == config and hash(read) == hash(config)
    assert isinstance(read, CodePriorConfig) and type(read.autoencoder) is type(inside)
    assert (read.num_codes, read.downsampling, read.grid) == ((11, 2, (4, 4)) if inside else (256, 1, (8, 8)))


@pytest.mark.parametrize("inside", [{}, [], "VQ-VAE", {"system": "DCTransformer"}, {"system": "VQ-VAE"}, {"system": "SUNDAE"}])
def test_an_autoencoder_that_is_none_is_refused(inside: Any) -> None:
    values = prior_config("window").to_dict() | {"autoencoder": inside}
    with pytest.raises(ValueError, match=r"^the configuration's (autoencoder is|field .* is missing)"):
        systems.read_config(values)


def trained(config: Any) -> Trained:
    """A model without variables."""
    return Trained(config, {}, ())


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_of_whole_grids_refuses_a_dq_vae(kind: str) -> None:
    """Its configuration derives from that of a VQ-GAN, whose run is taken."""
    config = replace(prior_config(kind), codes=CodesConfig(run="runs/a"), data=DataConfig(image_size=(SIDE, SIDE)))
    message = f"a {config.system} needs a VQ-VAE or a VQ-GAN"
    with pytest.raises(ValueError, match=rf"^codes\.run is runs/a, a run of the system DQ-VAE; {message}$"):
        config.complete(lambda run: trained(dqvae_config()))
    with pytest.raises(ValueError, match=f"^autoencoder is a DQ-VAE; {message}$"):
        with_autoencoder(config, dqvae_config())
    for inside in (vqvae_config(), vqgan_config()):
        assert config.complete(lambda run, inside=inside: trained(inside))[0].autoencoder == inside


def test_a_dq_transformer_takes_a_dq_vae_alone() -> None:
    config = DQTransformerConfig(data=DataConfig(image_size=(SIDE, SIDE)), codes=CodesConfig(run="runs/a"))
    message = "a DQ-Transformer needs a DQ-VAE"
    for inside in (vqvae_config(), vqgan_config()):
        with pytest.raises(ValueError, match=rf"^codes\.run is runs/a, a run of the system {inside.system}; {message}$"):
            config.complete(lambda run, inside=inside: trained(inside))
        with pytest.raises(ValueError, match=f"^autoencoder is a {inside.system}; {message}$"):
            with_autoencoder(config, inside)
    fitting = dqvae_config(image_size=(SIDE, SIDE))
    assert config.complete(lambda run: trained(fitting))[0].autoencoder == fitting


def test_fields_by_name_are_the_priors_own() -> None:
    """The autoencoder's configuration has fields of these names, too."""
    config = with_autoencoder(prior_config("window"), vqvae_config())
    changed = with_fields(config, {"seed": 7, "width": 32, "heads": 4, "run": "other", "batch_size": 8})
    assert (changed.seed, changed.model.width, changed.codes.run, changed.training.batch_size) == (7, 32, "other", 8)
    assert changed.autoencoder == config.autoencoder
    with pytest.raises(ValueError, match="the configuration has no field quantizer"):
        with_fields(config, {"quantizer": None})


def test_what_may_not_change_when_a_run_goes_on() -> None:
    pixels = prior_config("window")
    inside = with_autoencoder(pixels, vqvae_config())
    assert changed_fields(pixels, pixels) == changed_fields(inside, replace(inside, codes=CodesConfig(run="moved"))) == []
    assert changed_fields(pixels, inside) == ["autoencoder None -> VQ-VAE"]
    assert changed_fields(inside, pixels) == ["autoencoder VQ-VAE -> None"]
    assert changed_fields(inside, with_autoencoder(pixels, vqgan_config())) == ["autoencoder VQ-VAE -> VQ-GAN"]
    other = replace(vqvae_config(), quantizer=replace(vqvae_config().quantizer, dim=8))
    assert changed_fields(inside, with_autoencoder(pixels, other)) == ["autoencoder.quantizer.dim 4 -> 8"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("room", "name", "value", "message"),
    [
        ("data", "fit", "whole", "data.fit is whole; a .* is trained on crops of one size: crop"),
        ("data", "own_coefficients", True, "data.own_coefficients is on; a .* sees pixels: turn it off"),
        ("data", "image_size", (8, 7), r"data.image_size is \(8, 7\); 2 must divide both sides, unless the autoencoder's"),
        ("training", "label_dropout", 0.1, "training.label_dropout is 0.1; it must be 0 for a"),
        ("codes", "num_classes", -1, "codes.num_classes is -1; it must be from 0 to 2"),
    ],
)
def test_settings_that_no_prior_has_are_refused(kind: str, room: str, name: str, value: Any, message: str) -> None:
    config = with_autoencoder(prior_config(kind), vqvae_config())
    with pytest.raises(ValueError, match=message):
        replace(config, **{room: replace(getattr(config, room), **{name: value})})


def test_an_autoencoder_that_pads_takes_any_size() -> None:
    padding = replace(vqvae_config(), model=replace(vqvae_config().model, sides="pad"))
    config = replace(with_autoencoder(prior_config("window"), padding), data=DataConfig(image_size=(7, 5)))
    assert config.grid == (4, 3)


def test_a_file_of_codes_gives_no_pictures_to_compare_samples_with() -> None:
    with pytest.raises(
        ValueError, match=r"training.samples is 4; samples are compared with pictures, and data.source has codes"
    ):
        prior_config("window", "codes:somewhere", samples=4)
