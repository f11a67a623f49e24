"""What samples begin with is exactly what was given, and samples keep it."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from dct_jax import DCTCodec
from dct_jax.codec.jpeg import PartialJPEG, read_partial_jpeg
from dct_jax.config import DataConfig
from dct_jax.dct.sampling.conditioning import (
    bands,
    complete_prefix,
    enlarge,
    fit_to_model,
    luma,
    reduce,
    scans,
    share,
    small_picture,
)
from dct_jax.dct.steering import starts_of, to_colorize, to_continue, to_restore, to_upsample
from dct_jax.dct.trained_model import TrainedModel
from tests.toys import SMALLEST, TINY_CODEC, random_image, tiny_config, untrained

RNG = np.random.default_rng(0)


def with_order(order: str) -> TrainedModel:
    plain = tiny_config()
    return untrained(
        dataclasses.replace(
            plain,
            codec=dataclasses.replace(TINY_CODEC, channel_order=order),
            # One chunk holds any list: what goes on from it would be another program to compile.
            model=dataclasses.replace(SMALLEST, num_classes=3, chunk_size=400, overlap=4),
            training=dataclasses.replace(plain.training, label_dropout=0.5),
        )
    )


def ended(model: TrainedModel, starts: list) -> list:
    return [one for grown in model.sample_from(starts, 1, batch_size=4) for one in grown if one.state != "growing"]


def test_the_dcs_of_a_small_picture_are_its_pixels() -> None:
    """Against the formula: a constant block's DC is B times its level, over the divisor; chroma is
    the mean of four."""
    small = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    codec = DCTCodec(quality=90)
    prefix = small_picture(small, codec, (32, 48))
    dense = codec.to_dct_image(prefix.given)  # [4, 6, 192]
    assert prefix.next_rank == 3
    assert set(np.flatnonzero(dense.any(axis=(0, 1)))) <= {0, 64, 128}
    to_ycc = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    ycc = small @ to_ycc.T - [128, 0, 0]  # [4, 6, 3]
    tables = codec.quantization_tables[:, 0, 0]
    assert np.abs(dense[..., 0] - 8 * ycc[..., 0] / tables[0]).max() < 0.5 + 8 * 0.5 / tables[0] + 1e-6
    means = ycc.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))  # [2, 3, 3]
    for component in (1, 2):
        chroma = dense[::2, ::2, 64 * component]
        assert np.abs(chroma - 8 * means[..., component] / tables[component]).max() < 0.5 + 8 / tables[component]


def test_reducing_the_enlarged_gives_the_small_picture_back() -> None:
    small = RNG.integers(0, 256, (3, 5, 3), np.uint8)
    np.testing.assert_array_equal(reduce(small.repeat(8, axis=0).repeat(8, axis=1), 8), small)
    assert enlarge(small, 8, (20, 40)).shape == (20, 40, 3)
    uneven = np.full((9, 17, 3), 7, np.uint8)
    np.testing.assert_array_equal(reduce(uneven, 8), np.full((2, 3, 3), 7))


def test_the_mean_of_a_block_is_rounded() -> None:
    image = np.full((4, 8, 3), 100, np.uint8)
    image[:3, :4] = 101  # three quarters of the first block
    image[:1, 4:] = 101  # one quarter of the second
    np.testing.assert_array_equal(reduce(image, 4)[0, :, 0], [101, 100])


def test_upsampled_samples_have_the_given_dcs_exactly() -> None:
    model = with_order("banded")
    small = RNG.integers(0, 256, (4, 4, 3), np.uint8)
    given = to_upsample(model, small)
    samples = ended(model, starts_of(model, [given.prefix], 4, seed=0))
    assert len({len(one.sparse) for one in samples}) > 1
    for one in samples:
        assert one.start.label == 3  # hidden
        dense, expected = (model.codec.to_dct_image(sparse) for sparse in (one.sparse, given.prefix.given))
        np.testing.assert_array_equal(dense[..., ::16], expected[..., ::16])  # the DCs of all components, B^2 = 16
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert to_restore(model, large).prefix.given == given.prefix.given
    interleaved = dataclasses.replace(TINY_CODEC, channel_order="interleaved")
    dense = interleaved.to_dct_image(small_picture(small, interleaved, (16, 16)).given)
    np.testing.assert_array_equal(dense, model.codec.to_dct_image(given.prefix.given))


def test_prefixes_on_a_part_of_the_canvas() -> None:
    """A model of whole pictures: the small one has fewer blocks than the canvas, where positions
    are other numbers."""
    cropped = with_order("banded")
    config = dataclasses.replace(cropped.config, data=dataclasses.replace(cropped.config.data, fit="whole"))
    model = dataclasses.replace(cropped, config=config)
    given = to_upsample(model, RNG.integers(0, 256, (4, 3, 3), np.uint8), (15, 11))
    assert given.shown.shape == (15, 11, 3) and given.prefix.given.grid == (4, 3)
    samples = ended(model, starts_of(model, [given.prefix], 4, seed=0))
    assert max(len(one.sparse) for one in samples) > len(given.prefix.given)
    for one in samples:
        assert one.sparse.size == (15, 11)
        one.sparse.validate(model.network.vocabulary)
        dense, expected = (model.codec.to_dct_image(sparse) for sparse in (one.sparse, given.prefix.given))
        np.testing.assert_array_equal(dense[..., ::16], expected[..., ::16])
    starts = starts_of(model, [given.prefix], 4, seed=0)
    limit = len(given.prefix.given)
    at_once = [one for grown in model.sample_from(starts, batch_size=4, limit=limit) for one in grown]
    assert [(one.state, one.sparse == given.prefix.given, sum(one.nats)) for one in at_once] == [("cut", True, 0.0)] * 4


def test_colorized_samples_have_the_given_luma_exactly() -> None:
    model = with_order("luma_first")
    image = random_image(RNG)
    given = to_colorize(model, image)
    assert given.original is image or np.array_equal(given.original, image)
    assert (given.shown == given.shown[..., :1]).all()
    samples = ended(model, starts_of(model, [given.prefix], 4, seed=0, label=1))
    colours = set()
    for one in samples:
        luma_of, expected = (model.codec.to_dct_image(sparse)[..., :16] for sparse in (one.sparse, model.codec.encode(image)))
        np.testing.assert_array_equal(luma_of, expected)
        colours.add(len(one.sparse))
    assert len(colours) > 1
    grey = image[..., :1].repeat(3, axis=2)
    assert to_colorize(model, grey).original is None


def test_orders_that_cannot_do_it_say_so() -> None:
    small = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="channel order is luma_first; for upsampling it must list all DCs first"):
        small_picture(small, dataclasses.replace(TINY_CODEC, channel_order="luma_first"), (16, 16))
    sparse = TINY_CODEC.encode(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="channel order is banded; for colourisation it must be luma_first"):
        luma(sparse)
    with pytest.raises(ValueError, match="samples grey pictures"):
        luma(DCTCodec(chroma_subsampling="4:0:0").encode(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(ValueError, match="has 4 x 4 pixels; for 16 x 20 it must have 4 x 5"):
        small_picture(small, TINY_CODEC, (16, 20))


def test_bands_end_with_their_octave_in_every_order() -> None:
    image = random_image(RNG, 32, 32)
    for order in ("banded", "interleaved"):
        codec = DCTCodec(quality=90, channel_order=order)
        sparse = codec.encode(image)
        diagonals = [0, 1, 3, 7, 14]  # the last diagonal of each band
        diagonal = np.add.outer(np.arange(8), np.arange(8))
        coefficients = codec.to_coefficients(sparse)
        for number, last in enumerate(diagonals, 1):
            expected = [x * (diagonal <= last)[..., None, None] for x in coefficients]
            assert bands(sparse, number).given == codec.from_coefficients(expected, sparse.size)
        assert bands(sparse, 5).next_rank == 192
    for keep in (0, 6):
        with pytest.raises(ValueError, match="blocks of 8 x 8 have 1 to 5 bands"):
            bands(sparse, keep)
    luma_first = DCTCodec(quality=90, channel_order="luma_first").encode(image)
    assert (bands(luma_first, 3).given.channels < 64).all()


def test_shares_and_complete_prefixes() -> None:
    sparse = TINY_CODEC.encode(random_image(RNG))
    assert share(sparse, 0.25) == (sparse[: round(0.25 * len(sparse))], 0)
    assert share(sparse, 1.0).given == sparse and len(share(sparse, 0.0).given) == 0
    for keep in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="it must be a share of the list, from 0 to 1"):
            share(sparse, keep)
    rank = sparse.codec.vocabulary(sparse.size).rank
    prefix = complete_prefix(sparse, 7)
    assert (rank[prefix.given.channels] < 7).all() and rank[sparse.channels[len(prefix.given)]] >= 7


def test_a_truncated_file_is_gone_on_from_as_far_as_the_order_allows() -> None:
    file = io.BytesIO()
    Image.fromarray(random_image(RNG, 32, 32)).save(file, "JPEG", quality=50, progressive=True)
    data = file.getvalue()
    partial = read_partial_jpeg(data[: len(data) - 30])  # the last scan, luma's lowest bit, is missing
    codec = DCTCodec(quality=50)
    prefix, useless = scans(partial, codec)
    assert prefix.next_rank == 3  # the DCs; then comes luma, and lacks its lowest bit
    assert useless == 189
    all_known = partial._replace(missing_bits=np.zeros(192, np.int32))
    assert scans(all_known, codec) == ((partial.sparse, 192), 0)
    with pytest.raises(ValueError, match="the first channel of the list did not arrive"):
        scans(partial._replace(missing_bits=np.full(192, 2)), codec)
    # Values that no picture needs once were given as they are, which a model refuses.
    values = np.where(np.arange(len(partial.sparse)) == 0, 1000, partial.sparse.values).astype(np.int32)
    wild = partial._replace(sparse=dataclasses.replace(partial.sparse, values=values))
    assert scans(wild, codec)[0].given.values.max() <= codec.vocabulary((32, 32)).largest_value < 1000
    other = scans(partial, DCTCodec(quality=20))[0].given  # other tables: requantised
    assert other.codec == DCTCodec(quality=20)


@pytest.mark.parametrize(("lacking", "channels"), [((1, 0), 4), ((2, 0), None), ((1, 1), 3), ((0, 0), 4)])
def test_a_dc_may_lack_its_lowest_bit_and_others_none(lacking: tuple[int, int], channels: int | None) -> None:
    """Bits that the DCs lack, and the channel after them."""
    codec = DCTCodec()
    sparse = codec.encode(random_image(np.random.default_rng(0), 32, 32))
    missing = np.full(192, -1, np.int32)
    missing[[0, 64, 128]] = lacking[0]
    missing[codec.vocabulary(sparse.size).channels[3]] = lacking[1]
    partial = PartialJPEG(sparse, missing, 1, False)
    if channels is None:
        with pytest.raises(ValueError, match="the first channel of the list did not arrive"):
            scans(partial, codec)
    else:
        assert scans(partial, codec)[0].next_rank == channels


def test_pictures_are_reduced_to_the_canvas_or_refused() -> None:
    large = np.zeros((64, 64, 3), np.uint8)
    assert fit_to_model(large, DataConfig(image_size=(32, 32))).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="64 x 60 pixels; this model has seen 32 x 32 alone: crop"):
        fit_to_model(large[:, :60], DataConfig(image_size=(32, 32)))
    assert fit_to_model(large[:, :60], DataConfig(image_size=(32, 32), fit="whole")).shape == (32, 30, 3)
    with pytest.raises(ValueError, match=r"would become 2\.00 times larger"):
        fit_to_model(large[:16, :16], DataConfig(image_size=(32, 32)))


def test_a_whole_list_can_be_given_back() -> None:
    """If everything is kept, nothing is drawn but the stopping token."""
    model = with_order("banded")
    image = random_image(RNG)
    given = to_continue(model, image, lambda sparse: bands(sparse, 4))
    for one in ended(model, starts_of(model, [given.prefix], 4, seed=0)):
        assert one.sparse == model.codec.encode(image) and one.state == "complete"
        assert sum(one.nats) == pytest.approx(0, abs=1e-6)  # nothing else was possible
