"""Statistics of lists, against numbers worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from dct_jax import DCTCodec
from dct_jax.data.central_crops import evenly_spaced_crops
from dct_jax.data.pixels import decode_image
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import LANDSCAPES, open_source
from dct_jax.dct.plots.statistics import overview
from dct_jax.dct.statistics import ListStatistics, join, measure, psnr, survey, sweep, table
from tests.toys import random_image

CODEC = DCTCodec(quality=50)


def flat(level: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def test_psnr_is_its_formula() -> None:
    assert psnr(flat(100), flat(110)) == pytest.approx(20 * math.log10(255 / 10))
    one = flat(0, (1, 2))
    one[0, 1, 2] = 255
    assert psnr(flat(0, (1, 2)), one) == psnr(one, flat(0, (1, 2))) == pytest.approx(10 * math.log10(6))
    assert psnr(one, one) == math.inf


def test_a_flat_image_has_one_value_a_block() -> None:
    """DC is 8 * (200 - 128) = 576, and 576 / 16 = 36: four triples, which give back 200."""
    row = measure(flat(200), CODEC)
    assert (row.codec, row.lengths.tolist(), row.largest, row.decibels.tolist()) == (CODEC, [4], 36, [math.inf])
    assert row.nonzeros.tolist() == [4] + [0] * 191
    assert row.places.tolist() == [4] * 64 + [1] * 128


def test_a_flat_image_that_is_rounded() -> None:
    """DC is 584, 584 / 16 = 36.5 becomes 37, and 37 * 16 / 8 + 128 = 202 is off by 1."""
    row = measure(flat(201), CODEC)
    assert row.largest == 37
    assert row.decibels.tolist() == [pytest.approx(20 * math.log10(255))]
    negative = measure(flat(0), CODEC)  # 8 * -128 / 16
    assert negative.largest == 64


def test_an_empty_list_and_a_codec_without_chroma() -> None:
    codec = DCTCodec(chroma_subsampling="4:0:0", block_size=4)
    row = measure(flat(128, (5, 3)), codec)
    assert (row.lengths.tolist(), row.largest, row.nonzeros.sum()) == ([0], 0, 0)
    assert row.places.tolist() == [2] * 16


def test_a_survey_joins_images_and_keeps_codecs_apart() -> None:
    images = [random_image(np.random.default_rng(i), 24, 20 + 4 * i) for i in range(3)]
    codecs = [DCTCodec(quality=20), DCTCodec(4, quality=80, chroma_subsampling="4:4:4")]
    rows = survey(iter(images), codecs)
    assert [row.codec for row in rows] == codecs
    for row in rows:
        lists = [row.codec.encode(image) for image in images]
        assert row.lengths.tolist() == [len(sparse) for sparse in lists]
        assert row.nonzeros.sum() == sum(map(len, lists))
        assert row.largest == max(np.abs(sparse.values).max() for sparse in lists)
        assert row.decibels.shape == (3,)
        for channel in (0, 17):
            assert row.nonzeros[channel] == sum((sparse.channels == channel).sum() for sparse in lists)
    # 24 rows; 20, 24 and 28 columns: in blocks of 8 3 x (3 + 3 + 4), and 2 x 2 of chroma each; in
    # blocks of 4 6 x (5 + 6 + 7).
    assert rows[0].places.tolist() == [30] * 64 + [12] * 128
    assert rows[1].places.tolist() == [108] * 48


def test_the_mean_psnr_is_over_images_that_lose_something() -> None:
    joined = join([measure(flat(level), CODEC) for level in (200, 201, 199)])  # 35.5 becomes 36, which is 200
    assert joined.mean_psnr == pytest.approx(20 * math.log10(255))
    assert measure(flat(200), CODEC).mean_psnr == math.inf


def test_a_sweep_has_every_codec_once_and_keeps_the_rest() -> None:
    codec = DCTCodec(16, quality=30, chroma_subsampling="4:4:4", channel_order="luma_first")
    codecs = sweep(codec, (16, 8, 8), (90, 30))
    assert [(c.block_size, c.quality) for c in codecs] == [(8, 30), (8, 90), (16, 30), (16, 90)]
    assert codecs[2] == codec
    assert {(c.chroma_subsampling, c.channel_order) for c in codecs} == {("4:4:4", "luma_first")}
    own = DCTCodec(2, quality=None, tables=tuple(range(1, 13)))
    assert sweep(own, (2,), (50,)) == [DCTCodec(2, quality=50), own]
    assert sweep(codec, (), ()) == [codec]


def test_pictures_are_evenly_spaced_over_the_source() -> None:
    pictures = open_source("landscapes")
    images = list(evenly_spaced_crops(pictures, 4, None, Skipped(4, 1.0)))
    assert len(images) == 4
    for image, index in zip(images, (0, 49, 99, 148)):
        np.testing.assert_array_equal(image, decode_image(pictures[index].image))


def test_pictures_are_cropped_in_the_middle(tmp_path: Path) -> None:
    whole = next(evenly_spaced_crops(open_source("landscapes"), 1, None, Skipped(1, 1.0)))  # [120, 240, 3]
    (crop,) = evenly_spaced_crops(open_source("landscapes"), 1, (120, 100), Skipped(1, 1.0))
    np.testing.assert_array_equal(crop, whole[:, 70:170])
    (small,) = evenly_spaced_crops(open_source("landscapes"), 1, (30, 30), Skipped(1, 1.0))
    means = whole[:, 60:180].reshape(30, 4, 30, 4, 3).mean(axis=(1, 3))  # of the squares that become a pixel
    assert small.shape == (30, 30, 3)
    assert np.abs(small - means).mean() < 4 < np.abs(small[:, ::-1] - means).mean()


def test_pictures_that_cannot_be_used_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "b.jpg").write_bytes((LANDSCAPES / "sky0.jpg").read_bytes())
    pictures, skipped = open_source(f"folder:{tmp_path}"), Skipped(2, 1.0)
    assert [image.shape for image in evenly_spaced_crops(pictures, 2, None, skipped)] == [(120, 240, 3)]
    assert skipped.summary() == "1 picture cannot be used (1 not readable)"
    assert list(skipped.by_key) == [str(tmp_path / "a.jpg")]
    with pytest.raises(ValueError, match=r"none of the 1 pictures that were tried can be used; .*a.jpg: this is no"):
        list(evenly_spaced_crops(pictures, 1, None, Skipped(1, 1.0)))
    skipped = Skipped(2, 1.0)
    with pytest.raises(ValueError, match="none of the 2 pictures"):
        list(evenly_spaced_crops(pictures, 2, (500, 9), skipped))
    (tmp_path / "twice.csv").write_text("image_path\na.jpg\na.jpg\n")
    with pytest.raises(ValueError, match="none of the 2 pictures"):
        list(evenly_spaced_crops(open_source(f"csv:{tmp_path}/twice.csv"), 2, None, Skipped(2, 1.0)))
    message = skipped.by_key[str(tmp_path / "b.jpg")].message
    assert message.endswith("b.jpg: the picture has 120 x 240 pixels; it must have at least 500 x 9")


def test_the_table() -> None:
    lengths, decibels = np.arange(0, 2001, 20), np.array([30.0, 31.0, math.inf])
    places, nonzeros = np.full(48, 100), np.zeros(48, np.int64)
    nonzeros[[0, 16]] = 90, 6  # 96 of 4800
    row = ListStatistics(DCTCodec(4, quality=35), lengths, nonzeros, places, 17, decibels)
    own = row._replace(codec=DCTCodec(4, quality=None, tables=tuple(range(1, 49))), decibels=decibels[2:])
    assert table([row, own]) == (
        "B       q  mean   p5   p50   p95   max  non-zero %  largest  PSNR dB\n"
        "4      35  1000  100  1000  1900  2000        2.00       17    30.50\n"
        "4  tables  1000  100  1000  1900  2000        2.00       17      inf"
    )


@pytest.mark.parametrize(
    ("level", "codec", "names", "points", "shares"),
    [
        (128, DCTCodec(), [], [0, 0, 1], [0, 0, 0]),
        (201, DCTCodec(2, quality=None, tables=(3,) * 12), ["own tables", "20"], [0, 1, 0, 1], [1, 0, 0]),
        (200, DCTCodec(chroma_subsampling="4:0:0"), ["20", "20"], [1, 1, 1], [1]),
    ],
)
def test_the_plot_of_lists_that_are_empty_or_exact(
    level: int, codec: DCTCodec, names: list[str], points: list[int], shares: list[int]
) -> None:
    """Left, what is exact has no PSNR: the points of each block size with a table of libjpeg, and
    the mark of the right panel's codec. Right, the channels that are not all zero."""
    figure = overview(survey([flat(level)], sweep(codec, (8, 16), (20, 80))), codec)
    figure.canvas.draw()
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == names
    assert [len(line.get_xdata()) for line in left.lines] == points
    assert [np.isfinite(line.get_ydata()).sum() for line in right.lines] == shares


def test_the_plot_shows_the_numbers() -> None:
    codec = DCTCodec(8, quality=80)
    rows = survey([random_image(np.random.default_rng(0), 64, 64)], sweep(codec, (8, 16), (20, 80)))
    left, right = overview(rows, codec).axes
    lines = [np.transpose(line.get_data()).tolist() for line in left.lines[:2]]
    points = [[row.lengths.mean(), row.mean_psnr] for row in rows]
    assert lines == [points[:2], points[2:]]
    assert [text.get_text() for text in left.texts] == ["20", "80", "20", "80"]
    assert np.transpose(left.lines[2].get_data()).tolist() == [points[1]]
    luma = right.lines[0].get_ydata()
    assert luma[0] == rows[1].nonzeros[0] / 64  # of 8 x 8 blocks
    assert len(right.lines) == 3 and len(luma) == 64
