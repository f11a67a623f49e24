"""Thresholds: percentiles of a data set's patches, and their file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax.config import DataConfig
from dct_jax.data.crops import held_out_pictures, random_crop
from dct_jax.data.pixels import pixels
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dq.thresholds import (
    Percentiles,
    measure_percentiles,
    percentiles,
    read_percentiles,
    shares_of,
    thresholds_of,
)
from tests.dq.test_entropy import formula, varied_noise
from tests.dq.toys import entropies_of

NUMBER = 20
PICTURES = 10_000
"""Of the training part of Fashion-MNIST."""


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Entropies of 5,000 patches of noise of varied contrast; few are equal."""
    patches = varied_noise(np.random.default_rng(0), 5_000, 8)
    return entropies_of(patches, 8).reshape(-1)


def grains_of(entropies: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The rule of the router: how many thresholds an entropy exceeds."""
    return (entropies[:, None] > thresholds).sum(1)


def test_percentiles_are_at_their_places() -> None:
    shuffled = np.random.default_rng(0).permutation(1_000).astype(np.float32)
    np.testing.assert_array_equal(percentiles(shuffled), 10 * np.arange(1, 100))
    np.testing.assert_array_equal(percentiles(np.array([[3.0, 1.0], [2.0, 0.0]])), np.arange(1, 100) // 25)  # floor(4 q / 100)
    with pytest.raises(ValueError, match="there are no patches"):
        percentiles(np.zeros(0))


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 0.29, 0.5, 0.505, 0.75, 0.99, 1.0])
def test_a_router_marks_its_share_of_patches(values: np.ndarray, ratio: float) -> None:
    found = thresholds_of(percentiles(values), (ratio,))
    assert found.shape == (1,) and found.dtype == np.float32
    share = np.mean(grains_of(values, found) == 1)
    assert abs(share - ratio) < 0.01 if ratio not in (0, 1) else share == ratio
    np.testing.assert_allclose(shares_of(percentiles(values), found), [1 - share, share], atol=0.0101)


@pytest.mark.parametrize("ratios", [(0.3, 0.3), (0.5, 0.25), (0.125, 0.005), (0.0, 0.4), (0.4, 0.0), (0.7, 0.3), (0.0, 1.0)])
def test_a_router_of_three_grains_marks_its_shares(values: np.ndarray, ratios: tuple[float, float]) -> None:
    found = thresholds_of(percentiles(values), ratios)
    assert found.shape == (2,) and found[0] <= found[1]
    shares = np.bincount(grains_of(values, found), minlength=3) / len(values)
    np.testing.assert_allclose(shares[1:], ratios, atol=0.01)
    np.testing.assert_allclose(shares_of(percentiles(values), found), shares, atol=0.0101)


def test_no_region_and_every_region() -> None:
    """Whatever the entropies are: also if all of them are equal."""
    same = np.zeros(99, np.float32)
    np.testing.assert_array_equal(thresholds_of(same, (0.0,)), [np.inf])
    np.testing.assert_array_equal(thresholds_of(same, (0.1, 0.9)), [-np.inf, 0])
    np.testing.assert_array_equal(thresholds_of(same, (0.0, 1.0)), [-np.inf, -np.inf])
    np.testing.assert_allclose(shares_of(same, np.array([-np.inf, np.inf])), [0, 1, 0])


def test_shares_of_different_entropies_are_exact() -> None:
    steps = np.arange(1, 100, dtype=np.float32)
    np.testing.assert_allclose(shares_of(steps, thresholds_of(steps, (0.25,))), [0.75, 0.25], atol=1e-12)
    np.testing.assert_allclose(shares_of(steps, thresholds_of(steps, (0.5, 0.01))), [0.49, 0.5, 0.01], atol=1e-12)


def test_they_are_those_of_the_pictures() -> None:
    """Against the formula, crop by crop; with sides that the patches do not divide, too."""
    source = open_source("landscapes")
    for size, crop in (((16, 24), (1.0, 1.0)), ((14, 23), (0.2, 0.4))):
        data = DataConfig(image_size=size, crop=crop)
        found = measure_percentiles(source, data, 8, 5, Skipped(5, most=0))
        places = held_out_pictures(len(source), 5)
        crops = np.stack([random_crop(pixels(source[i]), size, crop, 1, np.random.default_rng(i)) for i in places])
        whole = np.pad(crops, [(0, 0), (0, 16 - size[0]), (0, 24 - size[1]), (0, 0)], mode="edge")
        expected = formula(whole.astype(np.float64) / 127.5 - 1, 8)
        np.testing.assert_allclose(found.values, percentiles(expected), atol=3e-4)
        assert (found.side, found.size, found.source, found.pictures) == (8, size, "landscapes", 5)


def test_they_do_not_depend_on_how_many_pictures_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dct_jax.training import batches

    source, skipped = open_source("fashion", "test"), Skipped(NUMBER, most=0)
    data = DataConfig(image_size=(28, 28))
    expected = measure_percentiles(source, data, 4, NUMBER, skipped)
    monkeypatch.setattr(batches, "MOST_ROWS", 7)
    assert measure_percentiles(source, data, 4, NUMBER, skipped).to_json() == expected.to_json()
    assert expected.tied > 0.1  # the background


def made(**fields: Any) -> Percentiles:
    steps = np.linspace(0, 3.3, 99, dtype=np.float32)
    return replace(Percentiles(steps, 8, (64, 48), (0.5, 1.0), 1.5, "a", 12, 10, 0.25), **fields)


def test_a_file_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(made().to_json())
    found = read_percentiles(path)
    np.testing.assert_array_equal(found.values, made().values)
    names = ("side", "size", "crop", "enlarge", "source", "source_pictures", "pictures", "tied")
    assert [getattr(found, name) for name in names] == [8, (64, 48), (0.5, 1.0), 1.5, "a", 12, 10, 0.25]
    assert found.values.dtype == np.float32
    assert found.to_json() == made().to_json()
    text = json.loads(path.read_text())
    assert (text["range"], text["bins"], text["sigma"]) == ([-1, 1], 32, 0.01)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "format": (lambda v: v | {"format": "x"}, "its format is not"),
    "no object": (lambda v: [v], "its format is not"),
    "range": (lambda v: v | {"range": [0, 1]}, r"its range is \[0, 1\]; this program's is \[-1.0, 1.0\]"),
    "bins": (lambda v: v | {"bins": 64}, "its bins is 64; this program's is 32"),
    "sigma": (lambda v: v | {"sigma": 0.02}, "its sigma is 0.02; this program's is 0.01"),
    "missing": (lambda v: {k: x for k, x in v.items() if k != "sigma"}, "it does not say 'sigma'"),
    "no source": (lambda v: {k: x for k, x in v.items() if k != "source"}, "it does not say 'source'"),
    "source": (lambda v: v | {"source": 3}, "its source must be a name"),
    "tied": (lambda v: v | {"tied": 1.5}, "tied a share"),
    "side": (lambda v: v | {"side": 8.5}, "its side must be a whole number"),
    "pictures": (lambda v: v | {"pictures": True}, "its pictures must be a whole number"),
    "number": (lambda v: v | {"source_pictures": 0}, "its source_pictures must be a whole number from 1"),
    "enlarge": (lambda v: v | {"enlarge": 0.5}, "its enlarge must be a number from 1 on"),
    "crop": (lambda v: v | {"crop": [0.8, 0.5]}, "its crop must be two shares"),
    "one crop": (lambda v: v | {"crop": [0.8]}, "its crop must be two shares"),
    "no number": (lambda v: v | {"enlarge": "2"}, "its enlarge must be a number from 1 on"),
    "size": (lambda v: v | {"size": [8, -8]}, "its size is not the height and width"),
    "one size": (lambda v: v | {"size": [8]}, "its size is not the height and width"),
    "98": (lambda v: v | {"percentiles": v["percentiles"][1:]}, "must be 99 numbers"),
    "text": (lambda v: v | {"percentiles": ["0"] * 99}, "must be 99 numbers"),
    "nan": (lambda v: v | {"percentiles": [float("nan")] * 99}, "must be 99 numbers"),
    "infinite": (lambda v: v | {"percentiles": [*v["percentiles"][:98], float("inf")]}, "from 0 to ln 32"),
    "negative": (lambda v: v | {"percentiles": [-1.0, *v["percentiles"][1:]]}, "from 0 to ln 32"),
    "large": (lambda v: v | {"percentiles": [*v["percentiles"][:98], 10**400]}, "from 0 to ln 32"),
    "order": (lambda v: v | {"percentiles": v["percentiles"][::-1]}, "descend"),
    "length": (lambda v: v | {"more": "x" * 2**16}, "this file has more than 64 KiB, which is too much"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    change, message = DAMAGE[name]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(change(json.loads(made().to_json()))))
    with pytest.raises(ValueError, match=message) as refused:
        read_percentiles(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 60_000, b"\x00" * 100])
def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.json: ") as refused:
        read_percentiles(path)
    assert "\n" not in str(refused.value)
