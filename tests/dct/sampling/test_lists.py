"""Whole lists: the batch does not matter, prefixes are gone on from exactly, limits cut, guidance
mixes."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.codec import SparseDCT
from dct_jax.dct.likelihood import list_log_prob
from dct_jax.dct.network import DCTransformer
from dct_jax.dct.sampling.lists import Sample, Start, sample_lists
from dct_jax.dct.sampling.policy import Policy
from tests.toys import BLANK, TINY, TINY_CODEC, apply, batch_of, random_list, random_params, sampled_lists, tiny_model

SHORT = dataclasses.replace(TINY, chunk_size=3, overlap=2, num_classes=2)


@pytest.fixture(scope="module")
def model() -> DCTransformer:
    return tiny_model(SHORT)


@pytest.fixture(scope="module")
def params(model: DCTransformer) -> Any:
    params = random_params(model, batch_of(model, [random_list(np.random.default_rng(0), model.vocabulary, 10)]), 2)
    head = params["params"]["channel_head"]["bias"]
    head[model.vocabulary.rank[:-1] > 20] -= 4  # low channels first, so that lists are long
    return params


def ended(model: DCTransformer, params: Any, starts: list[Start], **given: Any) -> list[Sample]:
    settings = {"seed": 3, "policy": Policy(), "rows": 4} | given
    samples = [one for grown in sample_lists(model, params, starts, **settings) for one in grown]
    return sorted((one for one in samples if one.state != "growing"), key=lambda one: one.start.number)


def test_a_sample_does_not_depend_on_its_batch(model: DCTransformer, params: Any) -> None:
    """Four rows for six lists: rows are filled again while others are in the middle of theirs."""
    together, nats = sampled_lists(model, params, 6, 7, rows=4)
    assert len({len(sparse) // SHORT.chunk_size for sparse in together}) > 2
    alone, nats_alone = sampled_lists(model, params, 6, 7, rows=1)
    assert alone == together
    np.testing.assert_allclose(nats_alone, nats, rtol=1e-5, atol=1e-5)
    for seed in (8, 2**32 - 1):
        other, _ = sampled_lists(model, params, 6, seed, rows=4)
        assert other != together


def test_a_prefix_of_a_sample_is_gone_on_from_as_the_sample_was(model: DCTransformer, params: Any) -> None:
    """With the same seed and number every draw is the same again, wherever in a chunk the prefix
    ends; rows with shorter and longer prefixes share a batch."""
    starts = [Start(i, BLANK) for i in range(6)]
    whole = ended(model, params, starts)
    longest = max(whole, key=lambda one: len(one.sparse))
    assert len(longest.sparse) > 2 * SHORT.chunk_size
    number, sparse = longest.start.number, longest.sparse
    again = [Start(number, sparse[:length]) for length in range(len(sparse) + 1)]
    samples = [one for grown in sample_lists(model, params, again, 3, Policy(), 4) for one in grown if one.state == "complete"]
    assert len(samples) == len(again)
    assert all(one.sparse == sparse for one in samples)
    # What is reported is the likelihood of the rest: it falls from the whole list's to that of the
    # stopping token.
    rest = {len(one.start.given): sum(one.nats) for one in samples}
    assert rest[0] == pytest.approx(sum(longest.nats), rel=1e-4)
    assert all(rest[n] < rest[n + 1] for n in range(len(sparse)))


def test_next_rank_excludes_channels_and_renormalises(model: DCTransformer, params: Any) -> None:
    """After a prefix that is complete up to a rank, no lower channel follows, and the reported
    likelihood is the model's divided by the probability of all that may follow."""
    rank, vocabulary = 12, model.vocabulary
    some = random_list(np.random.default_rng(0), vocabulary, 60)
    given = dataclasses.replace(some[1 : int(np.searchsorted(vocabulary.rank[some.channels], rank))], codec=BLANK.codec)
    assert len(given) > SHORT.chunk_size and len(given) % SHORT.chunk_size
    index, before = divmod(len(given), SHORT.chunk_size)
    chunk = batch_of(model, [given], index)
    logits = apply(model, params, chunk).channel[0, SHORT.overlap + before]  # of the element after the prefix
    allowed = vocabulary.rank[:-1] >= rank
    assert 0.05 < jax.nn.softmax(logits)[allowed].sum() < 0.95
    samples = ended(model, params, [Start(i, given, next_rank=rank) for i in range(4)])
    for one in samples:
        assert (vocabulary.rank[one.sparse.channels[len(given) :]] >= rank).all()
        assert one.sparse[: len(given)] == given
        both = [sum(x[0] for x in list_log_prob(model, params, [sparse])) for sparse in (one.sparse, given)]
        ends = jax.nn.log_softmax(logits)[vocabulary.stop]  # the prefix alone counts its stopping token
        expected = both[0] - (both[1] - ends) - np.log(jax.nn.softmax(logits)[allowed].sum())
        assert sum(one.nats) == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
    assert len({tuple(one.sparse.channels) for one in samples}) > 1


def test_the_limit_cuts_a_sample_where_the_whole_one_goes_on(model: DCTransformer, params: Any) -> None:
    starts = [Start(i, BLANK) for i in range(6)]
    whole = ended(model, params, starts)
    limit = int(np.median([len(one.sparse) for one in whole]))
    cut = ended(model, params, starts, limit=limit)
    assert {one.state for one in whole} == {"complete"} and {one.state for one in cut} == {"complete", "cut"}
    for one, other in zip(whole, cut):
        assert other.sparse == one.sparse[:limit]
        # A list of just so many triples is cut before its stopping token was asked for: whether it
        # ended is not known.
        assert other.state == ("cut" if len(one.sparse) >= limit else "complete")
        assert (other.nats == one.nats) == (other.state == "complete")


def test_guidance_mixes_the_logits_with_and_without_the_class(model: DCTransformer, params: Any) -> None:
    """At 0 the lists are those of the hidden class, at 1 those of the class, and they go on from
    there."""
    hidden, first, second = ([Start(i, BLANK, label) for i in range(6)] for label in (2, 0, 1))
    plain = [one.sparse for one in ended(model, params, first)]
    without = [one.sparse for one in ended(model, params, hidden)]
    assert plain != without
    for starts in (first, second):
        assert [one.sparse for one in ended(model, params, starts, policy=Policy(guidance=0.0))] == without
    # The draws of a very strong guidance are likelier with the class than without it, far more than
    # the model's own are.
    strong = ended(model, params, first, policy=Policy(guidance=8.0))

    def gain(lists: list) -> float:
        """Nats by which the class makes these lists likelier."""
        with_class, without_class = (
            sum(x.sum() for x in list_log_prob(model, params, lists, np.full(len(lists), label))) for label in (0, 2)
        )
        return float(with_class - without_class)

    assert gain([one.sparse for one in strong]) > gain(plain) + 1
    for one in strong:
        expected = sum(x[0] for x in list_log_prob(model, params, [one.sparse], np.array([0])))
        assert sum(one.nats) == pytest.approx(expected, rel=1e-4, abs=1e-3)  # the model's own likelihood, whatever the policy


@pytest.mark.parametrize("guidance", [-0.1, float("nan"), 101])
def test_bad_guidance_is_named(guidance: float) -> None:
    with pytest.raises(ValueError, match=r"guidance is .*; it must be from 0"):
        Policy(guidance=guidance)


@pytest.mark.slow
def test_samples_on_a_part_of_the_canvas_have_the_likelihood_of_the_parallel_pass(model: DCTransformer, params: Any) -> None:
    """A step that attended to the encoder's tokens beyond the image went unnoticed."""
    starts = [Start(i, SparseDCT.empty((8, 12), TINY_CODEC)) for i in range(4)]
    samples = [one for grown in sample_lists(model, params, starts, 0, Policy(), 4) for one in grown if one.state == "complete"]
    assert len(samples) == 4 and sum(len(one.sparse) for one in samples) > 8
    nats = list_log_prob(model, params, [one.sparse for one in samples])
    for ours, theirs in zip(zip(*(one.nats for one in samples)), nats, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
