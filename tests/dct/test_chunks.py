"""Windows over a list, against literal expectations."""

import dataclasses

import numpy as np
import pytest

from dct_jax.codec import DCTCodec, SparseDCT, Vocabulary
from dct_jax.dct.chunks import Chunk, choose_chunk, chunk_weights, make_chunks, move, num_chunks
from tests.toys import codec_of

# Channels 0, 1, 2 are Y, Cb, Cr; 3 is the stopping token and 4 the start.
VOCABULARY = Vocabulary(block_size=1, grid=(2, 2), largest_value=3, chroma_subsampling="4:4:4", channel_order="interleaved")
FIVE = SparseDCT(
    channels=np.array([0, 0, 1, 2, 2], np.int32),
    positions=np.array([1, 3, 0, 2, 3], np.int32),
    values=np.array([2, -1, 3, 1, -3], np.int32),
    size=(2, 2),
    codec=codec_of(VOCABULARY),
)


def chunk_of_two(sparse: SparseDCT, index: int) -> Chunk:
    """The fields without their batch axis; the DCT image as [h, w, 3]."""
    batch = make_chunks([sparse], [index], [7], VOCABULARY, chunk_size=2, overlap=1)
    chunk = Chunk(*(field[0] for field in batch))
    return chunk._replace(dct_image=chunk.dct_image.transpose(1, 2, 0))


def test_the_first_chunk_begins_with_start_tokens() -> None:
    chunk = chunk_of_two(FIVE, 0)
    assert chunk.channels.tolist() == [4, 4, 0, 0]
    assert chunk.positions.tolist() == [0, 0, 1, 3]
    assert chunk.values.tolist() == [0, 0, 2, -1]
    assert chunk.is_target.tolist() == [False, True, True]
    assert chunk.dct_image.tolist() == np.zeros((2, 2, 3)).tolist()
    assert (chunk.chunk_index, chunk.label, chunk.grid.tolist()) == (0, 7, [2, 2])


@pytest.mark.parametrize("dtype", [">i4", np.int64])
def test_lists_of_other_integers_make_the_same_chunks(dtype: object) -> None:
    """Numba refused big-endian integers with its own error, and compiled anew for others."""
    other = dataclasses.replace(FIVE, channels=FIVE.channels.astype(dtype), values=FIVE.values.astype(dtype))
    for ours, theirs in zip(chunk_of_two(other, 1), chunk_of_two(FIVE, 1), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_chunk_in_the_middle_sees_what_is_before_it_and_nothing_else() -> None:
    chunk = chunk_of_two(FIVE, 1)
    assert chunk.channels.tolist() == [0, 0, 1, 2]
    assert chunk.positions.tolist() == [1, 3, 0, 2]
    assert chunk.values.tolist() == [2, -1, 3, 1]
    assert chunk.is_target.tolist() == [False, True, True]
    assert chunk.dct_image.tolist() == [[[0, 0, 0], [2, 0, 0]], [[0, 0, 0], [-1, 0, 0]]]
    assert chunk.chunk_index == 1


def test_the_last_chunk_ends_with_the_stopping_token() -> None:
    chunk = chunk_of_two(FIVE, 2)
    assert chunk.channels.tolist() == [1, 2, 2, 3]
    assert chunk.positions.tolist() == [0, 2, 3, 0]
    assert chunk.values.tolist() == [3, 1, -3, 0]
    assert chunk.is_target.tolist() == [False, True, True]
    assert chunk.dct_image.tolist() == [[[0, 3, 0], [2, 0, 0]], [[0, 0, 1], [-1, 0, 0]]]


def test_a_full_last_chunk_is_followed_by_one_with_only_the_stopping_token() -> None:
    chunk = chunk_of_two(FIVE[:4], 2)
    assert chunk.channels.tolist() == [1, 2, 3, 3]
    assert chunk.positions.tolist() == [0, 2, 0, 0]
    assert chunk.values.tolist() == [3, 1, 0, 0]
    assert chunk.is_target.tolist() == [False, True, False]


def test_an_empty_list_is_one_stopping_token() -> None:
    chunk = chunk_of_two(FIVE[:0], 0)
    assert chunk.channels.tolist() == [4, 4, 3, 3]
    assert chunk.positions.tolist() == chunk.values.tolist() == [0, 0, 0, 0]
    assert chunk.is_target.tolist() == [False, True, False]
    assert not chunk.dct_image.any()


def test_beyond_the_last_chunk_nothing_is_a_target() -> None:
    chunk = chunk_of_two(FIVE, 3)
    assert not chunk.is_target.any()
    assert np.count_nonzero(chunk.dct_image) == 5


def test_num_chunks_counts_the_stopping_token() -> None:
    assert [num_chunks(length, 2) for length in range(6)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 40])
@pytest.mark.parametrize("overlap", [0, 3, 25])
def test_the_targets_of_all_chunks_are_the_list_and_one_stopping_token(length: int, overlap: int) -> None:
    codec = DCTCodec(block_size=2)
    image = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    sparse, vocabulary = codec.encode(image)[:length], codec.vocabulary((10, 10))
    assert len(sparse) == length
    n = num_chunks(length, 10)
    batch = make_chunks([sparse] * n, range(n), [0] * n, vocabulary, 10, overlap)
    window = (n, overlap + 11)
    assert [field.shape for field in batch] == [(n, 12, 5, 5), *[window] * 3, (n, overlap + 10), (n,), (n, 2), (n,), (n,)]
    assert [field.dtype for field in batch] == [np.int16, *[np.int32] * 3, np.bool_, *[np.int32] * 4]
    assert np.count_nonzero(batch.dct_image, axis=(1, 2, 3)).tolist() == [10 * k for k in range(n)]
    for name, end in (("channels", vocabulary.stop), ("positions", 0), ("values", 0)):
        targets = getattr(batch, name)[:, 1:][batch.is_target]
        assert targets.tolist() == [*getattr(sparse, name).tolist(), end]


def test_a_smaller_image_lies_in_the_corner_of_the_canvas() -> None:
    """2 x 2 blocks on a canvas of 3 x 4: block (1, 0), which is the image's position 2, stands at
    4."""
    canvas = dataclasses.replace(VOCABULARY, grid=(3, 4))
    batch = make_chunks([FIVE, FIVE], [1, 9], [0, 0], canvas, chunk_size=2, overlap=1)
    assert batch.grid.tolist() == [[2, 2], [2, 2]]
    assert batch.positions[0].tolist() == [1, 5, 0, 4]
    dense = np.zeros((3, 4, 3))
    dense[0, 1, 0], dense[1, 1, 0] = 2, -1
    assert batch.dct_image[0].transpose(1, 2, 0).tolist() == dense.tolist()
    dense[0, 0, 1], dense[1, 0, 2], dense[1, 1, 2] = 3, 1, -3
    assert batch.dct_image[1].transpose(1, 2, 0).tolist() == dense.tolist()
    assert move(np.array([1, 5, 0, 4]), (3, 4), (2, 2)).tolist() == [1, 3, 0, 2]


def test_chunks_are_drawn_with_their_weights() -> None:
    rng, counts = np.random.default_rng(0), np.zeros(4, int)
    for _ in range(20_000):
        counts[choose_chunk(37, 10, 4, rng)] += 1
    np.testing.assert_allclose(counts / 20_000, chunk_weights(4, 4), atol=0.01)
    assert [choose_chunk(9, 10, 4, rng) for _ in range(10)] == [0] * 10


def test_chunk_weights() -> None:
    """(1 - k / K)^3 with a floor of 0.1, normalised over the chunks that there are."""
    np.testing.assert_allclose(chunk_weights(4, 4), np.array([1, 0.421875, 0.125, 0.1]) / 1.646875)
    np.testing.assert_allclose(chunk_weights(2, 4), np.array([1, 0.421875]) / 1.421875)
    np.testing.assert_allclose(chunk_weights(5, 2), np.array([1, 0.125, 0.1, 0.1, 0.1]) / 1.425)
    assert chunk_weights(1, 8).tolist() == [1.0]
