"""Progressive JPEG files that end anywhere: what is said to be known is what the whole file
says."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import SparseDCT, jpeg
from dct_jax.codec.jpeg import read_partial_jpeg
from tests.toys import random_image


def progressive(image: np.ndarray, subsampling: str = "4:2:0", quality: int = 50, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling, progressive=True, **settings)
    return file.getvalue()


def known_part(sparse: SparseDCT, missing_bits: np.ndarray) -> np.ndarray:
    """The DCT image, int32 [h, w, C], without the bits that are missing: magnitudes rounded towards
    zero."""
    dense = sparse.codec.to_dct_image(sparse)
    bits = np.where(missing_bits < 0, 15, missing_bits)
    return np.sign(dense) * (np.abs(dense) >> bits << bits)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_file_cut_anywhere_gives_what_it_says_it_gives(subsampling: str) -> None:
    data = progressive(random_image(np.random.default_rng(0), 40, 56), subsampling)
    whole = SparseDCT.from_jpeg(data)
    refused, scans = 0, []
    for length in [*range(0, len(data), 61), len(data) - 3, len(data) - 2, len(data) - 1]:
        try:
            partial = read_partial_jpeg(data[:length])
        except ValueError:
            refused += 1
            assert not scans  # once a scan of each component has arrived, every longer piece can be read
            continue
        assert not partial.whole
        assert partial.sparse.size == whole.size and partial.sparse.codec == whole.codec
        np.testing.assert_array_equal(
            known_part(partial.sparse, partial.missing_bits)[..., partial.missing_bits == 0],
            known_part(whole, partial.missing_bits)[..., partial.missing_bits == 0],
        )
        scans.append(partial.scans)
    assert refused and scans == sorted(scans) and len(set(scans)) >= 7
    at_the_end = read_partial_jpeg(data)
    assert at_the_end.whole and at_the_end.sparse == whole and not at_the_end.missing_bits.any()


def test_missing_bits_are_those_of_successive_approximation() -> None:
    """libjpeg's script sends DCs without their lowest bit first, and luma's low frequencies without
    two."""
    data = progressive(random_image(np.random.default_rng(1), 64, 64))
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    whole = SparseDCT.from_jpeg(data)
    dense = whole.codec.to_dct_image(whole)
    first = read_partial_jpeg(data[: starts[1]])
    expected = np.full(192, -1)
    expected[[0, 64, 128]] = 1
    np.testing.assert_array_equal(first.missing_bits, expected)
    # A DC's value is shifted with its sign, so it is rounded down, not towards zero.
    np.testing.assert_array_equal(first.sparse.codec.to_dct_image(first.sparse)[..., 0], dense[..., 0] >> 1 << 1)
    second = read_partial_jpeg(data[: starts[2]])
    expected[1:6] = 2
    np.testing.assert_array_equal(second.missing_bits, expected)
    np.testing.assert_array_equal(
        second.sparse.codec.to_dct_image(second.sparse)[..., 1:6], known_part(whole, np.full(192, 2))[..., 1:6]
    )


def test_turned_pictures_keep_what_is_known_of_each_channel() -> None:
    exif = Image.Exif()
    exif[0x0112] = 5  # transposed
    image = random_image(np.random.default_rng(2), 48, 64)
    data = progressive(image, exif=exif.tobytes())
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    partial = read_partial_jpeg(data[: starts[2]])
    assert partial.sparse.size == (64, 48)
    plain = read_partial_jpeg(progressive(image)[: len(data[: starts[2]]) - (len(data) - len(progressive(image)))])
    # Zigzag indices 1..5 are the frequencies (0, 1), (1, 0), (2, 0), (1, 1), (0, 2): the same set
    # when transposed.
    np.testing.assert_array_equal(partial.missing_bits, plain.missing_bits)
    np.testing.assert_array_equal(
        partial.sparse.codec.to_dct_image(partial.sparse)[..., 0], plain.sparse.codec.to_dct_image(plain.sparse)[..., 0].T
    )


def test_a_baseline_file_has_nothing_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jpg"
    Image.fromarray(random_image(np.random.default_rng(0), 32, 32)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ValueError, match=r"baseline.jpg: this JPEG file ends before there is a whole scan"):
        read_partial_jpeg(path)
    with pytest.raises(ValueError, match="no JPEG file"):
        read_partial_jpeg(b"\x89PNG")


def test_damage_before_the_end_is_no_truncation() -> None:
    """A wrong byte inside of a scan that others follow is an error, and no shorter file."""
    data = progressive(random_image(np.random.default_rng(0), 64, 64))
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    faults = 0
    for place in range(starts[1] + 10, starts[2] - 20, 7):
        damaged = data[:place] + b"\xff\xd9" + data[place + 2 :]  # the end of the image, in the middle of a scan
        try:
            assert not read_partial_jpeg(damaged).whole
        except ValueError:
            faults += 1
    assert faults


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 64)), (6, (64, 40))])
def test_a_size_that_is_not_wanted_is_refused_before_anything_is_decoded(
    orientation: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged file took some 600 times its memory before a model's size was looked at."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = progressive(random_image(np.random.default_rng(0), 40, 64), exif=exif.tobytes())
    monkeypatch.setattr(jpeg, "_decode", lambda *_: pytest.fail("it was decoded"))

    def refuse(size: tuple[int, int]) -> None:
        raise ValueError(f"not {size}")

    with pytest.raises(ValueError, match=rf"not \({size[0]}, {size[1]}\)"):
        read_partial_jpeg(data, check_size=refuse)


@pytest.mark.parametrize(("orientation", "transposed"), [(None, False), (3, False), (5, True), (6, True)])
def test_missing_bits_are_turned_with_the_picture(orientation: int | None, transposed: bool) -> None:
    """On its side a picture has its first horizontal frequency where the file has the first
    vertical one. Files of libjpeg's own script cannot show it: their scans end where both have
    come."""
    known = [[0, 2, 1, *[-1] * 61], [0] * 64]
    arrived = SimpleNamespace(known=known, header=SimpleNamespace(upright=orientation))
    missing = jpeg._missing_bits(arrived)
    assert missing.shape == (128,)
    assert missing[:4].tolist() == ([0, 1, 2, -1] if transposed else [0, 2, 1, -1])
    assert not missing[64:].any()
