"""Crops of one picture are on one side of a floor."""

from pathlib import Path

import numpy as np
import pytest

from dct_jax.data.pictures import SeenPictures
from dct_jax.data.sources import open_source
from dct_jax.evaluation.crops import count_whole, gather, is_divided, owners_of
from dct_jax.evaluation.features import FeatureNetwork
from dct_jax.evaluation.reference import statistics
from dct_jax.evaluation.sample_metrics import compare_statistics, table
from dct_jax.tables import say_pictures
from dct_jax.vq.findings import compare_features
from tests.toys import mean_colours, tiny_config

CROPS, PICTURES = 12, 20
OWNERS = np.arange(CROPS * PICTURES) % PICTURES


@pytest.fixture
def network() -> FeatureNetwork:
    return mean_colours(0.1)


def crops(seed: int) -> np.ndarray:
    """Of PICTURES of one colour each, nearly: uint8 [N, 1, 1, 3], a picture's at even distances."""
    rng = np.random.default_rng(seed)
    colours = rng.normal(128, 30, (PICTURES, 3))
    return np.clip(colours[OWNERS] + rng.normal(0, 2, (len(OWNERS), 3)), 0, 255).astype(np.uint8)[:, None, None]


def test_crops_are_gathered_where_the_first_one_stands() -> None:
    owners = np.array([5, 3, 5, 9, 3, 5])
    order = np.array([4, 0, 3, 5, 1, 2])  # of the owners 3 5 9 5 3 5
    gathered = gather(order, owners)
    assert gathered.tolist() == [4, 1, 0, 5, 2, 3]
    assert [count_whole(owners[gathered], most) for most in range(7)] == [0, 1, 2, 2, 2, 5, 6]
    np.testing.assert_array_equal(gather(order, np.arange(6)), order)  # what has no crops is left as it is
    assert [count_whole(np.arange(4), most) for most in range(5)] == [0, 1, 2, 3, 4]
    assert (say_pictures(6, 6), say_pictures(6, 3, "samples")) == ("6 pictures", "6 crops of 3 samples")


def test_seen_pictures_know_which_picture_they_are_of() -> None:
    config = tiny_config()
    source = open_source("landscapes")
    few, many = (SeenPictures(source, config, num, repeat=True) for num in (9, len(source) + 5))
    assert len(set(owners_of(few))) == 9
    assert owners_of(many).tolist() == [*range(len(source)), *range(5)]
    assert owners_of([few[0], few[1]]).tolist() == [0, 1]


def test_a_floor_is_of_other_pictures(network: FeatureNetwork) -> None:
    """Crops once lay on both sides: the floor of 2,000 crops of 179 photographs was a third of what
    as many other photographs have."""
    real, other = crops(0), crops(1)
    with_owners = statistics(network, list(real), 1000, owners=OWNERS)
    without = statistics(network, list(real), 1000)
    fake = statistics(network, list(other), 1000, owners=OWNERS)
    found, wrong = compare_statistics(network, with_owners, fake), compare_statistics(network, without, fake)
    (floor, precision, recall), (too_low, too_high, _) = found.measures, wrong.measures
    assert floor.floor > 5 * too_low.floor and floor.value == too_low.value
    assert floor.floor / 4 < floor.matched < 4 * floor.floor  # other pictures of the same kind
    assert precision.floor < 0.5 * too_high.floor and recall.floor < 0.5
    assert (found.real, found.different, found.floor_count % CROPS, found.neighbour_floor % CROPS) == (240, 20, 0, 0)
    assert found.floor_count == 120
    assert "against 240 crops of 20 pictures" in table(found)
    assert any("a floor is of crops of some against crops of others" in note for note in found.notes)
    assert "crops" not in table(wrong)
    few = compare_statistics(network, with_owners, statistics(network, list(other[:100]), 1000))
    assert few.floor_count == 96  # whole pictures; a note once said that features of no more were kept
    assert not any("kept" in note for note in few.notes)


def test_all_crops_of_a_picture_are_kept_or_none(network: FeatureNetwork) -> None:
    kept = statistics(network, list(crops(0)), 100, owners=OWNERS)
    assert len(kept.owners) == 96 and set(np.bincount(kept.owners)) == {0, CROPS}
    assert (kept.count, kept.different, kept.moments["pool"].count) == (240, 20, 240)


def test_the_half_of_a_floor_of_reconstructions_has_whole_pictures(network: FeatureNetwork) -> None:
    pictures = crops(0)
    right, (note,) = compare_features(network, pictures, pictures, 50, OWNERS)
    wrong, _ = compare_features(network, pictures, pictures, 50, np.arange(len(pictures)))
    assert "floor: of 120 originals" in note and right["FD_floor"] > 5 * wrong["FD_floor"]
    assert right["FD_floor"] == pytest.approx(right["FD_matched"])


def test_crops_of_one_picture_on_both_sides_are_told(network: FeatureNetwork) -> None:
    """A floor of crops of one held-out picture was told as if it were of several pictures."""
    pictures, owners = crops(0)[:20], np.zeros(20, int)
    assert [is_divided(np.array([1, 1, 2]), place) for place in range(4)] == [False, True, False, False]
    found = compare_features(network, pictures, pictures, 50, owners)
    assert found.notes[-1].startswith("crops of one picture are among these 10 and among the others")
    real, fake = (statistics(network, list(pictures), 1000, owners=one) for one in (owners, np.arange(20)))
    said = "crops of one picture are on both sides of a floor, so that one is too low"
    assert said in compare_statistics(network, real, fake).notes
    assert said not in compare_statistics(network, fake, fake).notes


def test_a_cache_tells_other_owners_apart(network: FeatureNetwork, tmp_path: Path) -> None:
    """Other owners keep the features of other crops: by turns and one after the other."""
    pictures = crops(0)
    for owners in (OWNERS, np.arange(len(OWNERS)) // CROPS):
        for cache in (None, tmp_path, tmp_path):
            found = statistics(network, list(pictures), 100, 50, cache, owners=owners)
            is_kept = np.isin(owners, found.owners)
            np.testing.assert_array_equal(found.owners, owners[is_kept])
            np.testing.assert_allclose(found.kept["pool"], 0.1 * pictures[is_kept, 0, 0], rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2
