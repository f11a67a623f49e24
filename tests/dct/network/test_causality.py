"""No prediction depends on what it predicts, or on anything after it. Every ReZero gate is open."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from dct_jax.codec import SparseDCT, Vocabulary
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.network import DCTransformer
from dct_jax.nn.masks import IMPOSSIBLE
from tests.toys import apply, batch_of, random_list, random_params, tiny_model


@pytest.fixture(scope="module")
def model() -> DCTransformer:
    return tiny_model()


@pytest.fixture(scope="module")
def lists(model: DCTransformer) -> list[SparseDCT]:
    rng = np.random.default_rng(0)
    return [random_list(rng, model.vocabulary, 60) for _ in range(2)]


@pytest.fixture(scope="module")
def chunk(model: DCTransformer, lists: list[SparseDCT]) -> Chunk:
    """The second chunk of two lists, with an overlap before it."""
    return batch_of(model, lists, index=1)


@pytest.fixture(scope="module")
def logits_of(model: DCTransformer, chunk: Chunk):
    return partial(apply, model, random_params(model, chunk))


def change(original: jax.Array, new: jax.Array) -> np.ndarray:
    """Where the network's own output differs, [B, W, N]: entries that are possible in both, since a
    change of the support, which also follows from earlier symbols, would hide that the network
    ignores them."""
    both = (original > IMPOSSIBLE) & (new > IMPOSSIBLE)
    return np.where(both, np.abs(original - new), 0)


# What a prediction at element l may see of the element l itself: earlier symbols of the same triple
# only.
@pytest.mark.parametrize(
    ("symbol", "first_changed"),
    [
        ("channels", {"channel": 1, "position": 0, "value": 0}),
        ("positions", {"channel": 1, "position": 1, "value": 0}),
        ("values", {"channel": 1, "position": 1, "value": 1}),
    ],
)
@pytest.mark.parametrize("place", [9, 20])
def test_a_symbol_changes_no_prediction_before_it(
    model: DCTransformer, lists: list[SparseDCT], logits_of, symbol: str, first_changed: dict[str, int], place: int
) -> None:
    index = model.config.chunk_size - model.config.overlap + place
    changed = [with_another(sparse, index, symbol, model.vocabulary) for sparse in lists]
    for name, original, new in zip(first_changed, *(logits_of(batch_of(model, x, index=1)) for x in (lists, changed))):
        differs = change(original, new).max(axis=(0, 2)) > 1e-6  # [W]
        assert np.flatnonzero(differs)[0] == place + first_changed[name], name


def with_another(sparse: SparseDCT, index: int, symbol: str, vocabulary: Vocabulary) -> SparseDCT:
    """A valid list that is the same up to element `index`, which has another symbol, and ends with
    what can follow it."""
    channel, position, value = (int(x[index]) for x in (sparse.channels, sparse.positions, sparse.values))
    if symbol == "channels":
        later = vocabulary.channels[vocabulary.rank[channel] + 1 :]
        channel = int(later[vocabulary.on_grid[vocabulary.is_chroma[later], position]][0])
    elif symbol == "positions":
        position = int(np.flatnonzero(vocabulary.on_grid[vocabulary.is_chroma[channel]])[-1])
    else:
        value = -value
    place = vocabulary.rank[sparse.channels] * vocabulary.num_positions + sparse.positions  # [L]
    after = np.flatnonzero(place > vocabulary.rank[channel] * vocabulary.num_positions + position)
    chosen = np.concatenate([np.arange(index + 1), after[after > index]])
    new = sparse[: len(chosen)]
    for name, one in (("channels", channel), ("positions", position), ("values", value)):
        array = getattr(sparse, name)[chosen]
        array[index] = one
        new = dataclasses.replace(new, **{name: array})
    assert getattr(new, symbol)[index] != getattr(sparse, symbol)[index]
    new.validate(vocabulary)
    return new


def test_the_encoder_sees_nothing_of_the_target_chunk(model: DCTransformer) -> None:
    """A chunk's dense image holds every coefficient before the chunk, and is the same whatever its
    targets are."""
    rng = np.random.default_rng(1)
    sparse = random_list(rng, model.vocabulary, 60)
    size = model.config.chunk_size
    cut = batch_of(model, [sparse, sparse[: size + 1], sparse[:size]], index=1)
    np.testing.assert_array_equal(cut.dct_image[1], cut.dct_image[0])
    np.testing.assert_array_equal(cut.dct_image[2], cut.dct_image[0])
    assert np.count_nonzero(cut.dct_image[0]) == size


def test_every_decoder_uses_the_encoding(model: DCTransformer, chunk: Chunk, logits_of) -> None:
    dense = chunk.dct_image.copy()
    dense[0, *np.argwhere(dense[0])[0]] += 1
    for original, new in zip(logits_of(chunk), logits_of(chunk._replace(dct_image=dense))):
        assert change(original, new)[0].max(axis=-1).min() > 0  # everywhere in the window
        np.testing.assert_array_equal(original[1], new[1])  # and in no other list


def test_the_grid_is_told(model: DCTransformer, logits_of) -> None:
    """The same triples in an image of another height: all predictions differ, and not only what is
    possible."""
    lists = [random_list(np.random.default_rng(0), dataclasses.replace(model.vocabulary, grid=(2, 4)), 20)]
    chunk = batch_of(model, lists * 2)
    taller = chunk._replace(grid=np.array([[2, 4], [3, 4]], np.int32))
    for logits in logits_of(taller):
        both = (logits[:1] > IMPOSSIBLE) & (logits[1:] > IMPOSSIBLE)
        assert np.abs(np.where(both, logits[:1] - logits[1:], 0)).max(axis=-1)[:, 8:28].min() > 0  # where there are triples
