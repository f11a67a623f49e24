"""Batches that are the same however they are made, pictures that cannot be used, and the chunks of
an evaluation."""

import dataclasses
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.data.pipeline import Shard, read_held_out, training_batches, training_sizes
from dct_jax.data.skipped import Skip, Skipped
from dct_jax.data.sources import LANDSCAPES, Source, open_source
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.likelihood import all_chunks
from tests.toys import tiny_config


def with_data(config: DCTConfig, **changes: Any) -> DCTConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def folder_of(path: Path, count: int, size: tuple[int, int] = (20, 24)) -> Source:
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


def batches_of(source: Source, config: DCTConfig, first: int = 0, shard: Shard = Shard()) -> Iterator[Chunk]:
    return training_batches(source, config, Skipped(len(source), 1.0), first, shard)


def take(iterator: Iterator[Chunk], count: int) -> list[Chunk]:
    return list(itertools.islice(iterator, count))


def test_batches_have_fixed_shapes_and_depend_on_the_seed(tmp_path: Path) -> None:
    pictures, config = folder_of(tmp_path, 5), tiny_config()
    batches = take(batches_of(pictures, config), 3)
    for batch in batches:
        shapes = [field.shape for field in batch]
        assert shapes == [(4, 48, 4, 4), (4, 33), (4, 33), (4, 33), (4, 32), (4,), (4, 2), (4,), (4,)]
        assert [field.dtype for field in batch] == [np.int16, *[np.int32] * 3, np.bool_, *[np.int32] * 4]
        assert np.all(batch.is_target[:, 8:].any(axis=1)) and not batch.is_target[:, :8].any()
    assert_same(take(batches_of(pictures, config), 3), batches)
    other = take(batches_of(pictures, dataclasses.replace(config, seed=1)), 3)
    assert not any(np.array_equal(a.values, b.values) for a, b in zip(batches, other))


def with_classes(config: DCTConfig, classes: int) -> DCTConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, num_classes=classes))


def test_classes_are_hidden_and_nothing_else_changes(tmp_path: Path) -> None:
    """How many are is in test_randomness.py."""
    pictures, config = folder_of(tmp_path, 4), with_classes(tiny_config(), 4)
    hiding = dataclasses.replace(config, training=dataclasses.replace(config.training, label_dropout=0.3))
    plain, hidden = (take(batches_of(pictures, one), 12) for one in (config, hiding))
    labels, seen = (np.concatenate([batch.label for batch in batches]) for batches in (plain, hidden))  # [48] each
    assert set(seen) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(seen[seen < 4], labels[seen < 4])
    assert_same([batch._replace(label=0) for batch in hidden], [batch._replace(label=0) for batch in plain])
    assert_same(take(batches_of(pictures, hiding, first=3), 2), hidden[3:5])


def test_half_of_the_pictures_are_mirrored(tmp_path: Path) -> None:
    """A picture that is dark on its left: the horizontal frequency of its blocks' DC falls or
    rises."""
    ramp = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.uint8)[None, :, None], (16, 16, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    config, source = tiny_config(batch_size=200), open_source(f"folder:{tmp_path}")
    for flip, share in ((True, 0.5), (False, 0.0)):
        batch = next(batches_of(source, with_data(config, flip=flip)))
        first = batch.chunk_index == 0
        dc = np.where(batch.channels[first][:, 9:13] == 0, batch.values[first][:, 9:13], 0)  # of the first row of blocks
        assert (dc[:, 0] > dc[:, 3]).mean() == pytest.approx(share, abs=0.12)


@pytest.mark.slow
def test_signals_to_a_worker_do_not_stop_it_and_it_goes_when_its_parent_is_gone(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes; the run then needs some more batches to stop
    with a checkpoint. A worker that still imported packages once ended with a traceback."""
    folder_of(tmp_path, 5)
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, os, signal, sys, threading, time\n"
        "from dct_jax.data.pipeline import training_batches\n"
        "from dct_jax.data.skipped import Skipped\n"
        "from dct_jax.data.sources import open_source\n"
        "from tests.data.test_pipeline import with_data\n"
        "from tests.toys import tiny_config\n"
        "def kill():\n"
        "    while not (workers := multiprocessing.active_children()): time.sleep(0.01)\n"
        "    for _ in range(100):\n"
        "        for number in (signal.SIGINT, signal.SIGTERM): os.kill(workers[0].pid, number)\n"
        "        time.sleep(0.05)\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=kill, daemon=True).start()\n"
        f"    source = open_source('folder:{tmp_path}')\n"
        "    batches = training_batches(source, with_data(tiny_config(), workers=1), Skipped(5, 0.0))\n"
        "    next(batches)\n"
        "    worker = multiprocessing.active_children()[0].pid\n"
        "    for _ in range(20): next(batches)\n"
        "    print(worker, flush=True)\n"
        "    os._exit(3)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=env, timeout=120)
    assert run.returncode == 3, run.stderr
    deadline = time.monotonic() + 20
    while Path(f"/proc/{run.stdout.strip()}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{run.stdout.strip()}/cmdline").exists()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("broken", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_run_that_goes_on_gets_exactly_the_next_batches(workers: int, broken: bool, tmp_path: Path) -> None:
    """In the middle of an epoch, with threads and with worker processes, and with a picture that
    cannot be used."""
    pictures, config = folder_of(tmp_path, 5), with_data(tiny_config(), max_skipped=0.5)
    if broken:
        (tmp_path / "class1" / "picture.png").write_bytes(b"garbage")
    expected = take(batches_of(pictures, config), 6)[3:]
    assert_same(take(batches_of(pictures, with_data(config, workers=workers), first=3), 3), expected)


def test_the_parts_of_several_processes_are_the_batch_of_one(tmp_path: Path) -> None:
    """Also when they go on."""
    pictures, config = folder_of(tmp_path, 5), tiny_config(batch_size=6)
    (tmp_path / "class1" / "picture.png").write_bytes(b"garbage")
    whole = take(batches_of(pictures, config), 4)[1:]
    parts = [take(batches_of(pictures, config, first=1, shard=Shard(i, 3)), 3) for i in range(3)]
    for batch, *shares in zip(whole, *parts):
        assert_same([Chunk(*(field[i::3] for field in batch)) for i in range(3)], shares)


def test_a_picture_that_cannot_be_used_is_replaced_counted_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder_of(tmp_path, 5)
    (tmp_path / "class1" / "picture.png").write_bytes(b"garbage")
    Image.new("RGB", (40, 15)).save(tmp_path / "class2" / "picture.png")
    pictures, config = open_source(f"folder:{tmp_path}"), with_classes(tiny_config(), 4)
    skipped = Skipped(5, most=0.8)
    with caplog.at_level(logging.WARNING, "dct_jax"):
        batches = take(training_batches(pictures, config, skipped), 8)
    assert {int(label) for batch in batches for label in batch.label} == {0, 3}
    assert skipped.summary().startswith("3 pictures cannot be used (1 ")
    assert sorted(skip.reason for skip in skipped.by_key.values()) == ["label out of range", "not readable", "too small"]
    broken, small, label = sorted(message.split(": ", 1)[1] for message in caplog.messages if "skipping" in message)
    assert broken.startswith(f"{tmp_path}/class1/picture.png: this is no image of a kind that is read")
    assert small == f"{tmp_path}/class2/picture.png: the picture has 15 x 40 pixels; it must have at least 16 x 16"
    assert label == f"{tmp_path}/class4/picture.png: its label is 4; model.num_classes needs 0 to 3"


def test_too_many_pictures_that_cannot_be_used_end_the_run_with_their_list(tmp_path: Path) -> None:
    folder_of(tmp_path, 5)
    for i in (1, 3):
        (tmp_path / f"class{i}" / "picture.png").write_bytes(b"garbage")
    pictures = open_source(f"folder:{tmp_path}")
    assert len(take(training_batches(pictures, tiny_config(), Skipped(5, most=0.4)), 10)) == 10
    with pytest.raises(ValueError, match=r"2 pictures cannot be used \(2 not readable\) of 5 that were read; ") as raised:
        take(training_batches(pictures, tiny_config(), Skipped(5, most=0.3)), 10)
    assert "data.max_skipped allows a share of 0.3" in str(raised.value)
    assert all(f"{tmp_path}/class{i}/picture.png: this is no image" in str(raised.value) for i in (1, 3))


def test_a_share_is_judged_when_enough_pictures_were_read() -> None:
    skipped, bad = Skipped(1000, most=0.1), [Skip(f"{i}.png", "not readable", f"{i}.png: bad") for i in range(200)]
    skipped.note(30, bad[:20])
    with pytest.raises(ValueError, match=r"^20 pictures cannot be used .* of 100 that were read; .*0.png: bad; 1.png: bad"):
        skipped.note(50, [])
    calm = Skipped(1000, most=0.1)
    calm.note(80, bad[:19])  # more than a tenth, but that may be chance
    calm.note(2000, bad[:100])  # 100 of 1000 pictures, in two epochs
    with pytest.raises(ValueError, match=r"^101 pictures .* of 1000 that were read; .*; and 81 more$"):
        calm.note(1, bad[100:101])


@pytest.mark.parametrize(("share", "ends"), [(0.08, False), (0.2, True)])
def test_the_share_that_is_allowed_is_that_of_the_pictures(share: float, ends: bool) -> None:
    """Bad pictures are replaced, and the replacements may be bad, too: that once made 8 % look like
    more than 10 %."""
    rng, bad = np.random.default_rng(0), np.random.default_rng(1).random(100_000) < share
    skipped = Skipped(len(bad), most=0.1)

    def run() -> None:
        for _ in range(600):
            skips = []
            for _ in range(16):
                while bad[index := int(rng.integers(len(bad)))]:
                    skips.append(Skip(str(index), "not readable", "bad"))
            skipped.note(16, skips)

    if ends:
        with pytest.raises(ValueError, match=r"allows a share of 0.1"):
            run()
    else:
        run()


def test_a_folder_without_a_good_picture_is_an_error_and_no_hang(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"garbage")
    raised: list[BaseException] = []

    def pull() -> None:
        try:
            next(batches_of(open_source(f"folder:{tmp_path}"), tiny_config()))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert [type(error) for error in raised] == [ValueError]
    assert f"{tmp_path}: none of the 3 pictures that were tried can be used" in str(raised[0])
    with pytest.raises(ValueError, match=f"{tmp_path}: none of the 3 pictures that were tried can be used"):
        read_held_out(open_source(f"folder:{tmp_path}"), tiny_config(), Skipped(3, 1.0))


def test_whole_pictures_have_their_own_grids_and_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(32, 24), (20, 40), (16, 16), (8, 5)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    config = with_data(tiny_config(), fit="whole", max_skipped=0.5)
    source = open_source(f"folder:{tmp_path}")
    grids = {tuple(grid) for batch in take(batches_of(source, config), 6) for grid in batch.grid.tolist()}
    assert grids == {(4, 3), (2, 4), (4, 4)}
    assert training_sizes(source, config.data) == [(8, 16, 1), (16, 12, 1), (16, 16, 1)]
    assert training_sizes(source, tiny_config().data) == [(16, 16, 1)]
    assert training_sizes(source, with_data(config, enlarge=2.0).data) == [(8, 16, 1), (16, 10, 1), (16, 12, 1), (16, 16, 1)]


def own_config(**changes: Any) -> DCTConfig:
    config = dataclasses.replace(tiny_config(), codec=DCTCodec(quality=75))
    return with_data(config, **({"own_coefficients": True, "flip": False, "held_out_crops": 6} | changes))


def test_own_coefficients_are_those_of_the_files(tmp_path: Path) -> None:
    """Whole files as they are; and crops, which are the same blocks of the same file."""
    for i in range(3):
        Image.open(sorted(LANDSCAPES.glob("*.jpg"))[i]).save(tmp_path / f"{i}.jpg", quality=75)
    source = open_source(f"folder:{tmp_path}")
    files = [SparseDCT.from_jpeg(tmp_path / f"{i}.jpg") for i in range(3)]
    assert files[0].codec == DCTCodec(quality=75)
    config = own_config(fit="whole", image_size=(120, 240))
    assert read_held_out(source, config, Skipped(3, 0.0))[0] == files * 2
    small = own_config(fit="whole", image_size=(112, 240))
    assert training_sizes(source, config.data) == [(120, 240, 3)]
    with pytest.raises(ValueError, match="none of the 3 pictures whose sizes were asked for can be used"):
        training_sizes(source, small.data)
    with pytest.raises(ValueError, match="the picture has 120 x 240 pixels; it must fit into 112 x 240"):
        read_held_out(source, small, Skipped(3, 1.0))
    dense = [sparse.codec.to_dct_image(sparse) for sparse in files]  # [15, 30, 192]
    crops = read_held_out(source, own_config(image_size=(48, 64)), Skipped(3, 0.0))[0]
    for i, crop in enumerate(crops):
        part, whole = crop.codec.to_dct_image(crop), dense[i % 3]
        places = [(r, c) for r in range(0, 10, 2) for c in range(0, 23, 2) if np.array_equal(whole[r : r + 6, c : c + 8], part)]
        assert len(places) == 1
    assert len({crop.values.tobytes() for crop in crops}) > 3  # at different places


def test_own_coefficients_are_requantised_and_mirrored_without_loss(tmp_path: Path) -> None:
    Image.open(next(LANDSCAPES.glob("*.jpg"))).crop((0, 0, 64, 48)).save(tmp_path / "a.jpg", quality=75)
    source, config = open_source(f"folder:{tmp_path}"), own_config(image_size=(48, 64), flip=True)
    config = dataclasses.replace(
        config, codec=DCTCodec(quality=20), training=dataclasses.replace(config.training, batch_size=40)
    )
    plain = config.codec.requantize(SparseDCT.from_jpeg(tmp_path / "a.jpg"))
    batch = next(batches_of(source, config))
    pixels = config.codec.decode(plain)[:, ::-1]
    other = config.codec.encode(np.ascontiguousarray(pixels))  # decoding rounds, so nearly the same list
    for expected in (plain, other):
        ours = [b for b in range(40) if batch.chunk_index[b] == 0 and batch.values[b, 9] == expected.values[0]]
        assert ours
    assert {int(v) for v in batch.values[batch.chunk_index == 0][:, 9]} == {int(plain.values[0]), int(other.values[0])}


def test_own_coefficients_lie_as_they_are_told_to(tmp_path: Path) -> None:
    """A picture on its side whose edge is part of a block cannot be turned without loss; as it lies
    it can be used."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(next(LANDSCAPES.glob("*.jpg"))).crop((0, 0, 64, 41)).save(tmp_path / "a.jpg", quality=75, exif=exif)
    source, config = open_source(f"folder:{tmp_path}"), own_config(fit="whole", image_size=(64, 64))
    with pytest.raises(ValueError, match="to be mirrored without loss it must be a multiple of 16"):
        read_held_out(source, config, Skipped(1, 1.0))
    lying = with_data(config, upright=False)
    (sparse,) = read_held_out(source, with_data(lying, held_out_crops=1), Skipped(1, 0.0))[0]
    assert sparse == SparseDCT.from_jpeg(tmp_path / "a.jpg", upright=False)
    assert training_sizes(source, lying.data) == [(41, 64, 1)]


def test_own_coefficients_beyond_the_vocabulary_are_limited(tmp_path: Path) -> None:
    """A value that the model's table has no row for would be looked up outside of it."""
    codec, one = DCTCodec(quality=75, chroma_subsampling="4:4:4"), np.ones(1, np.int32)
    largest = codec.vocabulary((16, 16)).largest_value
    assert largest < 1000
    (tmp_path / "a.jpg").write_bytes(SparseDCT(one, 0 * one, 1000 * one, (16, 16), codec).to_jpeg())
    config = dataclasses.replace(own_config(fit="whole", image_size=(16, 16), held_out_crops=1), codec=codec)
    (sparse,) = read_held_out(open_source(f"folder:{tmp_path}"), config, Skipped(1, 0.0))[0]
    assert sparse == SparseDCT(one, 0 * one, largest * one, (16, 16), codec)


def test_own_coefficients_need_jpeg_files_of_the_codecs_subsampling(tmp_path: Path) -> None:
    image = Image.open(next(LANDSCAPES.glob("*.jpg")))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.jpg", subsampling="4:4:4")
    image.crop((0, 0, 15, 90)).save(tmp_path / "c.jpg")
    skipped = Skipped(3, 1.0)
    with pytest.raises(ValueError, match="none of the 3 pictures that were tried can be used"):
        read_held_out(open_source(f"folder:{tmp_path}"), own_config(), skipped)
    with pytest.raises(ValueError, match=r"codec.block_size is 4; with data.own_coefficients it must be JPEG's, 8"):
        dataclasses.replace(own_config(), codec=DCTCodec(4))
    with pytest.raises(ValueError, match=r"multiple of 16 pixels: turn it off with --data.no-flip"):
        own_config(flip=True, image_size=(16, 24))


def test_read_held_out_are_the_same_every_time_and_take_the_pictures_by_turns(tmp_path: Path) -> None:
    config, pictures = with_classes(tiny_config(), 3), folder_of(tmp_path, 3)
    lists, labels = read_held_out(pictures, config, Skipped(3, 0.0))
    assert labels.tolist() == [0, 1, 2, 0]
    assert labels.dtype == np.int32
    assert [sparse.size for sparse in lists] == [(16, 16)] * 4
    assert read_held_out(open_source(f"folder:{tmp_path}"), config, Skipped(3, 0.0))[0] == lists
    assert lists[0] != lists[3]  # two crops of one picture


def test_few_held_out_crops_are_spread_over_the_source(tmp_path: Path) -> None:
    """A source sorted by class, of whose first classes alone the evaluation once consisted."""
    config = with_data(with_classes(tiny_config(), 9), held_out_crops=3)
    assert read_held_out(folder_of(tmp_path, 9), config, Skipped(9, 0.0))[1].tolist() == [0, 3, 6]


def test_all_chunks_covers_every_chunk_once_and_fills_the_last_batch(tmp_path: Path) -> None:
    config = with_classes(tiny_config(), 3)
    lists, labels = read_held_out(folder_of(tmp_path, 3), config, Skipped(3, 0.0))
    lists[1] = lists[1][:0]
    lists[2] = lists[2][: 2 * config.model.chunk_size]
    seen, targets, fillers = [], np.zeros(4, int), 0
    for jobs, batch in all_chunks(
        lists, labels, config.codec.vocabulary((16, 16)), config.model.chunk_size, config.model.overlap, 5
    ):
        assert [len(field) for field in (jobs, *batch)] == [5] * 10
        for (owner, k), index, label, is_target in zip(jobs, batch.chunk_index, batch.label, batch.is_target):
            assert k == index
            if is_target.any():
                seen.append((owner, k))
                targets[owner] += is_target.sum()
                assert label == labels[owner]
            else:
                fillers += 1
    chunks = [len(sparse) // config.model.chunk_size + 1 for sparse in lists]
    assert seen == [(i, k) for i in range(4) for k in range(chunks[i])]
    assert chunks[1:3] == [1, 3]
    assert targets.tolist() == [len(sparse) + 1 for sparse in lists]
    assert fillers == -sum(chunks) % 5 > 0
