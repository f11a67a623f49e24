"""The cached sampler draws valid lists, and its caches change nothing."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.dct.likelihood import list_log_prob
from dct_jax.dct.network import DCTransformer, Triples, log_likelihood
from dct_jax.dct.network.transformer import with_elements
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import Span, sample_chunk
from dct_jax.nn.blocks import Window
from dct_jax.nn.initial import initial_params
from dct_jax.nn.temperature import SymbolPolicy
from tests.toys import BLANK, TINY, apply, batch_of, random_list, random_params, sampled_lists, tiny_model

# Random models jump over many channels at a time, so their lists are short: short chunks make them
# cross borders.
SHORT = dataclasses.replace(TINY, chunk_size=2, overlap=2)


@pytest.fixture(scope="module")
def model() -> DCTransformer:
    return tiny_model(SHORT)


@pytest.fixture(scope="module")
def params(model: DCTransformer) -> Any:
    return random_params(model, batch_of(model, [BLANK]))


@pytest.fixture(scope="module")
def fresh_params(model: DCTransformer) -> Any:
    return initial_params(model, batch_of(model, [BLANK]), seed=0)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("kind", ["fresh_params", "params"])
def test_every_sample_is_a_valid_list(
    model: DCTransformer, temperature: float, kind: str, request: pytest.FixtureRequest
) -> None:
    one = SymbolPolicy(temperature)
    lists, _ = sampled_lists(model, request.getfixturevalue(kind), 8, 3, Policy(one, one, one))
    for sparse in lists:
        sparse.validate(model.vocabulary)
    assert max(map(len, lists)) > model.config.chunk_size  # several chunks were drawn
    assert len({len(sparse) for sparse in lists}) > 1


@pytest.mark.parametrize("overlap", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_the_sampler_reports_the_likelihood_of_the_parallel_pass(overlap: int) -> None:
    model = tiny_model(dataclasses.replace(SHORT, overlap=overlap))
    params = random_params(model, batch_of(model, [BLANK]))
    lists, sampled = sampled_lists(model, params, 8, 0)
    assert max(map(len, lists)) >= 2 * model.config.chunk_size
    for ours, theirs in zip(sampled, list_log_prob(model, params, lists)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("chunk_size", "overlap"), [(6, 2), (3, 5)])
def test_every_draw_of_the_loop_has_the_likelihood_of_the_parallel_pass(chunk_size: int, overlap: int) -> None:
    """Symbol by symbol, for a second chunk; also where the overlap reaches beyond the chunk before
    it."""
    model = tiny_model(dataclasses.replace(TINY, chunk_size=chunk_size, overlap=overlap))
    rng = np.random.default_rng(0)
    lists = [random_list(rng, model.vocabulary, 60)[:chunk_size] for _ in range(8)]
    chunk = batch_of(model, lists, index=1)
    params = random_params(model, chunk, scale=0.1)
    keys, zeros = jax.random.split(jax.random.key(0), 8), np.zeros(8, np.int32)
    drawn = sample_chunk(model, False, Policy(), params, chunk, keys, Span(zeros, zeros + chunk_size, zeros))
    symbols = {
        name: np.concatenate([getattr(chunk, name)[:, : overlap + 1], getattr(drawn, name)], axis=1)
        for name in ("channels", "positions", "values")
    }
    logits = apply(model, params, chunk._replace(**symbols))
    # Everything up to the stopping token counts.
    is_target = np.arange(1, overlap + chunk_size + 1) > overlap
    is_target = is_target & np.concatenate([np.ones((8, 1), bool), symbols["channels"][:, 1:-1] != model.vocabulary.stop], 1)
    assert is_target.sum() > 16
    expected = log_likelihood(logits, chunk._replace(**symbols, is_target=is_target), model.vocabulary)
    for ours, theirs in zip(drawn.nats, expected):
        np.testing.assert_allclose(ours, theirs[:, overlap:], atol=1e-4)


def test_each_symbol_has_its_own_policy(model: DCTransformer, params: Any) -> None:
    """The likeliest value is drawn at every step, while channels and positions stay random."""
    policy = Policy(value=SymbolPolicy(top_k=1))
    lists, nats = sampled_lists(model, params, 8, 0, policy)
    plain, plain_nats = sampled_lists(model, params, 8, 0)
    assert len({tuple(sparse.channels) for sparse in lists}) > 4
    per_value, plain_per_value = (n.value.sum() / sum(map(len, s)) for s, n in ((lists, nats), (plain, plain_nats)))
    assert per_value > plain_per_value + 0.5


def test_cached_logits_equal_the_parallel_pass_across_a_chunk_border(model: DCTransformer, params: Any) -> None:
    """Element by element through the caches, after a prefill of the overlap, on a list that the
    sampler drew."""
    overlap, window = model.config.overlap, model.config.window
    lists, _ = sampled_lists(model, params, 8, 0)
    lists = [sparse for sparse in lists if len(sparse) >= 2 * model.config.chunk_size][:2]
    assert lists

    def run(method: str, *args: object):
        return apply(model, params, *args, method=method)

    for index in (0, 1):
        batch = batch_of(model, lists, index)
        elements = Triples(batch.channels, batch.positions, batch.values)
        encoding = run("encode", batch)
        parallel, _ = run("decode", elements, encoding)
        _, caches = run("decode", Triples(*(x[:, : overlap + 1] for x in elements)), encoding)
        caches = jax.tree.map(lambda x: np.pad(x, ((0, 0), (0, 0), (0, 0), (0, window - overlap))), caches)
        for step in range(overlap, window):
            last, now = (Triples(*(x[:, i : i + 1] for x in elements)) for i in (step, step + 1))
            channel, stream, c = run("predict_channel", last, encoding, Window(caches.channel, step))
            position, stream, p = run("predict_position", stream, now.channels, last, encoding, Window(caches.position, step))
            value, v = run("predict_value", stream, now.channels, now.positions, encoding, Window(caches.value, step))
            caches = type(caches)(c, p, v)
            encoding = encoding._replace(image=with_elements(encoding.image, now))
            for cached, whole in zip((channel, position, value), parallel):
                np.testing.assert_allclose(cached[:, 0], whole[:, step], atol=1e-4, rtol=1e-4)
