"""Nothing that the network is told is ignored: every array of a Chunk, every row that is looked up,
every parameter."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import Chunk, make_chunks
from dct_jax.dct.network import DCTransformer, Triples
from dct_jax.dct.network.transformer import Encoding, Logits
from dct_jax.dct.sampling.prefill import _empty_caches
from dct_jax.nn.blocks import Window
from dct_jax.nn.masks import IMPOSSIBLE
from tests.toys import TINY, TINY_CODEC, apply, random_list, random_params, tiny_model

NOT_READ = {"is_target"}
"""What of a Chunk is for the loss alone."""


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["stride 1", "stride 2"])
def model(request: pytest.FixtureRequest) -> DCTransformer:
    return tiny_model(dataclasses.replace(TINY, encoder_stride=request.param, num_classes=3, qualities=(10, 90)))


@pytest.fixture(scope="module")
def chunk(model: DCTransformer) -> Chunk:
    """Second chunks of two images, of which one has a part of the canvas, and the last chunk that
    has an embedding."""
    rng = np.random.default_rng(0)
    part = TINY_CODEC.vocabulary((8, 12))
    lists = [random_list(rng, model.vocabulary, 100), random_list(rng, part, 60)]
    batch = make_chunks(lists, [3, 1], [2, 0], model.vocabulary, model.config.chunk_size, model.config.overlap)
    return batch._replace(quality=np.array([30, 60], np.int32))


def changed(chunk: Chunk, name: str) -> Chunk:
    """With one number of an array changed, so that everything stays valid."""
    array = getattr(chunk, name).copy()
    if name == "dct_image":
        first = np.argwhere(array[0])[0]
        array[(0, *first)] *= -1
    elif name == "channels":
        last = np.flatnonzero(np.diff(array[0]))[2]  # the last of its channel becomes the first of the next
        array[0, last] = array[0, last + 1]
    elif name == "positions":
        array[0, 5] -= 1
    elif name == "values":
        array[0, 5] *= -1
    else:
        array[0] = {"chunk_index": 2, "grid": (3, 4), "label": 1, "quality": 31}[name]
    assert not np.array_equal(array, getattr(chunk, name)), name
    return chunk._replace(**{name: array})


def of_possible(logits: Any, other: Any) -> float:
    """How far two logits differ where both are possible."""
    both = (logits > IMPOSSIBLE) & (other > IMPOSSIBLE)
    return float(np.where(both, np.abs(logits - other), 0).max())


@partial(jax.jit, static_argnums=0)
def first_step(model: DCTransformer, params: Any, chunk: Chunk, encoding: Encoding) -> Logits:
    """The logits of the window's first element alone, with caches, as in the sampler."""

    def run(model: DCTransformer) -> Logits:
        last, now = (Triples(*(x[:, i : i + 1] for x in (chunk.channels, chunk.positions, chunk.values))) for i in (0, 1))
        of_channels, of_positions, of_values = (Window(one, 0) for one in _empty_caches(model, len(chunk.label)))
        channel, stream, _ = model.predict_channel(last, encoding, of_channels)
        position, stream, _ = model.predict_position(stream, now.channels, last, encoding, of_positions)
        value, _ = model.predict_value(stream, now.channels, now.positions, encoding, of_values)
        return Logits(channel, position, value)

    return model.apply(params, method=run)


@pytest.mark.parametrize("name", [name for name in Chunk._fields if name not in NOT_READ])
def test_every_array_of_a_chunk_changes_the_logits_of_all_heads(model: DCTransformer, chunk: Chunk, name: str) -> None:
    params = random_params(model, chunk)
    logits, other = apply(model, params, chunk), apply(model, params, changed(chunk, name))
    assert min(map(of_possible, logits, other)) > 1e-4


def test_the_encoder_reads_signs_and_magnitudes(model: DCTransformer, chunk: Chunk) -> None:
    """Its second chunk sees coefficients; contexts, which see them too, are off."""
    alone = tiny_model(dataclasses.replace(model.config, contexts=False))
    params, image = random_params(alone, chunk), np.asarray(chunk.dct_image)
    logits = apply(alone, params, chunk)
    for other in (-image, 2 * image, np.abs(image)):
        assert max(map(of_possible, logits, apply(alone, params, chunk._replace(dct_image=other)))) > 1e-3


def test_every_parameter_and_every_row_that_is_looked_up_has_a_gradient(model: DCTransformer, chunk: Chunk) -> None:
    params = random_params(model, chunk)
    rng = np.random.default_rng(1)

    @jax.jit
    def gradient(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = model.apply(params, chunk)
            weights = [jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in logits]
            return sum(jnp.sum(jnp.where(x > IMPOSSIBLE, w * jnp.tanh(x), 0)) for x, w in zip(logits, weights))

        return jax.grad(loss)(params)

    found = jax.device_get(gradient(params))["params"]
    without = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if not np.abs(leaf).max() > 0
    ]
    assert not without
    looked_up = {
        "chunk_index": {3, 1},
        "label": {2, 0},
        "grid_height": {4, 2},
        "grid_width": {4, 3},
        "window_index": set(range(model.config.window)),
        "last_channel": set(chunk.channels[:, :-1].flat),
        "last_position": set(chunk.positions[:, :-1].flat),
        "last_value": {int(v) + model.vocabulary.largest_value for v in chunk.values[:, :-1].flat},
        "position_channel": set(chunk.channels[:, 1:].flat),
        "value_channel": set(chunk.channels[:, 1:].flat),
        "value_position": set(chunk.positions[:, 1:].flat),
    }
    for name, rows in looked_up.items():
        of_rows = np.abs(found[name]["embedding"]).max(axis=1)
        assert set(np.flatnonzero(of_rows)) == {int(row) for row in rows}, name
    # The encoder's first layer: signed values and magnitudes of every channel that has a
    # coefficient.
    stride = model.config.encoder_stride
    kernel = found["encoder"]["blocks"]["kernel"].reshape(stride**2, 2, model.vocabulary.num_channels, -1)
    has = np.flatnonzero(np.abs(chunk.dct_image).sum(axis=(0, 2, 3)))
    assert (np.abs(kernel[:, :, has]).max(axis=(0, 3)) > 0).all()


def full_beyond_its_blocks(model: DCTransformer, chunk: Chunk) -> Chunk:
    """With coefficients on the rest of the canvas of the second image, which has a part of it."""
    assert tuple(chunk.grid[1]) == (2, 3)
    image, stride = np.asarray(chunk.dct_image).copy(), model.config.encoder_stride
    image[1, :, 2:, :] = 7
    image[1, :, :, 3 + 3 % stride :] = 7  # a token of several blocks is read whole
    return chunk._replace(dct_image=image)


def test_an_image_of_part_of_the_canvas_sees_nothing_of_the_rest(model: DCTransformer, chunk: Chunk) -> None:
    params = random_params(model, chunk)
    logits, other = (apply(model, params, one) for one in (chunk, full_beyond_its_blocks(model, chunk)))
    for ours, theirs in zip(logits, other):
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


@pytest.mark.slow
def test_a_step_sees_nothing_of_the_rest_of_the_canvas(model: DCTransformer, chunk: Chunk) -> None:
    """Steps attend by another function than all elements at once."""
    params = random_params(model, chunk)
    both = chunk, full_beyond_its_blocks(model, chunk)
    logits, other = (first_step(model, params, one, apply(model, params, one, method="encode")) for one in both)
    for ours, theirs in zip(logits, other):
        assert ours.shape[:2] == (2, 1)
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


def test_blank_images_differ_by_their_size(model: DCTransformer) -> None:
    """The very first prediction knows how large the image will be."""
    sizes = ((16, 16), (8, 16), (16, 8))
    blanks = [SparseDCT.empty(size, TINY_CODEC) for size in sizes]
    chunk = make_chunks(blanks, [0] * 3, [0] * 3, model.vocabulary, model.config.chunk_size, model.config.overlap)
    logits = apply(model, random_params(model, chunk), chunk)
    first = np.asarray(logits.channel[:, model.config.overlap])
    assert of_possible(first[0], first[1]) > 1e-3 and of_possible(first[0], first[2]) > 1e-3


def test_a_value_is_predicted_from_the_features_at_its_own_place(model: DCTransformer, chunk: Chunk) -> None:
    """Only the place of each element is changed in turn, in what the value decoder adds, and not in
    what it attends to."""
    params, width, stride = random_params(model, chunk), model.vocabulary.grid[1], model.config.encoder_stride
    encoding = apply(model, params, chunk, method="encode")
    rng = np.random.default_rng(0)
    places = np.array([0, 6, 9, 15, 3])  # of blocks in different tokens, at either stride
    positions = jnp.asarray(np.tile(places, (2, 1)), jnp.int32)
    channels = jnp.full_like(positions, 5)
    stream = jnp.asarray(rng.normal(size=(2, len(places), model.config.width)), jnp.float32)
    tokens = [(int(place) // width // stride, int(place) % width // stride) for place in places]

    def logits(features: Any) -> np.ndarray:
        changed = encoding._replace(features=features)
        return np.asarray(apply(model, params, stream, channels, positions, changed, method="predict_value")[0])

    plain = logits(encoding.features)
    for row, column in tokens:
        other = logits(encoding.features.at[:, row, column].multiply(-1))  # a constant would be normalised away
        difference = np.abs(np.where(plain > IMPOSSIBLE, other - plain, 0)).max(axis=(0, 2))
        first = tokens.index((row, column))
        assert not difference[:first].any() and difference[first] > 1e-4
    assert len(set(tokens)) >= 3
