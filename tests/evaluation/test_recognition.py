"""A classifier learns classes that can be told apart, is the same again, and is kept."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dct_jax.evaluation import recognition
from dct_jax.evaluation.recognition import LabelledPictures, kept_classifier, train_classifier


def striped(number: int, seed: int, tint: tuple[float, float, float] = (1, 1, 1)) -> LabelledPictures:
    """Noisy stripes of 12 x 12 pixels: those of class 0 lie, those of class 1 stand."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, number).astype(np.int32)
    lines = 180 * (np.arange(12) // 2 % 2)
    pictures = np.stack([np.tile(lines, (12, 1)) if label else np.tile(lines, (12, 1)).T for label in labels])
    pictures = pictures + rng.uniform(0, 70, pictures.shape)
    return LabelledPictures((pictures[..., None] * tint).astype(np.uint8), labels)


@pytest.mark.parametrize(("tint", "channels"), [((1, 1, 1), 1), ((1, 0.5, 0.2), 3)])
def test_classes_that_differ_are_recognised(tint: tuple[float, float, float], channels: int) -> None:
    classifier = train_classifier(striped(96, 0, tint), 2, epochs=8)
    assert classifier.channels == channels
    others = striped(503, 1, tint)  # more than it looks at together
    assert classifier.share_recognised(others) > 0.95
    assert classifier.share_recognised(others._replace(labels=1 - others.labels)) < 0.05


def test_a_classifier_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, trained = striped(20, 0), []
    known = {classes: train_classifier(pictures, classes, 2, 5) for classes in (2, 3)}
    jax.tree.map(np.testing.assert_array_equal, train_classifier(pictures, 2, 2, 5).params, known[2].params)

    def train(pictures: LabelledPictures, classes: int, *arguments: int) -> recognition.Classifier:
        """Trains nothing, which would take a third of a second each time."""
        trained.append(arguments)
        return known[classes]

    monkeypatch.setattr(recognition, "train_classifier", train)
    first, again = (kept_classifier(pictures, 2, tmp_path, 2, 5) for _ in range(2))
    assert trained == [(2, 5)] and first is known[2] is not again
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    kept_classifier(pictures, 2, tmp_path, 2, 6)
    kept_classifier(pictures, 3, tmp_path, 2, 5)
    kept_classifier(pictures._replace(labels=1 - pictures.labels), 2, tmp_path, 2, 5)
    kept_classifier(pictures._replace(images=pictures.images[::-1]), 2, tmp_path, 2, 5)
    assert len(trained) == len(list(tmp_path.iterdir())) == 5
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    damaged = kept_classifier(pictures, 2, tmp_path, 2, 5)
    assert len(trained) == 6
    jax.tree.map(np.testing.assert_array_equal, damaged.params, first.params)
    (tmp_path / "file").write_text("no folder")
    kept = kept_classifier(pictures, 2, tmp_path / "file", 2, 5)  # which once was lost
    jax.tree.map(np.testing.assert_array_equal, kept.params, first.params)
    (tmp_path / "file").unlink()
    (tmp_path / "other").mkdir()
    fewer = kept_classifier(pictures, 3, tmp_path / "other", 2, 5)
    (path,) = (tmp_path / "other").iterdir()
    for name in tmp_path.glob("*.safetensors"):
        name.write_bytes(path.read_bytes())  # a file of three classes has other arrays
    assert kept_classifier(pictures, 2, tmp_path, 2, 5).network.classes == 2 and fewer.network.classes == 3
    assert len(trained) == 9
