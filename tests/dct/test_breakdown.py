"""Bits by symbol, component, band and chunk: every part adds up, and standard errors are those of
repeated experiments."""

import numpy as np
import pytest

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.breakdown import break_down
from dct_jax.dct.likelihood import element_log_prob, list_log_prob
from dct_jax.dct.network import SymbolNats
from dct_jax.evaluation.estimate import ratio
from tests.toys import SMALLEST, TINY_CODEC, batch_of, random_image, random_params, tiny_model


def triples(*rows: tuple[int, int, int], codec: DCTCodec = TINY_CODEC, size: tuple[int, int] = (16, 16)) -> SparseDCT:
    return SparseDCT(*np.array(rows, np.int32).reshape(-1, 3).T, size, codec)


def nats_of(*rows: tuple[float, float, float]) -> SymbolNats:
    return SymbolNats(*np.log(2) * -np.array(rows).T)


def test_each_symbol_is_counted_where_it_belongs() -> None:
    """Against literal numbers. B = 4: channels 0..15 are Y; zigzag index 1 has frequencies (0, 1),
    index 4 (1, 1)."""
    lists = [triples((0, 3, 5), (1, 0, -1), (16 + 4, 2, 1)), triples(size=(16, 8))]
    nats = [nats_of((1, 2, 3), (10, 20, 30), (100, 200, 300), (7, 0, 0)), nats_of((9, 0, 0))]
    bits = break_down(lists, nats, chunk_size=2)

    def means(estimates: dict) -> dict:
        return {name: pytest.approx(2 * one.mean) for name, one in estimates.items() if one.mean}

    assert (bits.images, bits.pixels, bits.triples) == (2, 384, 3)
    assert bits.bits_per_image.mean == pytest.approx((666 + 7 + 9) / 2)
    assert bits.bits_per_pixel.mean == pytest.approx(682 / 384)
    assert bits.nats_per_triple.mean == pytest.approx(682 * np.log(2) / 5)
    assert means(bits.by_symbol) == {"channel": 111 + 16, "position": 222, "value": 333}
    assert means(bits.by_component) == {"Y": 66, "Cb": 600, "stop": 16}
    assert means(bits.by_band) == {"0": 6, "1": 60, "2": 600, "stop": 16}
    assert means(bits.by_chunk) == {"0": 66 + 9, "1": 607}
    assert list(bits.by_component) == ["Y", "Cb", "Cr", "stop"]
    assert list(bits.by_band) == ["0", "1", "2", "3", "4", "5", "6", "stop"]


def test_pictures_without_chroma_have_one_component() -> None:
    codec = DCTCodec(block_size=4, chroma_subsampling="4:0:0")
    bits = break_down([triples((0, 0, 1), codec=codec)], [nats_of((1, 2, 3), (4, 0, 0))], chunk_size=8)
    assert list(bits.by_component) == ["Y", "stop"]
    assert np.isnan(bits.bits_per_pixel.standard_error)


def test_the_parts_of_real_lists_add_up_to_their_likelihood() -> None:
    model, rng = tiny_model(SMALLEST), np.random.default_rng(0)
    lists = [TINY_CODEC.encode(random_image(rng)) for _ in range(4)]
    params = random_params(model, batch_of(model, lists))
    nats = element_log_prob(model, params, lists, batch_size=4)
    assert [x.shape for x in nats[0]] == [(len(lists[0]) + 1,)] * 3
    bits = break_down(lists, nats, model.config.chunk_size)
    whole = -sum(symbol.sum() for symbol in list_log_prob(model, params, lists, batch_size=4)) / np.log(2) / 4
    for parts in (bits.by_symbol, bits.by_component, bits.by_band, bits.by_chunk):
        assert sum(one.mean for one in parts.values()) == pytest.approx(whole, rel=1e-9)


def test_standard_errors_are_the_spread_of_repeated_experiments() -> None:
    """Bits that grow with the number of pixels: the ratio's error is far smaller than that of the
    bits alone."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 1000, (4000, 50)).astype(float)  # [experiments, images]
    bits = 2 * pixels + rng.normal(0, 30, pixels.shape)
    estimates = [ratio(*one) for one in zip(bits, pixels)]
    means, errors = np.array([(one.mean, one.standard_error) for one in estimates]).T
    assert means.std() == pytest.approx(errors.mean(), rel=0.05)
    # Every image counted twice says nothing more: crops of one picture are no independent images.
    twice = ratio(np.tile(bits[0], 2), np.tile(pixels[0], 2), np.tile(np.arange(50), 2))
    assert twice.standard_error == pytest.approx(estimates[0].standard_error)
    assert ratio(bits[0]).standard_error == pytest.approx(bits[0].std(ddof=1) / np.sqrt(50))


def test_crops_of_one_picture_are_no_independent_images() -> None:
    """Every list twice: a breakdown that is told so has the standard errors of each once."""
    rng = np.random.default_rng(3)
    lists = [TINY_CODEC.encode(random_image(rng)) for _ in range(6)]
    nats = [SymbolNats(*-rng.random((3, len(sparse) + 1)).astype(np.float32)) for sparse in lists]
    once = break_down(lists, nats, 24)
    twice = break_down(lists * 2, nats * 2, 24, [*range(6), *range(6)])
    for name in ("bits_per_image", "bits_per_pixel", "nats_per_triple"):
        ours, theirs = getattr(once, name), getattr(twice, name)
        assert (theirs.mean, theirs.standard_error) == pytest.approx((ours.mean, ours.standard_error))
    for name in ("by_symbol", "by_component", "by_band", "by_chunk"):
        for ours, theirs in zip(getattr(once, name).values(), getattr(twice, name).values(), strict=True):
            assert theirs.standard_error == pytest.approx(ours.standard_error)
    assert (once.pictures, twice.pictures, twice.images) == (6, 6, 12)
