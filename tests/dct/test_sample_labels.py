"""Samples that are compared with training pictures have these pictures' classes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax.commands.sample_metrics import compare_samples
from dct_jax.data.sources import Record
from dct_jax.dct.trained_model import TrainedModel
from tests.toys import tiny_config, untrained


class Rare:
    """Thirty pictures, of which all are of the last class of three."""

    name, classes = "rare", ("a", "b", "c")

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Record:
        return Record(np.full((20, 20, 3), 8 * index, np.uint8), 2, f"picture {index}")


def test_samples_have_the_classes_of_the_training_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, num_classes=3))
    model, asked = untrained(config, Rare.classes), list[Any]()

    class Asked(Exception):
        pass

    def starts(self: TrainedModel, num: int, seed: int = 0, labels: Any = None, **_: Any) -> Any:
        asked.append((num, seed, labels))
        raise Asked

    monkeypatch.setattr(TrainedModel, "starts", starts)
    with pytest.raises(Asked):
        compare_samples(model, (Rare(), Rare()), None, 12, 5, 20, 4, tmp_path)
    assert asked == [(12, 5, [2] * 12)]
