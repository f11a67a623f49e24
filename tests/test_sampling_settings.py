"""Every setting of drawing changes what it says, and stands in the manifest."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dct_jax import TrainedModel
from dct_jax.commands.sampling import MANIFEST, Sampling, sample_into
from dct_jax.dct import trained_model
from dct_jax.dct.sampling.lists import sample_lists
from dct_jax.dct.sampling.policy import Policy
from dct_jax.nn.temperature import SymbolPolicy
from tests.toys import SMALLEST, tiny_config, untrained

OTHER: dict[str, Any] = {
    "seed": 5,
    "temperature": (0.5,),
    "top_k": (2,),
    "top_p": (0.5,),
    "guidance": 3.0,
    "max_triples": 4,
    "max_chunks": 1,
    "batch_size": 1,
    "dtype": "bfloat16",
    "format": "jpg",
}
"""A value of each field that is not its default. A new field belongs in here."""

SHORT = {"max_triples": 20, "batch_size": 2}
"""For all samples that are compared: other batches are other programs."""

SAME_SAMPLES = {"batch_size", "dtype", "format"}
"""Fields that do not change which samples are drawn; `dtype` is for whoever loads the model."""

KEYS = [
    *("file", "seed", "number", "temperature", "top_k", "top_p", "guidance", "label", "class", "size", "given", "triples"),
    *("nats", "state"),
]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    config = tiny_config()
    config = dataclasses.replace(
        config,
        codec=dataclasses.replace(config.codec, block_size=8),
        model=dataclasses.replace(SMALLEST, num_classes=2, chunk_size=3, overlap=2),
        training=dataclasses.replace(config.training, label_dropout=0.1),
    )
    return untrained(config, ("cat", "owl"))


def drawn(model: TrainedModel, out: Path, **settings: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """The lists, and the lines of the manifest."""
    drawing = Sampling(**settings)
    starts = model.starts(3, seed=0, labels=[0, 1])
    samples, _ = sample_into(out, (), model, starts, drawing)
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    files = [str(path.relative_to(out)) for path in sorted((out / "samples").iterdir())]
    assert files == [line["file"] for line in lines]
    return [sample.sparse for sample in samples], lines


@pytest.fixture(scope="module")
def by_default(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[dict[str, Any]]]:
    return drawn(model, tmp_path_factory.mktemp("by_default"), **SHORT)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Sampling)])
def test_every_setting_changes_what_is_drawn_and_is_written_down(
    model: TrainedModel,
    by_default: tuple[list[Any], list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    asked = []

    def sample(network: Any, variables: Any, starts: Any, seed: int, policy: Policy, rows: int, limit: int | None) -> Any:
        asked.append(rows)
        return sample_lists(network, variables, starts, seed, policy, rows, limit)

    monkeypatch.setattr(trained_model, "sample_lists", sample)
    assert OTHER[name] != getattr(Sampling(), name)
    lists, lines = by_default
    others, their_lines = drawn(model, tmp_path, **(SHORT | {name: OTHER[name]}))
    assert asked == [(OTHER if name == "batch_size" else SHORT)["batch_size"]]
    assert (lists == others) is (name in SAME_SAMPLES)
    assert [list(line) for line in lines] == [KEYS] * 3
    if name in KEYS:
        value = OTHER[name]
        assert all(line[name] == (list(value) if isinstance(value, tuple) else value) for line in their_lines)
    if name == "format":
        assert all(line["file"].endswith(".jpg") for line in their_lines)


def test_a_model_samples_by_its_own_settings(model: TrainedModel) -> None:
    other = model.with_settings({"temperature": (0.1, 0.2, 0.3), "top_k": 2, "guidance": 3.0})
    policy = Policy(SymbolPolicy(0.1, 2), SymbolPolicy(0.2, 2), SymbolPolicy(0.3, 2), guidance=3.0)
    assert other.policy == policy and Policy.of(**other.settings) == policy and model.policy == Policy()
    assert other.settings == {"temperature": (0.1, 0.2, 0.3), "top_k": (2, 2, 2), "top_p": (1, 1, 1), "guidance": 3}
    # One temperature for all, far below 1, ends samples early.
    cold = model.with_settings({"temperature": 1e-3})
    expected = [one.codec.decode(one) for one in model.sample(3, 5, Policy.of((1e-3,) * 3), [1, 0], batch_size=2)]
    sampled = dict(cold.sample_pictures(3, 5, [1, 0], 2))
    np.testing.assert_array_equal([sampled[i] for i in range(3)], expected)
    assert cold.sample(2, 5) == model.sample(2, 5, cold.policy) != model.sample(2, 5)
    for settings, message in (
        ({"steps": 3}, "a DCTransformer has no steps; its settings are temperature, top_k, top_p, guidance"),
        ({"top_p": (0.5, 0.6)}, "top_p has 2 numbers; it must have one, or 3"),
        ({"guidance": (1.0, 2.0)}, "guidance has 2 numbers; it must have one"),
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"temperature": "0.8"}, "temperature is '0.8'; it must be a number"),
        ({"top_k": [1, True, 2]}, "top_k is True; it must be a number"),
        ({"top_k": 2.5}, r"top_k is 2.5; it must be 0 \(all\) or a larger integer"),
    ):
        with pytest.raises(ValueError, match=message):
            model.with_settings(settings)
    assert model.with_settings({"top_k": [1, 2, 3]}).settings["top_k"] == (1, 2, 3)
    training = dataclasses.replace(model.config.training, label_dropout=0.0)
    seen = dataclasses.replace(model, config=dataclasses.replace(model.config, training=training))
    with pytest.raises(ValueError, match="guidance needs a model that was trained with hidden classes"):
        seen.with_settings({"guidance": 2.0})


def test_guidance_leaves_upsampled_pictures_as_they_are(model: TrainedModel) -> None:
    """Their classes are hidden: all of an evaluation's samples were there when guidance was refused
    for them."""
    pictures = [np.full((16, 16, 3), value, np.uint8) for value in (30, 220)]
    ours, theirs = (one.guided_pictures(pictures, 0, 2) for one in (model, model.with_settings({"guidance": 2.0})))
    assert ours is not None and theirs is not None
    for (number, picture, keeps), other in zip(ours.samples, theirs.samples, strict=True):
        assert (number, keeps) == (other[0], other[2])
        np.testing.assert_array_equal(picture, other[1])


def test_settings_are_those_of_the_policy() -> None:
    drawing = Sampling(temperature=(0.5, 0.6, 0.7), top_k=(3,), top_p=(0.9, 0.8, 0.7), guidance=2.0)
    symbols = (SymbolPolicy(0.5, 3, 0.9), SymbolPolicy(0.6, 3, 0.8), SymbolPolicy(0.7, 3, 0.7))
    assert drawing.policy() == Policy(*symbols, guidance=2.0)
    limits = [Sampling(max_triples=a, max_chunks=b).limit(10) for a, b in ((None, None), (7, None), (None, 2), (30, 2), (7, 2))]
    assert limits == [None, 7, 20, 20, 7]
