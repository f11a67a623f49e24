"""Crops, batches that can be resumed, pictures that cannot be used, and the chunks of an evaluation."""

import dataclasses
import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax.data.chunks import Chunk
from dct_jax.data.crops import random_crop
from dct_jax.data.pipeline import all_chunks, held_out_lists, training_batches
from dct_jax.data.sources import Pictures, open_source
from tests.toys import tiny_config


def coordinates(height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] whose pixels say where they are."""
    row, col = np.mgrid[:height, :width]
    return np.stack([row, col, row + col], axis=-1).astype(np.uint8)


def folder_of(path: Path, count: int, size: tuple[int, int] = (20, 24)) -> Pictures:
    """Noise, each picture in a class of its own."""
    rng = np.random.default_rng(0)
    for label in range(count):
        (path / f"class{label}").mkdir()
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path / f"class{label}" / "picture.png")
    return open_source(f"folder:{path}")


def assert_same(ours: list[Chunk], theirs: list[Chunk]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        for field, x, y in zip(Chunk._fields, a, b):
            np.testing.assert_array_equal(x, y, err_msg=field, strict=True)


def take(iterator: Any, count: int) -> list[Chunk]:
    return [next(iterator) for _ in range(count)]


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_at_half_the_size_takes_native_pixels(flip: bool) -> None:
    image, rng, seen = coordinates(40, 48), np.random.default_rng(0), set()
    for _ in range(100):
        crop = random_crop(image, (20, 24), (0.5, 0.5), flip, rng)
        mirrored = crop[0, 0, 1] > crop[0, -1, 1]
        top, left, _ = crop[0, -1 if mirrored else 0].tolist()
        inside = image[top : top + 20, left : left + 24]
        np.testing.assert_array_equal(crop[:, ::-1] if mirrored else crop, inside, strict=True)
        seen.add((top, left, bool(mirrored)))
    assert {mirrored for *_, mirrored in seen} == ({False, True} if flip else {False})
    assert min(top for top, *_ in seen) <= 2 and max(top for top, *_ in seen) >= 18  # all over the picture
    assert min(left for _, left, _ in seen) <= 2 and max(left for _, left, _ in seen) >= 22


@pytest.mark.parametrize(("height", "width"), [(20, 24), (20, 60), (50, 24), (25, 30)])
def test_a_crop_is_never_enlarged(height: int, width: int) -> None:
    image = coordinates(height, width)
    crop = random_crop(image, (20, 24), (0.01, 0.01), False, np.random.default_rng(0))
    top, left, _ = crop[0, 0].tolist()
    np.testing.assert_array_equal(crop, image[top : top + 20, left : left + 24], strict=True)


def test_the_largest_crop_is_the_reduced_picture() -> None:
    crop = random_crop(coordinates(80, 120), (20, 30), (1.0, 1.0), False, np.random.default_rng(0))
    middle = crop[5:-5, 5:-5].astype(float)  # away from the edges, where the filter's window is cut
    row, col = np.mgrid[5:15, 5:25]
    np.testing.assert_allclose(middle[..., 0], 4 * row + 1.5, atol=0.51)
    np.testing.assert_allclose(middle[..., 1], 4 * col + 1.5, atol=0.51)


def test_a_crop_of_a_smaller_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="the picture has 19 x 48 pixels; it must have at least 20 x 24"):
        random_crop(coordinates(19, 48), (20, 24), (0.5, 1.0), False, np.random.default_rng(0))


def test_batches_have_fixed_shapes_and_depend_on_the_seed(tmp_path: Path) -> None:
    pictures, config = folder_of(tmp_path, 5), tiny_config()
    batches = take(iter(training_batches(pictures, config)), 3)
    for batch in batches:
        shapes = [field.shape for field in batch]
        assert shapes == [(4, 4, 4, 48), (4, 33), (4, 33), (4, 33), (4, 32), (4,), (4,)]
        assert [field.dtype for field in batch] == [np.int16, *[np.int32] * 3, np.bool_, np.int32, np.int32]
        assert np.all(batch.is_target[:, 8:].any(axis=1)) and not batch.is_target[:, :8].any()
    assert_same(take(iter(training_batches(pictures, config)), 3), batches)
    other = take(iter(training_batches(pictures, dataclasses.replace(config, seed=1))), 3)
    assert not any(np.array_equal(a.values, b.values) for a, b in zip(batches, other))


def test_every_picture_comes_once_an_epoch_in_a_new_order(tmp_path: Path) -> None:
    epochs = [b.label.tolist() for b in take(iter(training_batches(folder_of(tmp_path, 4), tiny_config())), 8)]
    assert all(sorted(labels) == [0, 1, 2, 3] for labels in epochs)
    assert len(set(map(tuple, epochs))) > 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_resumed_iterator_gives_exactly_the_next_batches(broken: bool, tmp_path: Path) -> None:
    pictures, config = folder_of(tmp_path, 5), tiny_config()
    if broken:
        (tmp_path / "class1" / "picture.png").write_bytes(b"garbage")
    iterator = iter(training_batches(pictures, config))
    take(iterator, 3)
    state = json.dumps(iterator.get_state())
    expected = take(iterator, 3)
    resumed = iter(training_batches(open_source(f"folder:{tmp_path}"), config))
    resumed.set_state(json.loads(state))
    assert_same(take(resumed, 3), expected)


def test_a_picture_that_cannot_be_used_is_skipped_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, 4)
    (tmp_path / "class1" / "picture.png").write_bytes(b"garbage")
    Image.new("RGB", (40, 15)).save(tmp_path / "class2" / "picture.png")
    pictures = open_source(f"folder:{tmp_path}")
    with caplog.at_level(logging.WARNING, "dct_jax"):
        batches = take(iter(training_batches(pictures, tiny_config())), 6)  # at least 6 epochs of the 2 good pictures
    assert {int(label) for batch in batches for label in batch.label} == {0, 3}
    assert len(pictures.skipped) == 2
    broken, small = sorted(message.split(": ", 1)[1] for message in caplog.messages if "skipping" in message)
    assert broken.startswith(f"{tmp_path}/class1/picture.png: this is no image that Pillow can read")
    assert small == f"{tmp_path}/class2/picture.png: the picture has 15 x 40 pixels; it must have at least 16 x 16"


def test_a_folder_without_a_good_picture_is_an_error_and_no_hang(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"garbage")
    raised: list[BaseException] = []

    def pull() -> None:
        try:
            next(iter(training_batches(open_source(f"folder:{tmp_path}"), tiny_config())))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert [type(error) for error in raised] == [ValueError]
    assert f"{tmp_path}: none of the 3 pictures can be used" in str(raised[0])
    with pytest.raises(ValueError, match=f"{tmp_path}: none of the 3 pictures can be used"):
        held_out_lists(open_source(f"folder:{tmp_path}"), tiny_config())


def test_held_out_lists_are_the_same_every_time_and_take_the_pictures_by_turns(tmp_path: Path) -> None:
    config, pictures = tiny_config(), folder_of(tmp_path, 3)
    lists, labels = held_out_lists(pictures, config)
    assert labels.tolist() == [0, 1, 2, 0]
    assert labels.dtype == np.int32
    assert [sparse.size for sparse in lists] == [(16, 16)] * 4
    assert held_out_lists(open_source(f"folder:{tmp_path}"), config)[0] == lists
    assert lists[0] != lists[3]  # two crops of one picture


def test_all_chunks_covers_every_chunk_once_and_fills_the_last_batch(tmp_path: Path) -> None:
    config = tiny_config()
    lists, labels = held_out_lists(folder_of(tmp_path, 3), config)
    lists[1] = lists[1][:0]
    lists[2] = lists[2][: 2 * config.model.chunk_size]
    seen, targets, fillers = [], np.zeros(4, int), 0
    for owners, batch in all_chunks(lists, labels, config.codec.vocabulary((16, 16)), config.model, 5):
        assert [len(field) for field in (owners, *batch)] == [5] * 8
        for owner, index, label, is_target in zip(owners, batch.chunk_index, batch.label, batch.is_target):
            if is_target.any():
                seen.append((int(owner), int(index)))
                targets[owner] += is_target.sum()
                assert label == labels[owner]
            else:
                fillers += 1
    chunks = [len(sparse) // config.model.chunk_size + 1 for sparse in lists]
    assert seen == [(i, k) for i in range(4) for k in range(chunks[i])]
    assert chunks[1:3] == [1, 3]
    assert targets.tolist() == [len(sparse) + 1 for sparse in lists]
    assert fillers == -sum(chunks) % 5 > 0
