"""Codes of a file: an array, a mirrored one, a text. They are those of the pictures."""

import json
import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax.codes.reader import CodesBatch
from dct_jax.commands import main
from dct_jax.data.codes_file import read_codes, read_text_codes
from dct_jax.data.pipeline import read_held_out, training_batches
from dct_jax.data.skipped import Skipped, Unusable
from dct_jax.data.sources import hold_out, open_source, open_sources
from dct_jax.data.sources.codes import CodesSource
from dct_jax.data.sources.record import NO_LABEL, Record
from tests.codes.toys import (
    CODES,
    prior_config,
    random_autoencoder,
    random_pictures,
    save_run,
    vqvae_config,
    with_autoencoder,
    write_pictures,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/, plain.codes, plain.codes.txt and mirrored.codes."""
    folder = tmp_path_factory.mktemp("codes")
    run = save_run(folder / "run", random_autoencoder(vqvae_config()))
    source = write_pictures(folder / "pictures")
    for name, flag in (("plain", "--text"), ("mirrored", "--mirrored")):
        assert main(["tokenize", run, source, "--out", str(folder / f"{name}.codes"), flag]) == 0
    return folder


def batches_of(source: str, number: int, classes: int = 0, flip: bool = False) -> tuple[list[CodesBatch], CodesBatch]:
    """The first batches of a run and the held-out ones."""
    config = with_autoencoder(prior_config("window", source, classes=classes), vqvae_config())
    config = replace(config, data=replace(config.data, flip=flip))
    training, held_out = open_sources(config.data)
    assert len(training) == 15 and len(held_out) == 5
    batches = list(islice(training_batches(training, config, Skipped(15, 0)), number))
    return batches, read_held_out(held_out, config, Skipped(5, 0))


def test_files_give_the_codes_of_the_pictures_in_their_order(files: Path) -> None:
    """Training batches and held-out pictures, from the array with labels, and from the text."""
    model = random_autoencoder(vqvae_config())
    pictures, held_pictures = batches_of(f"folder:{files}/pictures", 4, classes=2)
    array, held_array = batches_of(f"codes:{files}/plain.codes", 4, classes=2)
    text, held_text = batches_of(f"codes:{files}/plain.codes.txt", 4)
    for seen, of_array, of_text in zip([*pictures, held_pictures], [*array, held_array], [*text, held_text], strict=True):
        assert seen.content.dtype == np.uint8 and of_array.content.dtype == of_text.content.dtype == np.int32
        expected = np.concatenate(list(model.tokenize(seen.content)))
        np.testing.assert_array_equal(of_array.content, expected)
        np.testing.assert_array_equal(of_text.content, expected)
        np.testing.assert_array_equal(of_array.labels, seen.labels)
        assert not of_text.labels.any()
    assert set(np.concatenate([one.labels for one in array])) == {0, 1}
    assert len(np.unique(np.concatenate([one.content for one in array]))) > CODES // 2
    seeds = np.concatenate([one.seeds for one in array])
    assert seeds.dtype == np.uint32 and len(np.unique(seeds)) == len(seeds)


def test_a_mirrored_file_gives_either_picture_in_training_and_the_plain_one_held_out(files: Path) -> None:
    model, pictures = random_autoencoder(vqvae_config()), random_pictures(20)
    # `write_pictures` puts pictures by turns into two folders, which are read one after the other.
    pictures = np.concatenate([pictures[::2], pictures[1::2]])
    plain, mirrored = (np.concatenate(list(model.tokenize(x))) for x in (pictures, pictures[:, :, ::-1]))
    assert not any(np.array_equal(a, b) for a, b in zip(plain, mirrored))
    names = {codes.tobytes(): (i, flipped) for flipped in (0, 1) for i, codes in enumerate((plain, mirrored)[flipped])}
    for flip in (False, True):
        training, held_out = batches_of(f"codes:{files}/mirrored.codes", 30, flip=flip)
        seen = {names[codes.tobytes()] for batch in training for codes in batch.content}
        shown = {names[codes.tobytes()] for codes in held_out.content}
        held = {3, 7, 11, 15, 19}
        assert shown == {(i, 0) for i in held}
        assert seen == {(i, flipped) for i in set(range(20)) - held for flipped in ((0, 1) if flip else (0,))}


def test_a_picture_and_its_mirrored_one_are_one_record(files: Path) -> None:
    source, file = CodesSource(files / "mirrored.codes"), read_codes(files / "mirrored.codes")
    assert (len(source), len(file.codes)) == (20, 40)
    for part in hold_out(source, 4):
        for i in range(len(part)):
            record = part[i]
            assert record.codes is not None and record.codes.shape == (2, 4, 4)
            first = file.keys.index(record.key)
            np.testing.assert_array_equal(record.codes, file.codes[first : first + 2])
            assert file.keys[first + 1] == record.key and record.label == file.labels[first]


def test_a_worker_opens_the_file_itself(files: Path) -> None:
    for name in ("mirrored.codes", "plain.codes.txt"):
        source = CodesSource(files / name)
        data = pickle.dumps(source)
        assert len(data) < 500
        other = pickle.loads(data)
        assert (other.name, len(other)) == (source.name, 20)
        np.testing.assert_array_equal(other[7].codes, source[7].codes)


def test_a_text_has_lines_as_keys_and_no_labels(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("1 2 3 4\n 5  6 7 8 \n")
    source = open_source(f"codes:{tmp_path}/codes.txt")
    assert [source[i].key for i in range(2)] == ["line 1", "line 2"] and source[0].label == NO_LABEL and source.classes == ()
    assert np.concatenate([source[i].codes for i in range(2)]).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(ValueError, match=r"data.split is 'train'; codes:.* has no parts: name a file of the part's codes"):
        open_source(f"codes:{tmp_path}/codes.txt", "train")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((1, 15), int), "it has 15 codes; the run's grid is 4 x 4"),
        (np.zeros((1, 2, 8), int), "it has 2 x 8 codes; the run's grid is 4 x 4"),
        (np.full((1, 16), CODES), f"the codes go from {CODES} to {CODES}; this model has 0 to {CODES - 1}"),
        (np.full((1, 4, 4), -1), f"the codes go from -1 to -1; this model has 0 to {CODES - 1}"),
        (np.full((1, 16), 2**32 + 1), f"the codes go from 4294967297 to 4294967297; this model has 0 to {CODES - 1}"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes: np.ndarray, message: str) -> None:
    reader = with_autoencoder(prior_config("window"), vqvae_config()).reader()
    with pytest.raises(Unusable, match=message):
        reader.see(Record(b"", 0, "key", codes), np.random.default_rng(0), train=True)


def test_a_label_out_of_range_is_refused() -> None:
    reader = prior_config("window", classes=2).reader()
    with pytest.raises(Unusable, match=r"its label is 2; codes.num_classes needs 0 to 1"):
        reader.see(Record(b"", 2, "key", np.zeros((1, 64), int)), np.random.default_rng(0), train=True)


def test_codes_alone_are_no_pictures() -> None:
    reader = prior_config("window", "codes:x").reader()
    seen = reader.see(Record(b"", 0, "key", np.zeros((1, 64), int)), np.random.default_rng(0), train=True)
    with pytest.raises(ValueError, match="codes:x has codes alone; to compare samples with pictures, name a source of these"):
        reader.picture(seen)


@pytest.mark.parametrize("text", ["1 99999999999999999999\n", "1 1.5\n", "1 2\n\n", "1 2\n3\n", "\n", "1 \xff\n"])
def test_a_text_of_something_else_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"(this is no text of codes|all must have as many)") as error:
        read_text_codes(tmp_path / "codes.txt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [float("inf"), 4, 4]},
        {"shape": [2**32, 2**32, 1]},
        {"shape": [20, 4]},
        {"shape": [20, -4, -4]},
        {"codes": float("inf")},
        {"dtype": "<f4"},
        {"fingerprint": None, "shape": None},
    ],
)
def test_a_header_of_something_else_is_refused_in_a_line(change: dict[str, Any], files: Path, tmp_path: Path) -> None:
    data = (files / "plain.codes").read_bytes()
    header = json.dumps(json.loads(data[:4096]) | change).encode().ljust(4095) + b"\n"
    (tmp_path / "a.codes").write_bytes(header + data[4096:])
    (tmp_path / "a.codes.keys").write_bytes((files / "plain.codes.keys").read_bytes())
    with pytest.raises(ValueError, match="this is no file of codes that can be used") as error:
        read_codes(tmp_path / "a.codes")
    assert "\n" not in str(error.value)


def test_labels_that_are_no_numbers_are_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "a.codes").write_bytes((files / "plain.codes").read_bytes())
    for label in (2**40, "x", None):
        (tmp_path / "a.codes.keys").write_text("".join(json.dumps({"key": "k", "label": label}) + "\n" for _ in range(20)))
        with pytest.raises(ValueError, match="this is no file of codes that can be used"):
            read_codes(tmp_path / "a.codes")
