"""The script that asks what FD-AlexNet charges for colours."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.distances import Moments
from tests.toys import mean_colours, tiny_config


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "experiments")
    return importlib.import_module("study_distances")


def test_rulers_see_colours_grey_and_the_own_size(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    doubling = dataclasses.replace(mean_colours(), prepare=lambda picture: picture.repeat(2, 0).repeat(2, 1).astype(np.float32))
    monkeypatch.setattr(script, "feature_network", lambda name: doubling)
    red = np.tile(np.array([200, 50, 50], np.uint8), (4, 4, 1))  # [4, 4, 3]
    seen = {name: network.prepare(red) for name, network in script.rulers().items()}
    assert {name: one.shape[0] for name, one in seen.items()} == {"FD-AlexNet": 8, "in grey": 8, "not enlarged": 4}
    assert seen["FD-AlexNet"][0, 0].tolist() == seen["not enlarged"][0, 0].tolist() == [200, 50, 50]
    assert np.abs(seen["in grey"] - (0.299 * 200 + 0.701 * 50)).max() <= 1  # ITU-R BT.601


def test_a_codec_is_also_tried_with_all_colours(script: ModuleType) -> None:
    """4:2:0 alone loses colours that change from pixel to pixel."""
    config = dataclasses.replace(tiny_config(), codec=DCTCodec(quality=100))
    originals = np.tile(np.array([[180, 100, 100], [100, 120, 180]], np.uint8), (1, 16, 8, 1))  # [1, 16, 16, 3]
    copies = dict(script.copies_of(TrainedModel(config, None, ((16, 16, 1),)), originals))
    losses = {name: np.abs(one.astype(int) - originals).mean() for name, one in copies.items()}
    assert losses["reconstructions"] > 10 > 2 > losses["reconstructions, 4:4:4"]
    other = SimpleNamespace(reconstruct=lambda picture: 255 - picture)
    assert [name for name, _ in script.copies_of(other, originals)] == ["reconstructions"]


def test_the_share_of_three_features(script: ModuleType) -> None:
    """Sets of equal covariance: their distance is that of the means, 9 + 4 + 4 + 1 + 1."""
    features = np.random.default_rng(0).normal(size=(100, 5))
    share = script.share_of_three(Moments.of(features), Moments.of(features + np.array([1, 3, -2, 1, 2])))
    assert share == pytest.approx(17 / 19)
