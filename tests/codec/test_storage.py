"""Files of triples: exact, and safe to read whatever they hold."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dct_jax.codec import DCTCodec, SparseDCT, load_npz, save_npz
from dct_jax.codec.storage import LARGEST_RATIO
from tests.toys import random_image

CODEC = DCTCodec(block_size=4, quality=60, chroma_subsampling="4:4:4", channel_order="luma_first")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, SparseDCT]:
    sparse = CODEC.encode(random_image(np.random.default_rng(0), 19, 30))
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        save_npz(file, sparse)
    return path, sparse


def replace(path: Path, name: str, array: np.ndarray | bytes) -> None:
    """Puts another array, or raw bytes, in the place of one of the file's arrays."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    if isinstance(array, np.ndarray):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=True)
        array = buffer.getvalue()
    members[f"{name}.npy"] = array
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def test_it_gives_back_the_list_and_the_codec(saved: tuple[Path, SparseDCT]) -> None:
    path, sparse = saved
    assert load_npz(path) == sparse
    assert sparse.codec == CODEC


def test_tables_of_ones_own_come_back(tmp_path: Path) -> None:
    codec = DCTCodec(8, None, tables=tuple(range(1, 193)))
    sparse, path = codec.encode(random_image(np.random.default_rng(0), 19, 30)), tmp_path / "own.npz"
    with path.open("wb") as file:
        save_npz(file, sparse)
    assert load_npz(path) == sparse


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("size", np.array([10**6, 10**6]), "the size is 1000000 x 1000000 pixels"),
        ("size", np.array([0, 4]), "the size is 0 x 4 pixels"),
        ("size", np.array([19, 30, 3]), "at most"),
        ("quality", np.array(101), "quality is 101"),
        ("channel_order", np.array("random"), "channel_order is 'random'"),
        ("channels", np.zeros(10**6, np.int32), r"channels is int32 \[1000000\]; it must be at most"),
        ("values", np.zeros(3), "values is float64"),
        ("values", np.array([{}], object), "values is object"),
        ("positions", np.zeros(0, np.int32), "positions has 0 elements"),
        ("positions", np.zeros(10**5, np.int32), r"positions is int32 \[100000\]; it must be at most"),
        ("values", np.full(100, 2**32 + 5), r"values has 100 elements|triple 0 is .* values are"),
        ("tables", np.zeros(3), "tables is float64"),
        ("values", b"garbage", "this is no file of triples"),
    ],
)
def test_forged_files_are_refused(saved: tuple[Path, SparseDCT], name: str, array: np.ndarray, message: str) -> None:
    replace(saved[0], name, array)
    with pytest.raises(ValueError, match=message):
        load_npz(saved[0])


def test_a_file_of_integers_of_another_kind_is_one_of_int32(saved: tuple[Path, SparseDCT]) -> None:
    """Numba refused big-endian integers with its own error when a model read the list."""
    path, sparse = saved
    replace(path, "channels", sparse.channels.astype(">i4"))
    replace(path, "values", sparse.values.astype(np.int64))
    again = load_npz(path)
    assert again == sparse
    assert {x.dtype for x in (again.channels, again.positions, again.values)} == {np.dtype(np.int32)}


def test_a_header_that_claims_more_than_there_is_takes_no_memory(saved: tuple[Path, SparseDCT]) -> None:
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    claim = b"{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999,), }"
    replace(saved[0], "values", header + claim.ljust(117) + b"\n")
    with pytest.raises(ValueError, match="at most"):
        load_npz(saved[0])


def test_every_damaged_byte_gives_the_list_or_an_error(saved: tuple[Path, SparseDCT]) -> None:
    path, _ = saved
    good, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        for place in rng.integers(0, len(good), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(
            bytes(damaged[: rng.integers(len(good) // 2, len(good) + 1)]) if rng.random() < 0.3 else bytes(damaged)
        )
        try:
            sparse = load_npz(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            sparse.codec.check(sparse)
    assert refused > 150


def test_lists_of_periodic_pictures_are_read(tmp_path: Path) -> None:
    """Deflate packs them more tightly than any list of a photograph: into less than a 64th."""
    tile = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    sparse = DCTCodec(8, 100, "4:4:4").encode(np.tile(tile, (32, 32, 1)))
    path = tmp_path / "tiles.npz"
    with path.open("wb") as file:
        save_npz(file, sparse)
    assert 4 * len(sparse) > 64 * path.stat().st_size
    assert load_npz(path) == sparse


def test_no_file_claims_more_than_deflate_makes_of_it(saved: tuple[Path, SparseDCT]) -> None:
    """One of bzip2 took 2 GB for 1,760 bytes."""
    path, _ = saved
    replace(path, "size", np.array([16384, 16384]))  # so large a picture has more triples than the file has room for
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    most = LARGEST_RATIO * path.stat().st_size // 4
    claim = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({2 * most},), }}".encode()
    replace(path, "channels", header + claim.ljust(117) + b"\n")
    with pytest.raises(ValueError, match=rf"channels is int32 \[{2 * most}\]; it must be at most"):
        load_npz(path)
    packed = path.with_name("packed.npz")
    with zipfile.ZipFile(path) as read, zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as write:
        for name in read.namelist():
            write.writestr(name, read.read(name))
    with pytest.raises(ValueError, match="it is compressed otherwise than NumPy does"):
        load_npz(packed)
