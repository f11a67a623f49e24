"""One model for the tables of many qualities: what it is told, and what follows from it."""

import dataclasses
import io
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT, Vocabulary
from dct_jax.codec.quantization import largest_value, quantization_tables
from dct_jax.config import DataConfig
from dct_jax.data.pipeline import read_held_out, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import Record, open_source
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.likelihood import list_log_prob
from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.network.quality import largest_values, log_tables
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.nn.masks import IMPOSSIBLE
from tests.toys import SMALLEST, apply, random_image, random_params, tiny_config, untrained

LOW, HIGH = 8, 60


def config_of(**data: object) -> DCTConfig:
    """The toys' configuration, quality 30, for the qualities 8 to 60."""
    config = tiny_config()
    model = dataclasses.replace(SMALLEST, qualities=(LOW, HIGH))
    codec = DCTCodec(8 if "own_coefficients" in data else 4, 30)
    return dataclasses.replace(config, codec=codec, model=model, data=dataclasses.replace(config.data, **data))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return untrained(config_of())


def codec_of(quality: int) -> DCTCodec:
    return DCTCodec(block_size=4, quality=quality)


def lists_of(qualities: tuple[int, ...]) -> list[SparseDCT]:
    rng = np.random.default_rng(0)
    return [codec_of(quality).encode(random_image(rng)) for quality in qualities]


def file_of(image: np.ndarray, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **settings)
    return file.getvalue()


def test_the_vocabulary_is_that_of_the_highest_quality() -> None:
    config, bounds = config_of(), [largest_value(quantization_tables(4, quality)) for quality in range(LOW, HIGH + 1)]
    vocabulary = config.vocabulary
    assert vocabulary == codec_of(HIGH).vocabulary((16, 16)) == network(config).vocabulary
    assert vocabulary.largest_value == max(bounds) > codec_of(30).vocabulary((16, 16)).largest_value
    assert largest_values(vocabulary)[LOW : HIGH + 1].tolist() == bounds
    assert largest_values(vocabulary)[[0, 100]].tolist() == [vocabulary.largest_value] * 2
    assert tiny_config().vocabulary == codec_of(30).vocabulary((16, 16))


def test_an_embedding_is_made_of_the_divisors() -> None:
    """Annex K's luma begins with 16 and 11, and chroma with 17; its last divisor of chroma is
    99."""
    tables = log_tables(DCTCodec(8, 50).vocabulary((8, 8)))
    assert tables.shape == (101, 192) and tables.dtype == np.float32
    np.testing.assert_allclose(tables[50, [0, 1, 64, 191]], np.log2([16, 11, 17, 99]) / 4 - 1, rtol=1e-6)
    np.testing.assert_allclose(tables[25, 0], np.log2(32) / 4 - 1, rtol=1e-6)
    assert not tables[0].any() and (tables[100] == -1).all()
    assert log_tables(Vocabulary(4, (1, 1), 9, "4:0:0")).shape == (101, 16)


def test_the_quality_reaches_every_symbol_and_does_so_smoothly(model: TrainedModel) -> None:
    """One chunk, told every second quality: neighbours differ, but by a small part of what the ends
    differ by."""
    qualities = np.arange(LOW, HIGH + 1, 2, dtype=np.int32)
    sparse, number = lists_of((LOW,))[0], len(qualities)
    batch = ChunkReader(model.config).example(number)
    chunk = make_chunks([sparse] * number, [0] * number, [0] * number, model.network.vocabulary, 24, 8)
    assert chunk.quality.tolist() == [LOW] * number and jax.tree.map(np.shape, chunk) == jax.tree.map(np.shape, batch)
    for logits in apply(model.network, model.variables, chunk._replace(quality=qualities)):
        possible = np.asarray(logits > IMPOSSIBLE).all(axis=0)
        numbers = np.where(possible, logits, 0).reshape(number, -1)  # [Q, S N]
        steps = np.linalg.norm(np.diff(numbers, axis=0), axis=1)
        ends = np.linalg.norm(numbers[-1] - numbers[0])
        assert steps.min() > 3e-3 * ends > 0
        assert steps.max() < 0.25 * ends


def test_lists_of_mixed_qualities_have_the_likelihood_of_each_alone(model: TrainedModel) -> None:
    lists = lists_of((8, 30, 60, 60, 17))
    together = sum(model.log_prob(lists).values())
    for i, sparse in enumerate(lists):
        assert sum(model.log_prob([sparse]).values())[0] == pytest.approx(together[i], rel=1e-5)
    moved = dataclasses.replace(lists[0], codec=codec_of(9))  # the same triples, of other tables
    assert abs(sum(model.log_prob([moved]).values())[0] - together[0]) > 1e-3


@pytest.mark.parametrize(("quality", "largest"), [(1, 1), (11, 2), (16, 3)])
def test_the_lists_of_every_quality_sum_to_one(quality: int, largest: int) -> None:
    """Grey pictures of two blocks of one pixel: (2 V + 1)^2 lists, and V depends on the quality."""
    codec = DCTCodec(1, quality, "4:0:0")
    assert codec.vocabulary((1, 2)).largest_value == largest
    config = dataclasses.replace(SMALLEST, chunk_size=2, overlap=1, max_chunks=2, qualities=(1, 16))
    model = DCTransformer(DCTCodec(1, 16, "4:0:0").vocabulary((1, 2)), config)
    lists = []
    for dense in itertools.product(range(-largest, largest + 1), repeat=2):
        lists.append(codec.from_dct_image(np.array(dense).reshape(1, 2, 1), (1, 2)))
    chunk = make_chunks(lists[:1], [0], [0], model.vocabulary, 2, 1)
    nats = sum(list_log_prob(model, random_params(model, chunk), lists, batch_size=64))
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-4)
    assert np.exp(nats).max() < 0.9


@pytest.mark.slow
def test_samples_have_the_quality_that_is_asked_for(model: TrainedModel) -> None:
    """They are lists of that codec and no other, and the sampler's steps give the likelihood of the
    parallel pass."""
    for quality in (None, LOW, HIGH):
        starts = model.starts(3, seed=1, quality=quality)
        samples = [one for batch in model.sample_from(starts, 1, batch_size=3) for one in batch if one.state == "complete"]
        lists = [one.sparse for one in samples]
        assert {sparse.codec for sparse in lists} == {codec_of(quality or 30)}
        for sparse in lists:
            assert sparse.codec.decode(sparse).shape == (16, 16, 3)
            sparse.validate(sparse.codec.vocabulary((16, 16)))
        stepwise = np.array([one.nats for one in samples])  # [N, 3]
        np.testing.assert_allclose(np.stack(list(model.log_prob(lists).values()), axis=1), stepwise, rtol=1e-4, atol=1e-3)
    assert model.sample(2, seed=1, quality=LOW, batch_size=3)[0].codec.quality == LOW
    assert model.blank((16, 16), 9) == SparseDCT.empty((16, 16), codec_of(9))


def test_other_qualities_and_tables_are_refused(model: TrainedModel) -> None:
    known = "the model knows qualities 8 to 60 of the codec B = 4, quality 30, 4:2:0, banded"
    empty, taken = (
        SparseDCT.empty((16, 16), codec_of(61)),
        [quality for quality in range(1, 101) if model.config.takes(codec_of(quality))],
    )
    assert taken == list(range(LOW, HIGH + 1))
    with pytest.raises(ValueError, match=f"the list has the codec B = 4, quality 61, 4:2:0, banded, {known}"):
        model.check_list(empty)
    for codec in (
        codec_of(7),
        DCTCodec(4, 30, "4:4:4"),
        DCTCodec(4, 30, "4:2:0", "luma_first"),
        DCTCodec(4, None, tables=(7,) * 48),
    ):
        assert not model.config.takes(codec)
        with pytest.raises(ValueError, match=r"list 1 has the codec .* the model knows qualities 8 to 60"):
            model.log_prob([SparseDCT.empty((16, 16), codec_of(9)), SparseDCT.empty((16, 16), codec)])
    for quality in (7, 61):
        with pytest.raises(ValueError, match=f"^the quality is {quality}; the model knows qualities 8 to 60$"):
            model.sample(1, quality=quality)
    with pytest.raises(
        ValueError, match=r"^the quality is 31; the model knows the codec B = 4, quality 30, 4:2:0, banded alone$"
    ):
        tiny_config().codec_of(31)
    assert tiny_config().takes(codec_of(30)) and not tiny_config().takes(codec_of(31))
    one, largest = np.ones(1, np.int32), codec_of(9).vocabulary((16, 16)).largest_value
    for value in (largest, largest + 1):  # which a list of quality 60 may have
        sparse = SparseDCT(0 * one, 0 * one, value * one, (16, 16), codec_of(9))
        model.check_list(dataclasses.replace(sparse, codec=codec_of(60)))
        if value == largest:
            model.check_list(sparse)
            assert np.isfinite(model.log_prob([sparse])["value"]).all()
            continue
        for judge in (model.check_list, lambda sparse: model.log_prob([sparse])):
            with pytest.raises(ValueError, match=f"values are -{largest}..{largest} and not 0"):
                judge(sparse)


def test_what_is_no_range_of_qualities_is_refused() -> None:
    for qualities in ((30,), (60, 8), (30, 30), (0, 60), (8, 101), (8, 30, 60)):
        with pytest.raises(
            ValueError, match=r"model.qualities is .*; it must be empty, or a low and a higher quality from 1 to 100"
        ):
            dataclasses.replace(SMALLEST, qualities=qualities)
    for codec in (codec_of(61), codec_of(7), DCTCodec(4, None, tables=(7,) * 48)):
        with pytest.raises(ValueError, match=r"codec.quality is .*; it must be one of model.qualities, from 8 to 60"):
            dataclasses.replace(config_of(), codec=codec)


def test_configurations_of_earlier_runs_have_none() -> None:
    values = tiny_config().to_dict()
    del values["model"]["qualities"]
    assert DCTConfig.from_dict(values) == tiny_config()
    assert DCTConfig.from_dict(config_of().to_dict()) == config_of()


def read(config: DCTConfig, folder: Path, number: int) -> list[Chunk]:
    batches = training_batches(open_source(f"folder:{folder}"), config, Skipped(100, 0.0))
    return [next(batches) for _ in range(number)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(random_image(rng, 24, 24)).save(folder / f"{i}.png")
    return folder


def test_every_picture_is_encoded_with_a_random_quality(pictures: Path) -> None:
    """Which one, its place and the seed say; batches in which qualities differ hold the lists that
    their codecs make."""
    config = config_of(threads=0)
    batches = read(config, pictures, 50)
    found = np.concatenate([batch.quality for batch in batches])  # [200]
    assert found.min() == LOW and found.max() == HIGH and len(set(found)) > 45
    assert abs(found.mean() - (LOW + HIGH) / 2) < 4 * 15.3 / 14  # the deviation of a uniform choice
    again = read(config, pictures, 3)
    assert all(np.array_equal(x, y) for one, two in zip(batches, again) for x, y in zip(one, two))
    plain = read(dataclasses.replace(config, model=SMALLEST), pictures, 1)[0]
    assert plain.quality.tolist() == [30] * 4
    source = open_source(f"folder:{pictures}")
    lists, _ = read_held_out(source, config, Skipped(8, 0.0))
    assert len({sparse.codec.quality for sparse in lists}) > 1
    assert lists == read_held_out(source, config, Skipped(8, 0.0))[0]
    assert all(config.takes(sparse.codec) for sparse in lists)


def test_a_picture_has_the_list_of_its_quality() -> None:
    """Whatever other pictures stand in its batch."""
    reader, rng = ChunkReader(config_of()), np.random.default_rng(0)
    files = [file_of(random_image(rng), "PNG") for _ in range(12)]
    record = [Record(file, 0, "key") for file in files]
    seen = [reader.see(one, np.random.default_rng(i % 5), train=False) for i, one in enumerate(record)]
    assert len({one.codec for one in seen}) == 5
    lists = reader.held_out(seen).lists
    assert lists == [one.codec.encode(reader.picture(one)) for one in seen]
    mixed = reader.batch(seen, [np.random.default_rng(i) for i in range(12)])
    assert mixed.quality.tolist() == [sparse.codec.quality for sparse in lists]
    for i, one in enumerate(seen):
        alone = reader.batch([one], [np.random.default_rng(i)])
        assert all(np.array_equal(x[i : i + 1], y) for x, y in zip(mixed, alone))


def test_without_qualities_nothing_is_random() -> None:
    config = dataclasses.replace(tiny_config(), data=DataConfig(image_size=(16, 16), fit="whole"))
    rng, file = np.random.default_rng(0), file_of(random_image(np.random.default_rng(1)), "PNG")
    seen = ChunkReader(config).see(Record(file, 0, "key"), rng, train=False)
    assert seen.codec == config.codec and rng.random() == np.random.default_rng(0).random()


def test_files_keep_a_quality_that_the_model_knows() -> None:
    """Others are requantised to a random one. A grey file keeps its quality, too."""
    config = config_of(own_coefficients=True, flip=False, image_size=(32, 32), fit="whole")
    image = random_image(np.random.default_rng(0), 32, 32)

    def lists(image: np.ndarray, quality: int, number: int = 12) -> list[SparseDCT]:
        file = file_of(image, "JPEG", quality=quality, subsampling="4:2:0")
        records = [Record(file, 0, "key")] * number
        reader = ChunkReader(config)
        return [reader.see(one, np.random.default_rng(i), train=True).content for i, one in enumerate(records)]

    for quality in (LOW, 44, HIGH):
        expected = SparseDCT.from_jpeg(file_of(image, "JPEG", quality=quality, subsampling="4:2:0"))
        assert all(sparse == expected for sparse in lists(image, quality))
        grey = lists(image[..., 0], quality, 1)[0]
        assert grey.codec == DCTCodec(8, quality) and len(grey)
    for quality in (LOW - 1, HIGH + 1):
        whole = SparseDCT.from_jpeg(file_of(image, "JPEG", quality=quality, subsampling="4:2:0"))
        found = lists(image, quality)
        assert all(sparse == sparse.codec.requantize(whole) and config.takes(sparse.codec) for sparse in found)
        assert len({sparse.codec.quality for sparse in found}) > 6
