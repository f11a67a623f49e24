"""The script that takes a representation's loss apart."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec
from dct_jax.dct.trained_model import TrainedModel
from tests.toys import tiny_config


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "experiments")
    return importlib.import_module("distance_parts")


def _components(pictures: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).convert("YCbCr")) for one in pictures]).astype(int)  # [N, H, W, 3]


def _gentle(rng: np.random.Generator, number: int) -> np.ndarray:
    """Pictures without strong colours: all pairs of their brightness and colours are in RGB."""
    return rng.integers(100, 156, (number, 16, 16, 3), np.uint8)


def test_brightness_and_colors_come_from_their_own_pictures(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    one, other = _gentle(rng, 2), _gentle(rng, 2)
    joined = _components(script.with_colors(one, other))
    assert np.abs(joined[..., 0] - _components(one)[..., 0]).max() <= 1  # of rounding
    assert np.abs(joined[..., 1:] - _components(other)[..., 1:]).max() <= 2


def test_each_part_loses_its_own(script: ModuleType) -> None:
    originals = _gentle(np.random.default_rng(0), 2)
    parts = dict(script.parts_of(SimpleNamespace(reconstruct=lambda picture: 255 - picture), originals))
    assert np.array_equal(parts.pop("all"), 255 - originals)
    losses = {part: np.abs(_components(copies) - _components(originals)).mean(axis=(0, 1, 2)) for part, copies in parts.items()}
    assert list(losses) == ["brightness", "colors"]
    assert losses["brightness"][0] > 5 > 1.5 > losses["brightness"][1:].max()  # rounding makes 1 of it
    assert losses["colors"][1:].min() > 5 > 1.5 > losses["colors"][0]


def test_a_codec_is_also_tried_without_subsampling(script: ModuleType) -> None:
    """Colours that change from pixel to pixel are lost by 4:2:0 alone."""
    model = TrainedModel(dataclasses.replace(tiny_config(), codec=DCTCodec(quality=100)), None, ((16, 16, 1),))
    originals = np.tile(np.array([[180, 100, 100], [100, 120, 180]], np.uint8), (1, 16, 8, 1))  # [1, 16, 16, 3]
    parts = dict(script.parts_of(model, originals))
    losses = {part: np.abs(copies.astype(int) - originals).mean() for part, copies in parts.items()}
    assert losses["all"] > 10 > 2 > losses["all, with 4:4:4"]
