"""Blockiness and nearest pictures: what they say of pictures whose answer is known."""

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.commands.picture_sets import nearest_pictures
from dct_jax.evaluation.blockiness import blockiness
from dct_jax.evaluation.nearest import nearest
from tests.toys import random_image


def by_hand(pictures: list[np.ndarray], block: int) -> float:
    """One pair of pixels after the other."""
    steps: dict[bool, list[int]] = {True: [], False: []}
    for picture in pictures:
        numbers = picture.astype(int)
        for row in range(picture.shape[0]):
            for col in range(picture.shape[1]):
                for color in range(3):
                    if row:
                        steps[row % block == 0].append(abs(numbers[row, col, color] - numbers[row - 1, col, color]))
                    if col:
                        steps[col % block == 0].append(abs(numbers[row, col, color] - numbers[row, col - 1, color]))
    return float(np.mean(steps[True]) / np.mean(steps[False]))


@pytest.mark.parametrize("block", [2, 4, 8])
def test_blockiness_is_the_ratio_of_the_means_of_all_steps(block: int) -> None:
    rng = np.random.default_rng(block)
    pictures = [random_image(rng, 12, 19), rng.integers(0, 256, (9, 9, 3), np.uint8)]
    assert blockiness(pictures, block) == pytest.approx(by_hand(pictures, block), rel=1e-12)


def test_blockiness_of_ramps_blocks_and_coarse_coding() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    assert blockiness([ramp], 8) == pytest.approx(1)
    flat = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    assert np.isnan(blockiness([flat], 8))  # there is no step inside any block
    assert np.isnan(blockiness([ramp[:8, :8]], 8))  # there is no border
    picture = random_image(np.random.default_rng(1), 64, 64)
    codec = DCTCodec(block_size=8, quality=5)
    assert blockiness([codec.decode(codec.encode(picture))], 8) > 1.5 * blockiness([picture], 8)


@pytest.mark.parametrize("block", [1 << 26, 1 << 12])
def test_the_nearest_of_many_is_found_whatever_the_size_of_the_parts(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dct_jax.evaluation.nearest._BLOCK", block)
    rng = np.random.default_rng(0)
    references = rng.integers(0, 256, (40, 6, 5, 3), np.uint8)
    pictures = np.concatenate([references[[31, 2]], rng.integers(0, 256, (7, 6, 5, 3), np.uint8)])
    squares = np.square(pictures[:, None].astype(float) - references).mean(axis=(2, 3, 4))  # [9, 40]
    found = nearest(pictures, references)
    np.testing.assert_array_equal(found.indices, squares.argmin(axis=1))
    np.testing.assert_allclose(found.distances, np.sqrt(squares.min(axis=1)))
    assert found.distances[:2].tolist() == [0, 0] and found.indices[:2].tolist() == [31, 2]


def test_pictures_of_another_size_and_no_references_are_refused() -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="they must have one size"):
        nearest(pictures, np.zeros((2, 4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="there must be a reference"):
        nearest(pictures, np.zeros((0, 4, 4, 3), np.uint8))


def test_training_pictures_of_another_size_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One portrait among them once ended evaluate after all its work."""
    pictures = list(np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8))
    found, _ = nearest_pictures(pictures[:2], pictures[2:4], [*pictures[4:], np.zeros((4, 6, 3), np.uint8)])
    assert found is not None and found["references"] == 2
    assert "the nearest of 2 training pictures" in capsys.readouterr().out
    assert nearest_pictures(pictures[:2], pictures[2:4], [np.zeros((4, 6, 3), np.uint8)])[0] is None
