"""The blocks' transform against scipy, the tables against libjpeg's, and the bound on the
values."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import fft

from dct_jax.codec import BLOCK_SIZES
from dct_jax.codec.quantization import largest_value, quantization_tables
from dct_jax.codec.transform import dct_matrix, forward, inverse


def constant(table: np.ndarray) -> np.ndarray:
    """A table as the codec has them, so that Numba compiles nothing new: int32, and read only."""
    table = table.astype(np.int32)
    table.flags.writeable = False
    return table


def as_blocks(plane: np.ndarray, size: int) -> np.ndarray:
    """[h * B, w * B] -> [h, w, B, B], one slice at a time."""
    height, width = plane.shape[0] // size, plane.shape[1] // size
    rows = [[plane[i * size : (i + 1) * size, j * size : (j + 1) * size] for j in range(width)] for i in range(height)]
    return np.array(rows)


def transformed(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """int16 [h, w, B, B], the quantised coefficients of each block."""
    size = len(table)
    out = np.empty((size, size, plane.shape[0] // size, plane.shape[1] // size), np.int16)
    forward(plane, constant(table), out)
    return out.transpose(2, 3, 0, 1)


def restored(coefficients: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The inverse, of [h, w, B, B]."""
    height, width, size, _ = coefficients.shape
    plane = np.empty((height * size, width * size), np.uint8)
    inverse(np.ascontiguousarray(coefficients.transpose(2, 3, 0, 1), np.int16), constant(table), plane)
    return plane


def rounding(size: int) -> float:
    """How far coefficients may be from exact ones before they are quantised: libjpeg rounds between
    and after the passes."""
    return 1.0 if size == 8 else 1e-6


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_the_matrix_is_scipys_orthonormal_dct(size: int) -> None:
    block = np.random.default_rng(0).uniform(-128, 127, (size, size))
    ours = dct_matrix(size) @ block @ dct_matrix(size).T
    np.testing.assert_allclose(ours, fft.dctn(block, norm="ortho"), atol=1e-9)
    assert np.square(ours).sum() == pytest.approx(np.square(block).sum(), rel=1e-12)  # Parseval's identity


@pytest.mark.parametrize("size", BLOCK_SIZES)
@pytest.mark.parametrize("width", [1, 3, 400])  # in blocks: several rows at once, and one row that is longer than a group
def test_forward_quantises_scipys_dct_of_each_block(size: int, width: int) -> None:
    plane = np.random.default_rng(1).integers(0, 256, (5 * size, width * size), dtype=np.uint8)
    table = quantization_tables(size, 50)[1]
    exact = fft.dctn(as_blocks(plane, size).astype(float) - 128, axes=(2, 3), norm="ortho") / table  # [5, w, B, B]
    quantised = transformed(plane, table)
    assert quantised.shape == exact.shape
    assert (np.abs(quantised - exact) <= 0.5 + rounding(size) / table).all()
    same = quantised == np.trunc(exact + np.copysign(0.5, exact))
    assert same.mean() > 0.998


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_quantising_by_one_keeps_the_energy(size: int) -> None:
    """Parseval's identity: every coefficient is off by half at most, so the norm is by half of
    B."""
    plane = np.random.default_rng(2).integers(0, 256, (size, size), dtype=np.uint8)
    norm = np.sqrt(np.square(plane.astype(float) - 128).sum())
    quantised = transformed(plane, np.ones((size, size), int)).astype(float)
    assert abs(np.sqrt(np.square(quantised).sum()) - norm) <= (0.5 + rounding(size)) * size


@pytest.mark.parametrize("quality", [5, 50, 95])
@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_what_comes_back_is_within_the_bound_of_quantisation(size: int, quality: int) -> None:
    """Each coefficient is off by half its divisor at most; Parseval gives the block's error;
    rounding pixels adds half of B."""
    table = quantization_tables(size, quality)[0]
    plane = np.random.default_rng(3).integers(0, 256, (3 * size, 4 * size), dtype=np.uint8)
    error = as_blocks(restored(transformed(plane, table), table).astype(float) - plane, size)
    bound = np.sqrt(np.square(table / 2 + rounding(size)).sum()) + (0.5 + rounding(size)) * size
    assert np.sqrt(np.square(error).sum(axis=(2, 3))).max() <= bound


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_inverse_is_scipys_idct_rounded_and_clipped(size: int) -> None:
    table = quantization_tables(size, 50)[0]
    coefficients = np.round(np.random.default_rng(2).normal(size=(4, 3, size, size)) * 100 / table).astype(np.int16)
    exact = np.clip(fft.idctn(coefficients * table, axes=(2, 3), norm="ortho") + 128, 0, 255)  # [4, 3, B, B]
    plane = restored(coefficients, table)
    assert plane.shape == (4 * size, 3 * size)
    assert np.abs(as_blocks(plane, size) - exact).max() <= 0.5 + rounding(size) / 2


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_the_inverse_of_absurd_coefficients_is_clipped_and_does_not_wrap_around(size: int) -> None:
    """Where B is not 8, samples became integers of 32 bits before they were clipped."""
    table = np.full((size, size), 65535, np.int32)
    for sign, level in ((1, 255), (-1, 0)):
        coefficients = np.zeros((1, 1, size, size), np.int16)
        coefficients[..., 0, 0] = sign * 32767
        assert (restored(coefficients, table) == level).all()
        coefficients[...] = sign * 32767  # in the corner all basis images are positive
        assert restored(coefficients, table)[0, 0] == level


def test_forward_rounds_half_away_from_zero() -> None:
    plane = np.array([[123, 125, 127, 128, 129, 131, 133]], np.uint8)  # minus 128 and halved: -2.5, -1.5, ..., 2.5
    assert transformed(plane, np.array([[2]])).ravel().tolist() == [-3, -2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_a_flat_block_half_way_between_two_values_rounds_away_from_zero(size: int) -> None:
    """The DC of a flat block is (level - 128) * B, so every second level is half way at a divisor
    of 2 B; libjpeg, whose DC is exact, rounds all of them away from zero."""
    plane = np.repeat(np.repeat(np.arange(256, dtype=np.uint8), size)[None], size, axis=0)  # [B, 256 * B]
    dc = transformed(plane, np.full((size, size), 2 * size))[0, :, 0, 0]
    assert dc.tolist() == [-((129 - level) // 2) if level < 128 else (level - 127) // 2 for level in range(256)]


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_a_flat_block_half_way_between_two_levels_rounds_up(size: int) -> None:
    """A block whose only coefficient is a DC of n / 2 times B lies n / 2 above the middle. The
    noise of float64 once decided whether a half went up or down."""
    halves = np.arange(-20, 21)  # in units of B / 2
    coefficients = np.zeros((1, len(halves), size, size), np.int16)
    coefficients[0, :, 0, 0] = halves
    table = np.full((size, size), max(size // 2, 1), np.int32)
    levels = 128 + (halves if size == 1 else (halves + 1) // 2)
    assert (as_blocks(restored(coefficients, table), size)[0] == levels[:, None, None]).all()


def test_tables_are_libjpegs_at_every_quality() -> None:
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        written = Image.open(file).quantization  # luma and chroma, in raster order
        luma, cb, cr = quantization_tables(8, quality)
        assert luma.ravel().tolist() == list(written[0]), quality
        assert cb.ravel().tolist() == list(written[1]), quality
        assert cr.ravel().tolist() == list(written[1]), quality


def test_chroma_is_scaled_by_the_quality() -> None:
    assert quantization_tables(8, 25)[1, 0, :5].tolist() == [34, 36, 48, 94, 198]
    assert quantization_tables(8, 75)[2, 0, :5].tolist() == [9, 9, 12, 24, 50]


@pytest.mark.parametrize("size", [16, 32])
def test_large_tables_repeat_each_entry_over_a_square(size: int) -> None:
    large, plain = quantization_tables(size, 35), quantization_tables(8, 35)
    assert large.shape == (3, size, size)
    for row in range(size):
        for col in range(size):
            assert large[:, row, col].tolist() == plain[:, row * 8 // size, col * 8 // size].tolist()


def test_small_tables_take_every_nth_entry() -> None:
    luma = [[16, 10, 24, 51], [14, 16, 40, 69], [18, 37, 68, 103], [49, 78, 103, 120]]
    assert quantization_tables(4, 50)[0].tolist() == luma
    assert quantization_tables(2, 50).tolist() == [[[16, 24], [18, 68]], [[17, 99], [99, 99]], [[17, 99], [99, 99]]]
    assert quantization_tables(1, 50).tolist() == [[[16]], [[17]], [[17]]]


def worst_planes(size: int) -> np.ndarray:
    """uint8 [2 * B^2 * B, B]: of each basis image and its opposite, black where it has one sign and
    white where it has the other."""
    k = np.arange(size)
    basis = np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / (2 * size))  # [B, B]
    images = np.einsum("ki,lj->klij", basis, basis).reshape(-1, size) > 0  # [B^2 * B, B]
    return np.concatenate([np.where(images, 255, 0), np.where(images, 0, 255)]).astype(np.uint8)


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_no_plane_exceeds_the_largest_value_and_some_plane_reaches_it(size: int, quality: int) -> None:
    tables, worst = quantization_tables(size, quality), worst_planes(size)
    found = max(int(np.abs(transformed(worst, table)).max()) for table in tables[:2])
    assert largest_value(tables) - 1 <= found <= largest_value(tables)


def test_libjpegs_rounding_exceeds_the_largest_value_at_no_quality() -> None:
    """With other tables it may, by 1."""
    worst = worst_planes(8)
    for quality in range(1, 101):
        tables = quantization_tables(8, quality)
        assert max(int(np.abs(transformed(worst, table)).max()) for table in tables[:2]) <= largest_value(tables), quality
