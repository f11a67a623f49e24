"""From pictures to numbers, with a feature network that only averages colours."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax.evaluation.distances import Moments, frechet_distance, precision_recall
from dct_jax.evaluation.features import FeatureNetwork
from dct_jax.evaluation.reference import statistics
from dct_jax.evaluation.sample_metrics import Measure, SampleMetrics, compare, compare_statistics, table
from dct_jax.storage.caches import cache_folder


class CountingNetwork(FeatureNetwork):
    """Counts the pictures that it has been shown."""

    shown = 0

    def extract(self, images: Any, batch_size: int = 50) -> Any:
        for batch in super().extract(images, batch_size):
            type(self).shown += len(batch["pool"])
            yield batch


def halves(image: np.ndarray) -> np.ndarray:
    """The mean colours of the upper and the lower half, float32 [2, 1, 3]."""
    middle = len(image) // 2
    return np.stack([part.mean(axis=(0, 1), dtype=np.float32) for part in (image[:middle], image[middle:])])[:, None]


def apply(variables: Any, batch: Any) -> dict[str, Any]:
    rows = batch.reshape(len(batch), 6) * variables
    return {"pool": rows[:, :4], "spatial": rows[:, 1:]}


@pytest.fixture
def network() -> CountingNetwork:
    CountingNetwork.shown = 0
    return CountingNetwork(
        name="halves",
        fingerprint="abcdefghij",
        dimensions={"pool": 4, "spatial": 5},
        distances={"pool": "FID", "spatial": "sFID"},
        prepare=halves,
        apply=apply,
        variables=np.float32(0.1),
        notes=("a note of the network's",),
    )


def pictures(seed: int, count: int, centre: float = 128) -> list[np.ndarray]:
    """Of two colours and any size."""
    rng = np.random.default_rng(seed)
    colours = np.clip(rng.normal(centre, 30, (count, 2, 1, 3)), 0, 255).astype(np.uint8)
    return [pair.repeat(rng.integers(1, 4), axis=0).repeat(rng.integers(1, 5), axis=1) for pair in colours]


def vectors(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    rows = np.stack([halves(image).reshape(6) * np.float32(0.1) for image in images])
    return {"pool": rows[:, :4], "spatial": rows[:, 1:]}


def test_headlines_are_of_all_pictures(network: CountingNetwork) -> None:
    real, fake = pictures(0, 90), pictures(1, 40, centre=140)
    metrics = compare(network, real, fake, batch_size=16)
    a, b = vectors(real), vectors(fake)
    values = {m.name: m.value for m in metrics.measures}
    for feature, name in network.distances.items():
        assert values[name] == pytest.approx(frechet_distance(Moments.of(a[feature]), Moments.of(b[feature])), rel=1e-4)
    assert (metrics.real, metrics.fake, metrics.floor_count, metrics.floor_reference) == (90, 40, 40, 50)
    assert (metrics.neighbour_count, metrics.neighbour_floor) == (40, 40)
    assert network.shown == 130
    fewer = compare(network, real[:40], fake)  # as many of both, so that there is no choice
    shares = {m.name: m.value for m in fewer.measures if m.name in ("precision", "recall")}
    assert shares == precision_recall(a["pool"][:40], b["pool"])._asdict()
    assert (fewer.floor_count, fewer.floor_reference, fewer.neighbour_count, fewer.neighbour_floor) == (20, 20, 40, 20)


def test_the_floor_is_what_real_pictures_get(network: CountingNetwork) -> None:
    """Fakes of the reals' distribution are at the floor, others above it. Moments of the rest are
    exact, though only features of some pictures are kept."""
    real = pictures(0, 600)
    alike, unlike = (compare(network, real, pictures(1, 200, centre), keep=250) for centre in (128, 150))
    for near, far in zip(alike.measures[:2], unlike.measures[:2]):
        assert near.floor == far.floor
        assert 0 < near.floor < 2
        assert near.matched < 3 * near.floor
        assert far.matched > 5 * far.floor
    precision = alike.measures[2]
    assert abs(precision.matched - precision.floor) < 0.1
    assert alike.floor_count == 200
    assert alike.neighbour_floor == 125
    again, other = (compare(network, real, pictures(1, 200), keep=250, seed=seed) for seed in (0, 1))
    assert again == alike
    assert other.measures[0].floor != alike.measures[0].floor
    assert other.measures[0].value == alike.measures[0].value


def test_reals_sorted_by_class_have_a_fair_floor(network: CountingNetwork) -> None:
    real = pictures(0, 300, centre=60) + pictures(1, 300, centre=200)
    metrics = compare(network, real, real[::4], keep=100)
    assert metrics.measures[0].floor < 0.05 * np.trace(Moments.of(vectors(real)["pool"]).covariance)


def test_a_cache_saves_the_network_from_known_pictures(network: CountingNetwork, tmp_path: Path) -> None:
    real, fake = pictures(0, 30), pictures(1, 20)
    first = compare(network, real, fake, cache=tmp_path / "cache")
    assert network.shown == 50
    assert compare(network, real, fake, cache=tmp_path / "cache") == first
    assert network.shown == 70  # the fakes
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert compare(network, real, fake) == first


@pytest.mark.parametrize("change", ["pixel", "order", "number", "shape", "network", "keep"])
def test_a_cache_is_only_of_the_same_content(change: str, network: CountingNetwork, tmp_path: Path) -> None:
    real = pictures(0, 30)
    statistics(network, real, 20, cache=tmp_path)
    keep = 20
    if change == "pixel":
        real[7] = real[7] ^ np.uint8(1)
    elif change == "order":
        real[3], real[4] = real[4], real[3]
    elif change == "number":
        real = real[:-1]
    elif change == "shape":
        real[5] = np.ascontiguousarray(real[5].repeat(2, axis=1)).reshape(-1, real[5].shape[1], 3)
    elif change == "network":
        network = dataclasses.replace(network, fingerprint="other")
    else:
        keep = 10
    assert network.shown == 30
    statistics(network, real, keep, cache=tmp_path)
    assert network.shown == 30 + len(real)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle", "shape", "nan"])
def test_a_damaged_cache_is_computed_again(
    damage: str, network: CountingNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = pictures(0, 30)
    first = statistics(network, real, 20, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    if damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "flipped":
        path.write_bytes(data[:300] + bytes([data[300] ^ 4]) + data[301:])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        wrong = {"pickle": np.array([None] * 4), "shape": np.zeros(1 << 20), "nan": np.full(4, np.nan)}[damage]
        np.savez(path, **arrays | {"pool_mean": wrong})
    with caplog.at_level(logging.WARNING):
        again = statistics(network, real, 20, cache=tmp_path)
    assert "is damaged" in caplog.text
    assert network.shown == 60
    np.testing.assert_array_equal(again.moments["pool"].scatter, first.moments["pool"].scatter)
    assert list(tmp_path.iterdir()) == [path]
    statistics(network, real, 20, cache=tmp_path)
    assert network.shown == 60  # it has been replaced by a good one


def test_a_cache_that_cannot_be_written_loses_nothing(
    network: CountingNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    result = statistics(network, pictures(0, 10), 20, cache=tmp_path / "file")
    assert result.count == 10
    assert "the statistics are not kept" in caplog.text


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DCT_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "dct_jax"


def test_batches_do_not_change_statistics(network: CountingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dct_jax.evaluation.reference._ROWS", 10)
    real = pictures(0, 47)
    small, large = (statistics(network, real, 13, batch_size) for batch_size in (4, 50))
    for name in network.dimensions:
        assert small.moments[name].count == 47
        np.testing.assert_allclose(small.moments[name].covariance, large.moments[name].covariance, rtol=1e-5)
        np.testing.assert_allclose(small.kept[name], large.kept[name], rtol=1e-6)
        assert small.kept[name].shape == (13, network.dimensions[name])
    every = vectors(real)["pool"].round(3).tolist()
    places = [every.index(row) for row in small.kept["pool"].round(3).tolist()]
    assert places == sorted(places)
    assert max(places) > 30


def test_few_pictures_are_noted_or_refused(network: CountingNetwork) -> None:
    metrics = compare(network, pictures(0, 9), pictures(1, 5), k=1, keep=8)
    assert metrics.notes[0] == "a note of the network's"
    assert any(note.startswith("FID: 4 pictures are fewer than its 4 features need (5)") for note in metrics.notes)
    kept = compare(network, pictures(0, 90), pictures(1, 40), keep=30)
    assert "the floor is of 30 pictures, as features of no more are kept; that of 40 is lower" in kept.notes
    assert len(kept.notes) == 2
    with pytest.raises(ValueError, match="there are 7 real pictures; with k = 3 there must be at least 8"):
        compare(network, pictures(0, 7), pictures(1, 5))
    with pytest.raises(ValueError, match="there are 3 fake pictures; with k = 3 there must be at least 4"):
        compare(network, pictures(0, 8), pictures(1, 3))
    with pytest.raises(ValueError, match=r"k is 3 and keep 7; .* keep 8 or more"):
        compare(network, pictures(0, 8), pictures(1, 5), keep=7)


def test_few_crops_of_fewer_pictures_are_compared(network: CountingNetwork) -> None:
    """No side of the floor had the k + 1 crops that it needs without a part of some picture."""
    real = statistics(network, pictures(0, 9), 9, owners=np.arange(9) % 3)
    metrics = compare_statistics(network, real, statistics(network, pictures(1, 50), 50))
    assert (metrics.floor_count, metrics.neighbour_floor) == (4, 4)


def test_a_result_becomes_json_and_a_table() -> None:
    measures = Measure("FID", 12.3456, 14.5, 2.25), Measure("precision", 0.5, 0.25, 0.75)
    metrics = SampleMetrics("inception", "0123456789", 100, 50, 100, 50, 50, 3, 50, 50, measures, ("mind the gap",))
    read = json.loads(json.dumps(metrics.to_dict()))
    assert read["measures"]["FID"] == {"value": 12.3456, "matched": 14.5, "floor": 2.25}
    assert read["real"] == 100
    assert read["notes"] == ["mind the gap"]
    lines = table(metrics).splitlines()
    assert lines[-4:-1] == [
        "            value  matched   floor",
        "FID        12.346   14.500   2.250",
        "precision  0.5000   0.2500  0.7500",
    ]
    assert lines[-1] == "note: mind the gap"
    assert "50 samples against 100 pictures" in lines[0]
