"""Compression gives back every list, as short as the likelihood says, and never a wrong one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax import TrainedModel
from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import make_chunks
from dct_jax.dct.compression import coder, compress, compress_many, decompress, decompress_many, steps
from dct_jax.dct.compression.coder import Encoder
from dct_jax.dct.compression.lossless import ROWS
from dct_jax.dct.compression.steps import RESOLUTION, Walker, integer_weights, symbols
from dct_jax.dct.compression.stream import VERSION, Stream, list_check, short
from dct_jax.dct.reader import ChunkReader
from dct_jax.nn.masks import IMPOSSIBLE
from tests.toys import BLANK, apply, random_image, random_params, tiny_config


def toy(seed: int = 0, **model: object) -> TrainedModel:
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **model))
    network = TrainedModel(config, None, ()).network
    return TrainedModel(config, random_params(network, ChunkReader(config).example(), seed), ((16, 16, 1),))


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
        assert len(files[i]) <= 1.01 * ideal + 16, (len(files[i]), ideal)
    # Whatever the walk forgets to tell the network costs bits: of all together, 14 bytes a file and
    # rounding are all.
    over = sum(map(len, files.values())) - sum(-x.sum() for x in nats.values()) / np.log(2) / 8
    assert 11 < over / len(lists) < 15.5


@pytest.mark.slow
def test_a_walk_has_the_probabilities_of_the_parallel_pass(lists: list[SparseDCT]) -> None:
    """What it forgets on both sides, a class, a triple of the chunk, would only cost bits: the
    lists would still come back."""
    model = toy(num_classes=3)
    config, sparse, index = model.config.model, lists[70], 1
    chunks = make_chunks([sparse] * 3, [index] * 3, [0, 1, 2], model.network.vocabulary, config.chunk_size, config.overlap)
    logits = [np.asarray(x[:, config.overlap :]) for x in apply(model.network, model.variables, chunks)]  # [3, C, N] each
    walk = Walker(model.network, model.variables, 3).walk([sparse] * 3, [index] * 3, [0, 1, 2])
    weights, compared = np.asarray(next(walk)), 0
    for number, symbol in enumerate(
        symbols(sparse, model.network)[3 * index * config.chunk_size :][: 3 * config.chunk_size - 1]
    ):
        expected = np.asarray(integer_weights(jnp.asarray(logits[number % 3][:, number // 3])))
        assert np.abs(weights - expected).max() < 1e-4 * RESOLUTION, number
        compared += 1
        weights = np.asarray(walk.send(np.full(3, symbol)))
    assert compared > 60
    assert min(np.abs(logits[0][i] - logits[0][j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2


@pytest.mark.slow
def test_a_list_is_the_same_bytes_alone_and_beside_any_others(model: TrainedModel, lists: list[SparseDCT]) -> None:
    some = lists[::5]
    alone = [compress(model, sparse) for sparse in some]
    assert dict(compress_many(model, some)) == dict(enumerate(alone))
    order = np.random.default_rng(0).permutation(len(some)).tolist()
    assert dict(compress_many(model, [some[i] for i in order])) == {n: alone[i] for n, i in enumerate(order)}
    assert [decompress(model, data) for data in alone] == some
    assert dict(decompress_many(model, [alone[i] for i in order])) == {n: some[i] for n, i in enumerate(order)}


def test_no_row_depends_on_the_others_or_on_its_place(model: TrainedModel, lists: list[SparseDCT]) -> None:
    """XLA does not promise it. The list in question is in its second chunk, the others in any."""
    rows = ROWS[VERSION]
    walker, sparse, rng = Walker(model.network, model.variables, rows), lists[60], np.random.default_rng(0)
    sent = symbols(sparse, model.network)[72:144]
    seen = []
    for place in range(rows):
        others = [lists[i] for i in rng.integers(100, size=rows)]
        others[place] = sparse
        walk = walker.walk(others, [1 if i == place else len(o) // 24 for i, o in enumerate(others)], [0] * rows)
        weights = [np.asarray(next(walk))[place]]
        for i in range(len(sent) - 1):
            given = rng.integers(16, size=rows)
            given[place] = sent[i]
            weights.append(np.asarray(walk.send(given))[place])
        seen.append(np.concatenate(weights))
    assert all((weights == seen[0]).all() for weights in seen)


def test_where_rows_differ_only_the_first_is_used(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, some = steps._step, lists[40:90:10]
    alone = [compress(model, sparse) for sparse in some[:1]]

    def uneven(*args: object) -> tuple[jax.Array, ...]:
        weights, *rest = exact(*args)
        return weights.at[3:].multiply(2), *rest

    monkeypatch.setattr(steps, "_step", uneven)
    files = dict(compress_many(model, some))
    assert files[0] == alone[0]
    assert dict(decompress_many(model, files.values())) == dict(enumerate(some))


def test_files_of_version_1_are_read(model: TrainedModel, lists: list[SparseDCT]) -> None:
    """They were written with one row, chunk after chunk."""
    walker, sparse, encoder = Walker(model.network, model.variables, 1), lists[70], Encoder()
    sent = symbols(sparse, model.network)
    for index in range(3):
        part = sent[72 * index : 72 * (index + 1)]
        walk = walker.walk([sparse], [index], [0])
        weights = next(walk)
        for i, symbol in enumerate(part):
            encoder.write(int(symbol), np.asarray(weights[0], np.float64))
            weights = walk.send(part[i : i + 1]) if i + 1 < len(part) else weights
    data = Stream(short(model.fingerprint), None, 0, list_check(sparse), encoder.words(), version=1).to_bytes()
    newer = compress(model, sparse)
    assert dict(decompress_many(model, [newer, data])) == {0: sparse, 1: sparse}


def test_what_cannot_be_done_does_not_stop_the_others(model: TrainedModel, lists: list[SparseDCT]) -> None:
    foreign = dataclasses.replace(model.codec, quality=5).requantize(lists[1])
    files = dict(compress_many(model, [lists[2], foreign, lists[3]]))
    assert isinstance(files[1], ValueError)
    assert "the list has the codec" in str(files[1])
    read = dict(decompress_many(model, [files[0], b"\xdc\x02", files[2]]))
    assert (read[0], read[2]) == (lists[2], lists[3])
    assert "damaged or truncated" in str(read[1])


def test_a_model_without_an_overlap_compresses(lists: list[SparseDCT]) -> None:
    """Its empty caches are given away like all others."""
    model = toy(overlap=0)
    assert decompress(model, compress(model, lists[60])) == lists[60]


def test_2000_damaged_files_are_refused(model: TrainedModel, lists: list[SparseDCT]) -> None:
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
            decompress(model, bytes(data))


@pytest.mark.slow
def test_damage_that_the_first_check_misses_gives_no_wrong_list(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes let one in 65,536 damaged files through; here they let through all. The last bits
    may mean nothing."""
    data, refused = compress(model, lists[-1]), 0
    monkeypatch.setattr("dct_jax.dct.compression.stream._damage_check", lambda _: data[9:11])
    for place in (places := range(12, len(data), 4)):
        damaged = data[:place] + bytes([data[place] ^ 32]) + data[place + 1 :]
        try:
            assert decompress(model, damaged) == lists[-1]
        except ValueError as error:
            assert "does not come out as it went in" in str(error)
            refused += 1
    assert refused >= len(places) - 1


def test_bits_that_are_no_symbol_are_refused(model: TrainedModel) -> None:
    """constriction says so with an AssertionError, which nothing caught."""
    words = np.full(4, 2**32 - 1, np.uint32)
    data = Stream(short(model.fingerprint), None, 0, 0, words).to_bytes()
    with pytest.raises(ValueError, match="does not come out as it went in"):
        decompress(model, data)


def test_every_symbol_comes_from_the_same_three_programs(model: TrainedModel, lists: list[SparseDCT]) -> None:
    """Those of the first chunk's first element, which follows a start token, and of all others."""
    placed = dataclasses.replace(model, variables=jax.device_put(model.variables, jax.local_devices()[0]))
    before = steps._step._cache_size()
    compress(placed, lists[60])
    assert steps._step._cache_size() == before + 3


def test_other_models_are_refused(model: TrainedModel, lists: list[SparseDCT]) -> None:
    data, other = compress(model, lists[1]), toy(seed=1)
    with pytest.raises(ValueError, match="compressed with another model"):
        decompress(other, data)
    assert toy().fingerprint == model.fingerprint != other.fingerprint


def test_a_drift_of_the_probabilities_is_noticed(
    model: TrainedModel, lists: list[SparseDCT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine: the same model, but weights that differ a little."""
    data, exact = compress(model, lists[1]), coder._distribution
    monkeypatch.setattr(coder, "_distribution", lambda weights: exact(weights + (weights > 0) * np.arange(len(weights))))
    with pytest.raises(ValueError, match="other probabilities"):
        decompress(model, data)


def test_classes_and_smaller_images_travel_along() -> None:
    config = tiny_config()
    data = dataclasses.replace(config.data, fit="whole")
    config = dataclasses.replace(config, data=data, model=dataclasses.replace(config.model, num_classes=200))
    network = TrainedModel(config, None, ()).network
    model = TrainedModel(config, random_params(network, ChunkReader(config).example()), ((16, 16, 1),))
    sparse = model.codec.encode(random_image(np.random.default_rng(0), 9, 13))
    data = compress(model, sparse, label=150)
    assert decompress(model, data) == sparse
    with pytest.raises(ValueError, match="label is 200; the model has 200 classes"):
        compress(model, sparse, label=200)


def test_lists_that_the_model_cannot_draw_are_refused(model: TrainedModel, lists: list[SparseDCT]) -> None:
    coarse = dataclasses.replace(model.codec, quality=5)
    with pytest.raises(ValueError, match="the list has the codec"):
        compress(model, coarse.requantize(lists[1]))
    with pytest.raises(ValueError, match="must fit into"):
        compress(model, SparseDCT.empty((24, 16), model.codec))


def test_weights_are_in_proportion_and_never_0_for_what_is_possible() -> None:
    logits = np.array([[0.0, np.log(3), IMPOSSIBLE, -90]], np.float32)
    assert np.asarray(integer_weights(logits)).tolist() == [[RESOLUTION // 4, 3 * RESOLUTION // 4, 0, 1]]
