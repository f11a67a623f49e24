"""Folders of idx files: their pictures beside an independent reading, parts, classes, and all that
can be wrong with them."""

import gzip
import hashlib
import random
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dct_jax.data.sources import idx, open_source
from dct_jax.data.sources.idx_file import read_idx
from tests.conftest import Refused

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx_bytes(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def toy(num: int = 12, size: tuple[int, int] = (2, 3), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels 0 to 2."""
    return np.random.default_rng(seed).integers(256, size=(num, *size), dtype=np.uint8), np.arange(num, dtype=np.uint8) % 3


def write(folder: Path, part: str = "train", data: tuple[np.ndarray, np.ndarray] | None = None, end: str = "") -> Path:
    """One part, "train" or with a data set's name in front, whose files' names end in `end`."""
    folder.mkdir(exist_ok=True)
    for (kind, number), array in zip((("images", 3), ("labels", 1)), data or toy()):
        content = idx_bytes(array)
        path = folder / f"{part}-{kind}-idx{number}-ubyte{end}"
        path.write_bytes(gzip.compress(content) if end == ".gz" else content)
    return folder


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3)),
    st.randoms(use_true_random=False),
    st.sampled_from(["", ".gz"]),
    st.sampled_from("-."),
)
def test_pictures_and_labels_are_those_at_the_format_s_offsets(
    images: np.ndarray, rng: random.Random, end: str, dot: str
) -> None:
    labels = np.array([rng.randrange(256) for _ in images], np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), "t10k", (images, labels), end)
        for path in folder.iterdir():
            path.rename(folder / path.name.replace("-idx", f"{dot}idx"))
        unpack = gzip.decompress if end else bytes
        raw = unpack((folder / f"t10k-images{dot}idx3-ubyte{end}").read_bytes())
        num, height, width = np.frombuffer(raw, ">i4", 3, 4)
        expected = np.frombuffer(raw, np.uint8, offset=16).reshape(num, height, width)
        raw = unpack((folder / f"t10k-labels{dot}idx1-ubyte{end}").read_bytes())
        expected_labels = np.frombuffer(raw, np.uint8, offset=8)
        source = open_source(f"idx:{folder}", "test")
    assert len(source) == num == len(images)
    for i in range(num):
        record = source[i]
        assert (record.image.dtype, record.image.shape) == (np.uint8, (height, width, 3))
        assert all(np.array_equal(record.image[..., k], expected[i]) for k in range(3))
        assert record.label == expected_labels[i]
        assert record.key == f"{folder}/t10k-images{dot}idx3-ubyte{end}, picture {i}"


def test_what_counts_is_whether_a_file_is_gzipped_not_its_name(tmp_path: Path) -> None:
    images, labels = toy()
    (tmp_path / f"{IMAGES}.gz").write_bytes(idx_bytes(images))
    (tmp_path / LABELS).write_bytes(gzip.compress(idx_bytes(labels)))
    source = open_source(f"idx:{tmp_path}")
    assert np.array_equal(source[11].image[..., 0], images[11])
    assert [source[i].label for i in range(12)] == labels.tolist()


def test_of_a_file_that_is_there_twice_the_unpacked_one_counts(tmp_path: Path) -> None:
    write(tmp_path, data=toy(seed=1), end=".gz")
    write(tmp_path, data=toy(seed=2))
    (tmp_path / "t10k-images-idx3-ubyte").mkdir()  # some archives hold folders of such names
    source = open_source(f"idx:{tmp_path}")
    assert source.parts == ("train",)
    assert np.array_equal(source[3].image[..., 0], toy(seed=2)[0][3])


def test_parts(tmp_path: Path) -> None:
    training, test = toy(12, seed=1), toy(6, (4, 5), seed=2)
    write(tmp_path, "train", training)
    write(tmp_path, "t10k", test, ".gz")
    for split, expected in (("train", [training]), ("test", [test]), ("", [test, training])):
        source = open_source(f"idx:{tmp_path}", split)
        assert source.name == f"idx:{tmp_path}" + (f" ({split})" if split else "")
        pictures = [(picture.tobytes(), label) for part in expected for picture, label in zip(*part)]
        assert [(source[i].image[..., 0].tobytes(), source[i].label) for i in range(len(source))] == pictures
        for index in (-1, len(pictures)):
            with pytest.raises(IndexError, match=f"there is no record {index} of {len(pictures)}"):
                source[index]


def test_several_data_sets_may_share_a_folder(tmp_path: Path) -> None:
    parts = ("emnist-letters-train", "emnist-letters-test", "emnist-digits-test", "kuzushiji-49-train")
    data = {part: toy(3 + i, seed=i) for i, part in enumerate(parts)}
    for part, one in data.items():
        write(tmp_path, part, one)
    known = ", ".join(sorted(parts))
    for part in parts:
        assert len(open_source(f"idx:{tmp_path}", part)) == len(data[part][0])
    with pytest.raises(ValueError, match=rf"several data sets lie in that folder; name one part \(data.split\) of {known}$"):
        open_source(f"idx:{tmp_path}")
    with pytest.raises(ValueError, match=rf"there is no part 'train' \(data.split\); there are {known}$"):
        open_source(f"idx:{tmp_path}", "train")


def test_emnist_is_turned_upright_and_others_are_not(tmp_path: Path) -> None:
    upright = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    stored_by_columns = np.array([[[1, 4], [2, 5], [3, 6]]], np.uint8)
    labels = np.zeros(1, np.uint8)
    write(tmp_path / "emnist", "emnist-balanced-train", (stored_by_columns, labels), ".gz")
    write(tmp_path / "mnist", "train", (upright, labels))
    for name in ("emnist", "mnist"):
        assert open_source(f"idx:{tmp_path / name}", "train")[0].image[..., 1].tolist() == upright[0].tolist()


def test_classes_are_numbers_that_all_parts_share(tmp_path: Path) -> None:
    images, labels = toy(12)
    write(tmp_path, "train", (images, labels))
    write(tmp_path, "t10k", (images, labels + 9))
    for split in ("train", "test", ""):
        assert open_source(f"idx:{tmp_path}", split).classes == tuple(map(str, range(12)))


def test_a_file_names_the_classes(tmp_path: Path) -> None:
    (write(tmp_path) / "classes.txt").write_text("cat \nsnowy owl\nyak\nnot there\n", encoding="utf-8-sig")
    assert open_source(f"idx:{tmp_path}").classes == ("cat", "snowy owl", "yak", "not there")


def test_fashion_mnist_is_known_by_all_of_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = toy()
    monkeypatch.setattr(idx, "_FASHION_LABELS", {hashlib.sha256(labels).hexdigest()})
    write(tmp_path, "train", (images, labels), ".gz")
    assert open_source(f"idx:{tmp_path}").classes[7:] == ("Sneaker", "Bag", "Ankle boot")
    write(tmp_path, "t10k", (images, labels[::-1].copy()))
    assert open_source(f"idx:{tmp_path}", "train").classes == ("0", "1", "2")


def test_threads_read_one_source_at_once(tmp_path: Path) -> None:
    images, labels = toy(40)
    source = open_source(f"idx:{write(tmp_path, data=(images, labels), end='.gz')}", "train")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: source[i].image[..., 0].tobytes(), list(range(40)) * 8))
    assert read == [image.tobytes() for image in images] * 8


def test_records_are_copies(tmp_path: Path) -> None:
    source = open_source(f"idx:{write(tmp_path)}")
    before = source[0].image.copy()
    source[0].image[:] = 0
    assert np.array_equal(source[0].image, before)


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


TOY, TOY_LABELS = idx_bytes(toy()[0]), idx_bytes(toy()[1])
SIZES = "its sizes are 12 x 2 x 3, which are 72 bytes, but"
MUST = "it must begin with 00 00 08 03, unsigned bytes in 3 dimensions"
ENDS = "ends before them; it is cut off, or its header is wrong"

BAD = {
    "empty": (replaced(IMAGES, b""), f"{IMAGES}: it begins with nothing; {MUST}"),
    "magic": (replaced(IMAGES, b"\x89PNG" + TOY[4:]), f"{IMAGES}: it begins with 89 50 4e 47; {MUST}"),
    "type": (
        replaced(IMAGES, idx_bytes(toy()[0], 0x0D)),
        f"{IMAGES}: it begins with 00 00 0d 03, an idx file of floats; {MUST}",
    ),
    "labels as pictures": (
        replaced(IMAGES, TOY_LABELS),
        f"{IMAGES}: it begins with 00 00 08 01, an idx file of 1 dimensions; {MUST}",
    ),
    "pictures as labels": (
        replaced(LABELS, TOY),
        f"{LABELS}: it begins with 00 00 08 03, an idx file of 3 dimensions; it must begin with 00 00 08 01",
    ),
    "half a header": (replaced(IMAGES, TOY[:9]), f"{IMAGES}: it ends after 9 bytes; the header alone has 16"),
    "no pictures": (
        replaced(IMAGES, struct.pack(">4I", 0x803, 0, 2, 3)),
        f"{IMAGES}: its sizes are 0 x 2 x 3; each must be 1 or more, and all together at most 1073741824 bytes",
    ),
    "absurd sizes": (
        replaced(IMAGES, struct.pack(">4I", 0x803, *[2**32 - 1] * 3) + TOY[16:]),
        f"{IMAGES}: its sizes are 4294967295 x 4294967295 x 4294967295; each must be 1 or more",
    ),
    "cut off": (replaced(IMAGES, TOY[:-1]), f"{IMAGES}: {SIZES} it {ENDS}"),
    "cut off before it was gzipped": (replaced(IMAGES, gzip.compress(TOY[:-1])), f"{IMAGES}: {SIZES} it {ENDS}"),
    "trailing byte": (replaced(IMAGES, TOY + b"\0"), f"{IMAGES}: {SIZES} more follow; its header is wrong"),
    "trailing byte, gzipped": (
        replaced(IMAGES, gzip.compress(TOY + b"\0")),
        f"{IMAGES}: {SIZES} more follow; its header is wrong",
    ),
    "second gzip member": (
        replaced(IMAGES, gzip.compress(TOY) + gzip.compress(b"more")),
        f"{IMAGES}: {SIZES} more follow; its header is wrong",
    ),
    "gzip file cut off": (
        replaced(IMAGES, gzip.compress(TOY)[:-9]),
        f"{IMAGES}: this gzip file is cut off; get it anew",
    ),
    "gzip file with a tail": (
        replaced(IMAGES, gzip.compress(TOY) + b"tail"),
        f"{IMAGES}: this gzip file is damaged (Not a gzipped file (b'ta')); get it anew",
    ),
    "gzip file with another check sum": (
        replaced(IMAGES, gzip.compress(TOY)[:-8] + bytes(4) + gzip.compress(TOY)[-4:]),
        f"{IMAGES}: this gzip file is damaged (CRC check failed",
    ),
    "labels missing": (lambda folder: (folder / LABELS).unlink(), f"{LABELS}: there is no such file"),
    "another number": (
        replaced(LABELS, idx_bytes(toy(11)[1])),
        f"{LABELS} has 11 labels; get both anew",
    ),
    "labels beyond the names": (
        replaced("classes.txt", b"cat\nowl\n"),
        f"{LABELS}: picture 2 has label 2, but ",
    ),
    "a name twice": (replaced("classes.txt", b"cat\nowl\ncat\n"), "classes.txt: it must have the name of a class on each line"),
    "an empty name": (replaced("classes.txt", b"cat\n\nowl\nyak\n"), "classes.txt: it must have the name of a class on each"),
    "names without end": (replaced("classes.txt", bytes(2**20 + 1)), "classes.txt: this file has more than 1 MiB, which is"),
    "names in Latin-1": (replaced("classes.txt", b"chat\nch\xe8vre\nyak"), "classes.txt: this is no text in UTF-8; it must"),
    "no idx files": (
        lambda folder: (folder / IMAGES).rename(folder / "pictures"),
        "there are no idx files in that folder, which are named like train-images-idx3-ubyte.gz",
    ),
    "the same part twice": (
        lambda folder: write(folder, "test") and write(folder, "t10k"),
        "the parts in that folder are test, test, train; there must be one of each name",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line(name: str, tmp_path: Path, refused: Refused) -> None:
    """By the library, and by the command line with exit code 2."""
    damage, message = BAD[name]
    damage(write(tmp_path))
    with pytest.raises(ValueError) as error:
        open_source(f"idx:{tmp_path}")
    said = str(error.value)
    assert message in said and str(tmp_path) in said and "\n" not in said
    assert refused("stats", f"idx:{tmp_path}") == f"dct_jax: {said}\n"


def test_a_part_or_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(
        ValueError, match=rf"^idx:{tmp_path} \(t10k\): there is no part 't10k' \(data.split\); there are train$"
    ):
        open_source(f"idx:{tmp_path}", "t10k")
    with pytest.raises(ValueError, match=f"^idx:{tmp_path}/none: there is no folder {tmp_path}/none$"):
        open_source(f"idx:{tmp_path}/none")


@pytest.mark.parametrize("packed", [False, True])
def test_no_damage_goes_unnoticed(packed: bool, tmp_path: Path) -> None:
    """Every beginning of a file is refused; of a gzipped one every flipped bit is, or changes no
    pixel."""
    whole = gzip.compress(TOY, mtime=0) if packed else TOY
    path = tmp_path / IMAGES
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            read_idx(path, 3)
    if packed:
        for bit in range(8 * len(whole)):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                read = read_idx(path, 3)
            except ValueError as error:
                assert "\n" not in str(error)
            else:
                assert np.array_equal(read, toy()[0])


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_lies_takes_no_memory(packed: bool, tmp_path: Path) -> None:
    content = struct.pack(">4I", 0x803, 2**10, 2**10, 2**10) + bytes(2**20)
    (tmp_path / IMAGES).write_bytes(gzip.compress(content) + bytes(2**20) if packed else content)  # gzip may be padded
    tracemalloc.start()
    with pytest.raises(ValueError, match=ENDS):
        read_idx(tmp_path / IMAGES, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
