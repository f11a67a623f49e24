"""Compression gives back every list, as short as the likelihood says, and never a wrong one."""

import dataclasses
from collections import deque
from collections.abc import Iterator

import jax
import numpy as np
import pytest

import dct_jax
from benchmarks.exact_format import symbols_of, write_exactly
from dct_jax import TrainedModel
from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.compression import compress, compress_many, decompress, decompress_many, lossless, steps
from dct_jax.dct.compression.decisions import all_log_odds, round_all
from dct_jax.dct.compression.double import double_network
from dct_jax.dct.compression.exact import RESOLUTION, WeightReader, integer_weights
from dct_jax.dct.compression.reading import Reading, _fill
from dct_jax.dct.compression.steps import Walker
from dct_jax.dct.compression.stream import Group, Stream, short
from dct_jax.dct.compression.writing import find_decisions
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.reader import ChunkReader
from dct_jax.nn.masks import IMPOSSIBLE
from tests.toys import BLANK, SMALLEST, random_image, random_params, tiny_config


def trained(config: DCTConfig, seed: int = 0) -> TrainedModel:
    network = TrainedModel(config, None, ()).network
    return TrainedModel(config, random_params(network, ChunkReader(config).example(), seed), ((16, 16, 1),))


def toy(seed: int = 0, fit: str = "crop", **model: object) -> TrainedModel:
    config = tiny_config()
    data = dataclasses.replace(config.data, fit=fit)
    return trained(dataclasses.replace(config, data=data, model=dataclasses.replace(SMALLEST, **model)), seed)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return toy()


@pytest.fixture(scope="module")
def lists(model: TrainedModel) -> list[SparseDCT]:
    """100 lists, of 0 to some 70 triples, so of one to three chunks."""
    rng = np.random.default_rng(0)
    return [BLANK, *(model.codec.encode(random_image(rng))[:n] for n in range(1, 100))]


@pytest.mark.slow
def test_100_lists_come_back_and_are_as_short_as_their_likelihood_says(model: TrainedModel, lists: list[SparseDCT]) -> None:
    nats = model.log_prob(lists)
    assert {len(sparse) // model.config.model.chunk_size for sparse in lists} == {0, 1, 2}
    files = dict(compress_many(model, lists))
    assert sorted(files) == list(range(100))
    read = dict(decompress_many(model, [files[i] for i in range(100)]))
    for i, sparse in enumerate(lists):
        assert read[i] == sparse
        ideal = -sum(nats[symbol][i] for symbol in nats) / np.log(2) / 8
        assert len(files[i]) <= 1.01 * ideal + 17, (len(files[i]), ideal)
    # Whatever the walk forgets to tell the network costs bits: of all together, 15 bytes a file and
    # rounding are all.
    over = sum(map(len, files.values())) - sum(-x.sum() for x in nats.values()) / np.log(2) / 8
    assert 12 < over / len(lists) < 16.5


@pytest.mark.slow
def test_who_reads_finds_the_log_odds_of_who_writes(lists: list[SparseDCT]) -> None:
    """Steps with caches against the parallel pass: float64 agrees far within the tolerance. What
    both forget, a class, a triple of the chunk, would only cost bits; so classes must differ."""
    model, sparse = toy(num_classes=3), lists[70]
    network, variables = double_network(model)
    written = list(find_decisions(network, variables, [(sparse, label) for label in range(3)]))
    size, index, compared = model.config.model.chunk_size, 1, 0
    with jax.enable_x64(True):
        walk = Walker(network, variables, 3, all_log_odds).walk([sparse] * 3, [index] * 3, [0, 1, 2])
        told = np.asarray(next(walk))  # [3, 2^D - 1]
        sent = symbols_of(sparse, model)
        for number in range(3 * index * size, 3 * (index + 1) * size - 1):
            decisions, node, found = (told.shape[1] + 1).bit_length() - 1, 0, []
            for shift in range(decisions)[::-1]:
                found.append(told[:, node])
                node = 2 * node + 1 + (sent[number] >> shift & 1)
            is_open = np.abs(found)[:, 0] < 1e29
            expected = np.array([one.log_odds[one.symbols == number] for one in written])  # [3, decisions]
            np.testing.assert_allclose(np.array(found)[is_open].T, expected, atol=1e-10)
            compared += is_open.sum()
            told = np.asarray(walk.send(np.full(3, sent[number])))
    assert compared > 200
    assert min(np.abs(written[i].log_odds - written[j].log_odds).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2


@pytest.mark.slow
def test_a_list_is_the_same_bytes_alone_and_beside_any_others(model: TrainedModel, lists: list[SparseDCT]) -> None:
    some = lists[::5]
    alone = [compress(model, [sparse])[0] for sparse in some]
    assert dict(compress_many(model, some)) == dict(enumerate(alone))
    order = np.random.default_rng(0).permutation(len(some)).tolist()
    assert dict(compress_many(model, [some[i] for i in order])) == {n: alone[i] for n, i in enumerate(order)}
    assert [decompress(model, [data])[0] for data in alone] == some
    assert dict(decompress_many(model, [alone[i] for i in order])) == {n: some[i] for n, i in enumerate(order)}


@pytest.mark.parametrize("exponent", [pytest.param(24, marks=pytest.mark.slow), 8])
def test_lists_come_back_where_logits_differ_by_the_tolerance(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch, exponent: int
) -> None:
    """As on another machine, but far worse. With a tolerance of 2^-8 every fourth decision needs a
    hint."""
    monkeypatch.setattr(lossless, "TOLERANCE", exponent)
    files = compress(model, lists[20:60:4])

    def elsewhere(logits: jax.Array) -> jax.Array:
        signs = jax.numpy.where(jax.numpy.sin(1e4 * logits) > 0, 1, -1)
        return round_all(all_log_odds(logits + signs * 2.0**-exponent / 2))

    monkeypatch.setattr(lossless, "_decisions", elsewhere)
    assert decompress(model, files) == lists[20:60:4]
    if exponent == 8:
        assert all(Stream.from_bytes(data).groups[0].hints for data in files)


def test_a_drift_of_the_probabilities_is_noticed(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model, but logits that differ by more than the tolerance."""
    data = compress(model, [lists[30]])
    monkeypatch.setattr(lossless, "_decisions", lambda logits: round_all(all_log_odds(1.01 * logits)))
    with pytest.raises(ValueError, match="gives other probabilities"):
        decompress(model, data)


def test_files_do_not_depend_on_the_types_of_training(model: TrainedModel, lists: list[SparseDCT]) -> None:
    """A run in bfloat16, with or without units for it, writes what float32 writes."""
    data = compress(model, lists[30:32])
    for types in ({"products": "bfloat16"}, {"dtype": "bfloat16"}):
        config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, **types))
        other = dataclasses.replace(model, config=config)
        assert [one[11:] for one in compress(other, lists[30:32])] == [one[11:] for one in data]


def test_a_value_may_have_the_number_of_the_stopping_token(model: TrainedModel) -> None:
    vocabulary = model.network.vocabulary
    one, value = np.zeros(1, np.int32), np.array([vocabulary.stop - vocabulary.largest_value], np.int32)
    sparse = SparseDCT(one, one, value, BLANK.size, BLANK.codec)
    assert decompress(model, compress(model, [sparse])) == [sparse]


def test_integer_weights_are_in_proportion_and_never_0_for_what_is_possible() -> None:
    logits = np.array([[0.0, np.log(3), IMPOSSIBLE, -90]], np.float32)
    assert np.asarray(integer_weights(logits)).tolist() == [[RESOLUTION // 4, 3 * RESOLUTION // 4, 0, 1]]


def test_what_waits_is_not_wrapped_once_for_each_batch() -> None:
    """Each batch without room wrapped the iterator once more, until Python's stack overflowed."""
    waiting: Iterator[Reading] = iter([Reading(i, 0, WeightReader(np.zeros(1, np.uint32)), [BLANK] * 2, 0) for i in range(3)])
    held: deque[Reading] = deque()
    batch = _fill([], 3, held, waiting)
    for _ in range(200_000):
        batch = _fill(batch, 3, held, waiting)
    assert [one.file for one in batch] == [0]
    assert [one.file for one in _fill([], 4, held, waiting)] == [1, 2]


@pytest.mark.parametrize("version", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_files_of_versions_1_and_2_are_read(model: TrainedModel, lists: list[SparseDCT], version: int) -> None:
    """They were written chunk after chunk, with one row, or eight of which one is looked at."""
    data, newer = write_exactly(model, lists[70], version), compress(model, [lists[70]])[0]
    assert dict(decompress_many(model, [newer, data, newer])) == dict.fromkeys(range(3), lists[70])


@pytest.mark.slow
def test_where_rows_differ_only_the_first_is_used(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, some = steps._step, lists[40:90:20]
    files = [write_exactly(model, sparse, 2) for sparse in some]

    def uneven(*args: object) -> tuple[jax.Array, ...]:
        weights, *rest = exact(*args)
        return weights.at[3:].multiply(2), *rest

    monkeypatch.setattr(steps, "_step", uneven)
    assert decompress(model, files) == some


@pytest.mark.parametrize("fit", ["crop", pytest.param("whole", marks=pytest.mark.slow)])
def test_pictures_of_any_size_come_back(model: TrainedModel, fit: str) -> None:
    """12 tiles of 16 x 16 in two groups, some at the ends smaller; one tile; and one canvas."""
    model, rng = model if fit == "crop" else toy(fit=fit), np.random.default_rng(0)
    sizes = [(41, 59), (9, 13), (16, 16), (17, 16)]
    pictures = [model.codec.encode(random_image(rng, *size)) for size in sizes]
    files = compress(model, pictures)
    assert [len(Stream.from_bytes(data).groups) for data in files] == [2, 1, 1, 1]
    assert [Stream.from_bytes(data).size for data in files] == [(41, 59), (9, 13), None, (17, 16)]
    assert decompress(model, files) == pictures


def test_missing_tiles_are_refused(model: TrainedModel) -> None:
    picture = model.codec.encode(random_image(np.random.default_rng(0), 41, 59))
    stream = Stream.from_bytes(compress(model, [picture])[0])
    for groups in (stream.groups[:1], stream.groups * 2):
        data = dataclasses.replace(stream, groups=groups).to_bytes()
        with pytest.raises(ValueError, match=f"the file has {len(groups)}, and a picture of 41 x 59 pixels has 2"):
            decompress(model, [data])
    data = dataclasses.replace(stream, groups=stream.groups[::-1]).to_bytes()
    with pytest.raises(ValueError, match="does not come out as it went in"):
        decompress(model, [data])
    data = dataclasses.replace(stream, size=(2**30, 2**30)).to_bytes()
    with pytest.raises(ValueError, match="it must have at most"):
        decompress(model, [data])


@pytest.mark.slow
def test_qualities_travel_along() -> None:
    config = tiny_config()
    model = trained(dataclasses.replace(config, model=dataclasses.replace(config.model, qualities=(20, 60))))
    image = random_image(np.random.default_rng(0))
    pictures = [dataclasses.replace(model.codec, quality=quality).encode(image) for quality in (20, 30, 60)]
    files = compress(model, pictures)
    assert [Stream.from_bytes(data).quality for data in files] == [20, None, 60]
    assert decompress(model, files) == pictures
    with pytest.raises(ValueError, match="qualities 20 to 60"):
        compress(model, [dataclasses.replace(model.codec, quality=61).encode(image)])


@pytest.mark.slow
def test_jpeg_files_are_taken_as_bytes() -> None:
    config = dataclasses.replace(tiny_config(), codec=DCTCodec(quality=30))
    model, rng = trained(config), np.random.default_rng(0)
    pictures = [model.codec.encode(random_image(rng, *size)) for size in ((16, 16), (40, 24))]
    files = dct_jax.compress(model, [sparse.to_jpeg() for sparse in pictures])
    assert dct_jax.decompress(model, files) == pictures
    assert files == dct_jax.compress(model, pictures)


def test_what_cannot_be_done_does_not_stop_the_others(model: TrainedModel, lists: list[SparseDCT]) -> None:
    foreign = dataclasses.replace(model.codec, quality=5).requantize(lists[1])
    files = dict(compress_many(model, [lists[2], foreign, lists[3]]))
    assert isinstance(files[1], ValueError)
    assert "the list has the codec" in str(files[1])
    read = dict(decompress_many(model, [files[0], b"\xdc\x03", files[2]]))
    assert (read[0], read[2]) == (lists[2], lists[3])
    assert "damaged or truncated" in str(read[1])


@pytest.mark.slow
def test_a_model_without_an_overlap_compresses(lists: list[SparseDCT]) -> None:
    """Its empty caches are given away like all others. And every symbol comes from the same three
    programs, those of the first chunk's first element and of all others."""
    model, before = toy(overlap=0), steps._step._cache_size()
    assert decompress(model, compress(model, [lists[60]])) == [lists[60]]
    assert steps._step._cache_size() == before + 3


def test_the_first_check_finds_2000_damages(model: TrainedModel, lists: list[SparseDCT]) -> None:
    rng = np.random.default_rng(1)
    files = list(dict(compress_many(model, lists[-12:])).values())
    for i in range(2000):
        data = bytearray(files[i % len(files)])
        kind, place = rng.integers(4), int(rng.integers(len(data)))
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = rng.bytes(int(rng.integers(1, 9)))
        else:
            data[place:] = rng.bytes(len(data) - place)
        if bytes(data) in files:
            continue
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            decompress(model, [bytes(data)])


@pytest.mark.slow
def test_damage_that_the_first_check_misses_gives_no_wrong_list(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes let one in 65,536 damaged files through; here they let through all. The last bits
    may mean nothing."""
    data, refused = compress(model, [lists[-1]])[0], 0
    monkeypatch.setattr("dct_jax.dct.compression.stream._damage_check", lambda _: data[9:11])
    for place in (places := range(13, len(data), 4)):
        damaged = data[:place] + bytes([data[place] ^ 32]) + data[place + 1 :]
        try:
            assert decompress(model, [damaged]) == [lists[-1]]
        except ValueError as error:
            assert "does not come out as it went in" in str(error)
            refused += 1
    assert refused >= len(places) - 1


def test_damage_in_the_words_is_noticed_without_the_first_check(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random damage never got further than the check of the file, and what comes after it was not
    tested."""
    rng, files = np.random.default_rng(2), compress(model, lists[40:44])
    monkeypatch.setattr("dct_jax.dct.compression.stream._damage_check", lambda _: files[0][9:11])
    damaged = []
    for data in files:
        place = int(rng.integers(13, len(data) - 1))
        damaged.append(files[0][9:11].join((data[:9], data[11:place] + rng.bytes(len(data) - place))))
    for number, result in decompress_many(model, damaged):
        assert isinstance(result, ValueError) and "does not come out as it went in" in str(result), number


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_files_may_be_any_bytes(model: TrainedModel, kind: type) -> None:
    """A memoryview ended in a TypeError."""
    assert decompress(model, [kind(data) for data in compress(model, [BLANK])]) == [BLANK]
    with pytest.raises(ValueError, match=f"is of the type {kind.__name__}; it must be a list, also of one"):
        decompress(model, kind(b"\xdc"))


def test_bits_that_are_no_symbol_are_refused(model: TrainedModel) -> None:
    """constriction says so with an AssertionError, which nothing caught."""
    stream = Stream(short(model.fingerprint), None, 0, None, 0, 24, (Group(np.full(4, 2**32 - 1, np.uint32)),))
    for version in (3, 1):
        data = dataclasses.replace(stream, version=version).to_bytes()
        with pytest.raises(ValueError, match="does not come out as it went in"):
            decompress(model, [data])


def test_sides_that_no_picture_has_are_refused_before_there_are_tiles(model: TrainedModel) -> None:
    """A file of 23 bytes once made lists of millions of heights."""
    stream = Stream(short(model.fingerprint), (2**28, 1), 0, None, 0, 24, (Group(np.zeros(1, np.uint32)),))
    with pytest.raises(ValueError, match="the picture has 268435456 x 1 pixels; it must have at most 65500 on a side"):
        decompress(model, [stream.to_bytes()])


def test_what_is_no_list_of_files_is_refused(model: TrainedModel) -> None:
    """These had errors of Python, or said that a path is a damaged file."""
    data, path = b"\xdc", "a.dct"
    for call in (compress, decompress):
        with pytest.raises(ValueError, match="is of the type bytes; it must be a list, also of one"):
            call(model, data)
    with pytest.raises(ValueError, match="number 0: a JPEG file is given by its path or its bytes, and this is of the type No"):
        compress(model, [None])
    with pytest.raises(ValueError, match="number 0: a file is given by its bytes, and this is of the type str"):
        decompress(model, [path])


def test_devices_without_float64_are_refused(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """TPUs only imitate it, and once wrote files that other machines could not read."""
    (data,) = compress(model, [BLANK])
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    for call, what in ((compress, BLANK), (decompress, data)):
        with pytest.raises(ValueError, match=r"needs float64, which devices of the kind tpu lack; set JAX_PLATFORMS=cpu$"):
            call(model, [what])


def test_other_models_are_refused(model: TrainedModel, lists: list[SparseDCT]) -> None:
    data, other = compress(model, [lists[1]], np.zeros(1, int)), toy(seed=1)  # labels may be an array
    with pytest.raises(ValueError, match="compressed with another model"):
        decompress(other, data)
    assert toy().fingerprint == model.fingerprint != other.fingerprint


@pytest.mark.slow
def test_classes_travel_along() -> None:
    model = toy(num_classes=200)
    sparse = model.codec.encode(random_image(np.random.default_rng(0)))
    data = compress(model, [sparse] * 2, [150, 0])
    assert decompress(model, data) == [sparse] * 2
    assert [Stream.from_bytes(one).label for one in data] == [150, 0]
    assert data[0][14:] != data[1][13:]
    with pytest.raises(ValueError, match="number 1: label is 200; the model has 200 classes"):
        compress(model, [sparse] * 2, [150, 200])


def test_lists_that_the_model_cannot_sample_are_refused(model: TrainedModel, lists: list[SparseDCT]) -> None:
    coarse, sparse = dataclasses.replace(model.codec, quality=5), lists[5]
    with pytest.raises(ValueError, match="the list has the codec"):
        compress(model, [coarse.requantize(lists[1])])
    for positions in (sparse.positions + 16, sparse.positions - 16, sparse.positions[::-1]):
        with pytest.raises(ValueError, match="number 0: "):
            compress(model, [dataclasses.replace(sparse, positions=positions)])
    beyond = np.full_like(sparse.values, model.network.vocabulary.largest_value + 1)
    with pytest.raises(ValueError, match="number 0: triple 0 "):
        compress(model, [dataclasses.replace(sparse, values=beyond)])
    with pytest.raises(ValueError, match="number 1: this is no JPEG file"):
        compress(model, [sparse, b"something"])
    with pytest.raises(ValueError, match="there are 2 pictures and 1 labels"):
        compress(model, [sparse] * 2, [0])
