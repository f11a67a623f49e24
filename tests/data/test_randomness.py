"""What is random in a batch: it depends on the seed and the place, is uniform, and held-out
pictures have little of it."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

from dct_jax.data.pipeline import read_held_out, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Record
from dct_jax.dct import reader
from dct_jax.dct.config import DCTConfig
from tests.toys import tiny_config

PICTURES, HEIGHT, WIDTH = 24, 24, 32


class Plain:
    """Pictures whose pixels say which one it is (red) and where they lie (green: column, blue:
    row)."""

    name, classes = "plain", ("a", "b", "c")

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> Record:
        rows, cols = np.mgrid[:HEIGHT, :WIDTH]
        image = np.stack([np.full((HEIGHT, WIDTH), index), cols, rows], axis=-1).astype(np.uint8)
        return Record(image, index % 3, f"picture {index}")


class Seen(NamedTuple):
    """What the pipeline made of places, [N] each."""

    picture: np.ndarray
    left: np.ndarray
    top: np.ndarray
    mirrored: np.ndarray
    chunk: np.ndarray
    label: np.ndarray


def config_of(seed: int, **data: object) -> DCTConfig:
    config = tiny_config(batch_size=PICTURES)
    settings = {"crop": (0.5, 0.5), "held_out_crops": PICTURES, "threads": 0} | data
    return dataclasses.replace(
        config,
        # Half of the largest crop is 12 x 12 pixels: crops are cut out, and not resized.
        data=dataclasses.replace(config.data, image_size=(12, 12), **settings),
        model=dataclasses.replace(config.model, num_classes=3, chunk_size=4, max_chunks=1000),
        training=dataclasses.replace(config.training, label_dropout=0.3),
        seed=seed,
    )


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The pixels that are encoded."""
    found: list[np.ndarray] = []
    original = reader.encode_all

    def encode_all(codec: object, images: list[np.ndarray]) -> object:
        found.extend(images)
        return original(codec, images)

    monkeypatch.setattr(reader, "encode_all", encode_all)
    return found


def places_of(images: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The picture, the left and upper edge, and whether it is mirrored, of each crop."""
    pixels = np.array(images).astype(int)  # [N, H, W, 3]
    mirrored = pixels[:, 0, 0, 1] > pixels[:, 0, -1, 1]
    return pixels[:, 0, 0, 0], pixels[..., 1].min(axis=(1, 2)), pixels[:, 0, 0, 2], mirrored


def seen(seed: int, epochs: int, images: list[np.ndarray]) -> Seen:
    images.clear()
    batches = training_batches(Plain(), config_of(seed), Skipped(PICTURES, 0.0))
    taken = [next(batches) for _ in range(epochs)]
    del images[epochs * PICTURES :]
    chunk, label = (np.concatenate([getattr(batch, name) for batch in taken]) for name in ("chunk_index", "label"))
    return Seen(*places_of(images), chunk, label)


def test_all_that_is_random_depends_on_the_seed(images: list[np.ndarray]) -> None:
    one, again, other = seen(1, 4, images), seen(1, 4, images), seen(2, 4, images)
    for name in Seen._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name), name)
        same = np.mean(getattr(one, name) == getattr(other, name))
        assert same < 0.85, name
    # Of the same picture, too: what differs is not the order alone.
    in_order = [np.argsort(run.picture, kind="stable") for run in (one, other)]
    for name in ("left", "top", "mirrored", "label"):
        assert (getattr(one, name)[in_order[0]] != getattr(other, name)[in_order[1]]).mean() > 0.2, name


def test_every_picture_comes_once_an_epoch_in_another_order(images: list[np.ndarray]) -> None:
    orders = seen(0, 3, images).picture.reshape(3, PICTURES)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(PICTURES), (3, 1)))
    assert len({tuple(order) for order in orders}) == 3


def test_draws_are_uniform_and_independent(images: list[np.ndarray]) -> None:
    """480 places: edges everywhere, half mirrored, three tenths of the classes hidden, nothing
    follows from anything else."""
    run = seen(3, 20, images)
    for name, most in (("left", WIDTH - 12), ("top", HEIGHT - 12)):
        edges = getattr(run, name)
        assert (edges.min(), edges.max()) == (0, most)
        assert np.mean(edges) == pytest.approx(most / 2, abs=0.12 * most)
    assert run.mirrored.mean() == pytest.approx(0.5, abs=0.1)
    hidden = run.label == 3
    assert hidden.mean() == pytest.approx(0.3, abs=0.08)
    np.testing.assert_array_equal(run.label[~hidden], run.picture[~hidden] % 3)
    columns = np.stack([run.picture, run.left, run.top, run.mirrored, run.chunk, hidden]).astype(float)
    between = np.corrcoef(columns)
    of_followers = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in columns[1:]]
    limit = 4 / np.sqrt(columns.shape[1])
    assert np.abs(between - np.eye(len(columns))).max() < limit
    assert np.abs(of_followers).max() < limit


def test_held_out_crops_are_fixed_unmirrored_and_depend_on_the_seed(images: list[np.ndarray]) -> None:
    found = []
    for seed in (1, 1, 2):
        images.clear()
        lists, labels = read_held_out(Plain(), config_of(seed), Skipped(PICTURES, 0.0))
        picture, left, top, mirrored = places_of(images)
        assert not mirrored.any() and len(lists) == PICTURES
        np.testing.assert_array_equal(picture, np.arange(PICTURES))
        np.testing.assert_array_equal(labels, picture % 3)  # hidden in training alone
        found.append((left, top))
    np.testing.assert_array_equal(found[0], found[1])
    assert (np.array(found[0]) != np.array(found[2])).mean() > 0.5
