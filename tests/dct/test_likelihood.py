"""Log-likelihoods of lists depend on nothing but the lists."""

from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.codec import SparseDCT
from dct_jax.dct.likelihood import element_log_prob
from dct_jax.dct.network import SymbolNats, log_likelihood
from tests.toys import BLANK, SMALLEST, TINY_CODEC, apply, batch_of, random_image, random_params, tiny_model

MODEL = tiny_model(SMALLEST)


@pytest.fixture(scope="module")
def lists() -> list[SparseDCT]:
    rng = np.random.default_rng(0)
    return [TINY_CODEC.encode(random_image(rng)) for _ in range(4)] + [BLANK]


@pytest.fixture(scope="module")
def params(lists: list[SparseDCT]) -> Any:
    return random_params(MODEL, batch_of(MODEL, lists))


@pytest.fixture(scope="module")
def nats(params: Any, lists: list[SparseDCT]) -> list[SymbolNats]:
    return element_log_prob(MODEL, params, lists, batch_size=4)


@pytest.mark.parametrize(("batch_size", "devices"), [(1, 1), (7, 1), (4, 2), (3, 2)])
def test_neither_batches_nor_devices_nor_padding_change_the_result(
    params: Any, lists: list[SparseDCT], nats: list[SymbolNats], batch_size: int, devices: int
) -> None:
    """The last batch is filled up with chunks without targets; three rows on two devices become
    four."""
    again = element_log_prob(MODEL, params, lists, batch_size=batch_size, devices=jax.local_devices()[:devices])
    for ours, theirs in zip(nats, again):
        for x, y in zip(ours, theirs):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_company_does_not_change_the_result(params: Any, lists: list[SparseDCT], nats: list[SymbolNats]) -> None:
    (alone,) = element_log_prob(MODEL, params, lists[2:3], batch_size=4)
    for x, y in zip(nats[2], alone):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_every_element_has_the_likelihood_of_its_place_in_its_chunk(
    params: Any, lists: list[SparseDCT], nats: list[SymbolNats]
) -> None:
    size, overlap = MODEL.config.chunk_size, MODEL.config.overlap
    batch = batch_of(MODEL, lists, index=1)
    chunk = log_likelihood(apply(MODEL, params, batch), batch, MODEL.vocabulary)
    for i in range(4):
        assert len(lists[i]) > 2 * size
        for ours, theirs in zip(nats[i], chunk):
            np.testing.assert_allclose(ours[size : 2 * size], theirs[i, overlap:], rtol=1e-5, atol=1e-5)
    assert [x.shape for x in nats[4]] == [(1,)] * 3
    assert nats[4].channel < 0 == nats[4].position == nats[4].value


def test_a_list_of_another_alphabet_is_named(params: Any) -> None:
    wrong = SparseDCT(*np.array([[3], [0], [10**6]], np.int32), (16, 16), TINY_CODEC)
    with pytest.raises(ValueError, match=r"^list 1: triple 0 is \(3, 0, 1000000\): values are"):
        element_log_prob(MODEL, params, [BLANK, wrong])
