"""The public Python interface."""

import dataclasses
from collections import Counter

import jax
import numpy as np
import pytest

import dct_jax
from dct_jax.dct.network import network
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.policy import Policy
from tests.toys import SMALLEST, random_image, tiny_config


@pytest.fixture(scope="module")
def model() -> dct_jax.TrainedModel:
    return dct_jax.TrainedModel.init(dataclasses.replace(tiny_config(), model=SMALLEST), seed=0)


@pytest.mark.slow
def test_samples_decode_and_have_a_likelihood(model: dct_jax.TrainedModel) -> None:
    lists = model.sample(5, seed=0, batch_size=4)
    assert len(lists) == 5
    assert all(model.codec.decode(sparse).shape == (16, 16, 3) for sparse in lists)
    nats = model.log_prob(lists)
    assert list(nats) == ["channel", "position", "value"]
    assert all(x.shape == (5,) and (x <= 0).all() for x in nats.values())
    assert model.sample(4, seed=0, batch_size=4) == lists[:4]
    assert model.sample(4, seed=0, batch_size=4, first=1) == lists[1:]


def test_log_prob_sums_over_all_chunks_whatever_the_batch(model: dct_jax.TrainedModel) -> None:
    """Longer lists are less likely under an untrained model, and a list alone has the likelihood
    that it has in company."""
    rng = np.random.default_rng(0)
    lists = [model.codec.encode(random_image(rng)) for _ in range(5)]
    assert max(map(len, lists)) > 2 * model.config.model.chunk_size
    together = model.log_prob(lists)
    for i, sparse in enumerate(lists):
        for name, nats in model.log_prob([sparse]).items():
            assert nats[0] == pytest.approx(together[name][i], rel=1e-5)
        # The values of an untrained model are nearly uniform over its table without 0.
        uniform = -len(sparse) * np.log(2 * model.network.vocabulary.largest_value)
        assert together["value"][i] == pytest.approx(uniform, rel=0.02)


def test_bad_arguments_are_named(model: dct_jax.TrainedModel) -> None:
    with pytest.raises(ValueError, match="num is 0"):
        model.sample(0)
    empty = model.codec.encode(np.full((16, 16, 3), 128, np.uint8))
    for label in (1, -1):
        with pytest.raises(ValueError, match=f"^label is {label}; the model has 0 classes$"):
            model.log_prob([empty], [label])
    with pytest.raises(ValueError, match=r"the labels are \[0, 0\]; each of the 1 lists needs one"):
        model.log_prob([empty], [0, 0])
    with pytest.raises(ValueError, match="the labels are 0; each of the 1 lists needs one"):
        model.log_prob([empty], 0)
    with pytest.raises(ValueError, match="label is 1; the model has 0 classes"):
        model.sample(1, label=1)
    sparse = model.codec.encode(np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(ValueError, match=r"list 1: the size is 16 x 24 pixels; this model samples images of up to 16 x 16"):
        model.log_prob([model.codec.encode(np.zeros((16, 16, 3), np.uint8)), sparse])
    with pytest.raises(ValueError, match="the size is 16 x 17 pixels; this model samples images of up to 16 x 16"):
        model.sample(1, size=(16, 17))
    small = model.codec.encode(np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(ValueError, match="list 0: the size is 8 x 12 pixels; this model has seen images of 16 x 16 alone"):
        model.log_prob([small])
    assert list(model.sample_from([])) == []  # which once was an UnboundLocalError
    with pytest.raises(ValueError, match=r"a sample has the number 4294967296; numbers of samples are from 0 to 2\^32 - 1"):
        model.sample(2, first=2**32 - 1)  # which was an OverflowError of NumPy


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_in_the_64_bit_mode(model: dct_jax.TrainedModel, dtype: str) -> None:
    """Indices and zeros have other types there, and a loop refused them. (Random numbers are others
    there, too.)"""
    with jax.enable_x64(True):
        lists = model.with_dtype(dtype).sample(2, seed=3)
    for one in lists:
        model.check_list(one)
    assert sum(map(len, lists)) > 0


def test_sizes_are_drawn_from_those_of_the_training_pictures_or_given(model: dct_jax.TrainedModel) -> None:
    with pytest.raises(ValueError, match="this model has seen images of 16 x 16 alone"):
        model.sample(1, size=(5, 12))
    config = dataclasses.replace(model.config, data=dataclasses.replace(model.config.data, fit="whole"))
    varied = dataclasses.replace(model, config=config, sizes=((16, 9, 3), (7, 16, 1)))
    sizes = [start.given.size for start in varied.starts(40, seed=0)]
    counts = Counter(sizes)
    assert set(counts) == {(16, 9), (7, 16)}
    assert counts[16, 9] > counts[7, 16]
    lists = varied.sample(4, seed=0, batch_size=4)
    assert [sparse.size for sparse in lists] == sizes[:4] and len(set(sizes[:4])) == 2
    assert {sparse.size for sparse in varied.sample(4, size=(5, 12), batch_size=4)} == {(5, 12)}
    assert all(varied.codec.decode(sparse).shape == (*sparse.size, 3) for sparse in lists)
    assert np.isfinite(varied.log_prob(lists)["position"]).all()


def test_labels_by_name_and_number(model: dct_jax.TrainedModel) -> None:
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, num_classes=3))
    named = dataclasses.replace(model, config=config, classes=("tabby cat", "7", "beach"))
    assert [named.label(name) for name in ("beach", "0", "2", "7")] == [2, 0, 2, 1]  # a name comes before a number
    with pytest.raises(ValueError, match="there is no class 'Tabby'; this model has 3, 0 to 2; the nearest are tabby cat"):
        named.label("Tabby")
    with pytest.raises(ValueError, match=r"there is no class '3'; this model has 3, 0 to 2$"):
        named.label("3")
    with pytest.raises(ValueError, match="the label none needs a model that was trained with hidden classes"):
        named.label("none")
    assert [named.label(number) for number in (0, 2)] == [0, 2]  # once an AttributeError
    assert dataclasses.replace(named, classes=("1", "2", "3")).label(0) == 0
    with pytest.raises(ValueError, match="label is 4; the model has 3 classes"):
        named.label(4)
    for label in (3, 1.9, 2**40, [[1]], [0, 1.0]):  # 1.9 was 1, and others had errors of NumPy
        with pytest.raises(ValueError, match=r"^label is .+; the model has 3 classes$"):
            named.sample(1, label=label)
    with pytest.raises(ValueError, match="label is 'beach'; the model has 3 classes; its method `label` finds the number of"):
        named.sample(1, label="beach")
    with pytest.raises(ValueError, match="guidance needs a model that was trained with hidden classes"):
        named.sample_from(named.starts(1), policy=Policy(guidance=2.0))
    with pytest.raises(ValueError, match="this model was trained without classes"):
        model.label("0")
    hides = dataclasses.replace(config, training=dataclasses.replace(config.training, label_dropout=0.1))
    assert dataclasses.replace(named, config=hides).label("none") == 3
    called_none = dataclasses.replace(named, config=hides, classes=("none", "b", "c"))  # a folder may have that name
    assert [called_none.label(name) for name in ("none", "0", "3")] == [0, 0, 3]
    drawn = [start.label for start in named.starts(60)]
    with pytest.raises(ValueError, match="guidance needs a class: name one"):
        hiding = dataclasses.replace(named, config=hides)
        hiding.sample_from(hiding.starts(1, labels=[3]), policy=Policy(guidance=2.0))
    assert set(drawn) == {0, 1, 2} and drawn == [start.label for start in named.starts(60)]


def test_loading_what_is_no_run(tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no run here"):
        dct_jax.load(tmp_path / "nowhere")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="there is no checkpoint yet"):
        dct_jax.load(tmp_path)


def test_rematerialisation_is_the_same_model(model: dct_jax.TrainedModel) -> None:
    again = dataclasses.replace(model.config, model=dataclasses.replace(SMALLEST, rematerialise=True))
    assert model.fingerprint == dct_jax.TrainedModel.init(again, seed=0).fingerprint


def test_the_fingerprint_is_that_of_earlier_versions() -> None:
    """Compressed files carry it. It was made before `model.products` and `model.contexts` were
    there, which change it if they are not off."""
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, contexts=False))
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), ChunkReader(config).example())
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    model = dct_jax.TrainedModel(config, params, ((16, 16, 1),))
    assert model.fingerprint == "5f2cd9e6de90a8bec33599ee2f7e5fcb81ebfce3f2be61d7188b528858e78566"
    mixed = dataclasses.replace(config, model=dataclasses.replace(config.model, products="bfloat16"))
    assert dataclasses.replace(model, config=mixed).fingerprint != model.fingerprint
