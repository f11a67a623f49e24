"""Sizes and number formats of the network."""

import dataclasses

import jax
import numpy as np
import pytest

from dct_jax.codec import DCTCodec, Vocabulary
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import NormalizedEmbed
from dct_jax.dct.paper import PAPER_MODEL
from dct_jax.nn.masks import IMPOSSIBLE
from dct_jax.nn.modules import used_variables
from tests.toys import TINY, apply, batch_of, random_list, random_params, tiny_model


@pytest.mark.slow
def test_the_papers_layout_has_401_million_parameters() -> None:
    """The LSUN model is reported with 448 M; see docs/method.md. Shapes alone: nothing of that size
    is made."""
    vocabulary = DCTCodec(quality=75).vocabulary((384, 384))
    model = DCTransformer(vocabulary, PAPER_MODEL)
    batch = batch_of(model, [random_list(np.random.default_rng(0), vocabulary, 5)])
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == pytest.approx(401e6, rel=0.01)
    logits = jax.eval_shape(model.apply, shapes, batch)
    assert [x.shape for x in logits] == [(1, 1024, 193), (1, 1024, 48 * 48), (1, 1024, vocabulary.num_values)]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_every_token_reads_its_own_blocks(stride: int) -> None:
    """On a grid that the stride does not divide, before attention mixes the tokens; block (i, j)
    belongs to token (i // stride, j // stride), where the value decoder looks for it."""
    vocabulary = Vocabulary(2, (5, 3), 2, "4:4:4")
    model = DCTransformer(vocabulary, dataclasses.replace(TINY, encoder_stride=stride))
    batch = batch_of(model, [random_list(np.random.default_rng(0), vocabulary, 60)], index=1)
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: np.zeros_like(x) if path[-1].key == "gate" else x, random_params(model, batch)
    )
    tokens = apply(model, params, batch, method="encode").features
    assert tokens.shape == (1, -(-5 // stride), -(-3 // stride), TINY.width)
    for row, column in ((0, 0), (4, 2), (3, 1)):
        changed = batch.dct_image.copy()
        changed[0, 0, row, column] += 2
        moved = apply(model, params, batch._replace(dct_image=changed), method="encode").features - tokens
        places = np.argwhere(np.abs(moved[0]).max(axis=-1) > 1e-3)
        assert places.tolist() == [[row // stride, column // stride]]


@pytest.mark.parametrize("stride", [1, 2])
def test_the_pointer_looks_at_each_position_where_it_is(stride: int) -> None:
    """What changes in one token of the encoding changes the logits of the positions that lie in it,
    and no others, if nothing but the pointer reads it."""
    vocabulary = Vocabulary(2, (5, 3), 2, "4:4:4")
    model = DCTransformer(vocabulary, dataclasses.replace(TINY, encoder_stride=stride, position_pointer=True))
    batch = batch_of(model, [random_list(np.random.default_rng(0), vocabulary, 60)], index=1)
    params = random_params(model, batch)
    encoding = apply(model, params, batch, method="encode")
    last = Triples(*(x[:, :1] for x in (batch.channels, batch.positions, batch.values)))
    stream = np.random.default_rng(0).normal(size=(1, 1, TINY.width)).astype(np.float32)

    def logits(pointers: jax.Array) -> np.ndarray:
        channel = np.full((1, 1), vocabulary.channels[-1], np.int32)  # a later one, in which every position is possible
        known = encoding._replace(pointers=pointers)
        return np.asarray(apply(model, params, stream, channel, last, known, method="predict_position")[0][0, 0])

    columns = -(-3 // stride)
    for token in range(encoding.pointers.shape[1]):
        pointers = np.array(encoding.pointers)
        pointers[0, token] += 1
        moved = logits(pointers) != logits(encoding.pointers)
        inside = [(p // 3 // stride) * columns + p % 3 // stride == token for p in range(15)]
        assert moved.tolist() == inside


def test_few_rows_are_embedded_as_many_are() -> None:
    """Few are normalised by themselves, for many the whole table is."""
    embed = NormalizedEmbed(7, 16, np.float32)
    params = embed.init(jax.random.key(0), np.arange(7))
    many = np.array([3, 1, 6, 0, 3, 2, 5, 4, 1])
    rows = embed.apply(params, many)
    np.testing.assert_allclose(embed.apply(params, many[:4]), rows[:4], rtol=1e-6, atol=1e-6)
    table = params["params"]["embedding"]
    expected = (table - table.mean(axis=1, keepdims=True)) / np.sqrt(table.var(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(rows, expected[many], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_activations_give_nearly_the_same_logits() -> None:
    model = tiny_model()
    batch = batch_of(model, [random_list(np.random.default_rng(i), model.vocabulary, 40) for i in range(2)])
    params = random_params(model, batch, scale=0.1)
    short = tiny_model(dataclasses.replace(TINY, dtype="bfloat16"))
    fresh = jax.eval_shape(short.init, jax.random.key(0), batch)
    assert {x.dtype for x in jax.tree.leaves(fresh)} == {np.dtype("float32")}
    for exact, rounded in zip(apply(model, params, batch), apply(short, params, batch)):
        assert rounded.dtype == np.float32
        possible = exact > IMPOSSIBLE
        np.testing.assert_array_equal(possible, rounded > IMPOSSIBLE)
        np.testing.assert_allclose(rounded[possible], exact[possible], atol=0.1)
        assert np.abs(rounded - exact)[possible].max() > 0


def test_a_method_runs_with_the_variables_that_it_uses_and_these_are_not_all() -> None:
    model = tiny_model()
    batch = batch_of(model, [random_list(np.random.default_rng(0), model.vocabulary, 10)])
    params = random_params(model, batch)
    used = used_variables(model, params, batch, method="encode")
    assert "encoder" in used["params"] and not {"last_value", "value_head"} & used["params"].keys()
    expected, encoding = (apply(model, variables, batch, method="encode") for variables in (params, used))
    np.testing.assert_array_equal(encoding.context, expected.context)
