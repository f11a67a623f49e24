"""Configurations go through JSON unchanged, and a bad field is named."""

import dataclasses
import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.config import DataConfig, RunConfig, TrainingConfig, changed_fields, read_sizes, with_fields
from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.sundae.config import SundaeConfig
from dct_jax.systems import SYSTEMS
from dct_jax.window.config import WindowConfig

OTHER = DCTConfig(
    codec=DCTCodec(16, 35, "4:4:4", "luma_first"),
    data=DataConfig(
        source="folder:/pictures",
        split="train",
        held_out_split="test",
        held_out_every=7,
        held_out_crops=33,
        image_size=(48, 96),
        fit="whole",
        crop=(0.25, 0.5),
        enlarge=1.5,
        flip=False,
        own_coefficients=False,
        upright=False,
        threads=3,
        workers=4,
        max_skipped=0.25,
    ),
    model=ModelConfig(
        width=64,
        heads=8,
        encoder=(1, 2),
        channel_decoder=(3,),
        position_decoder=(0, 1),
        value_decoder=(1, 1, 4),
        encoder_stride=2,
        position_pointer=True,
        contexts=True,
        chunk_size=128,
        overlap=0,
        max_chunks=5,
        num_classes=10,
        dropout=0.1,
        dtype="bfloat16",
    ),
    training=TrainingConfig(
        steps=77,
        batch_size=6,
        accumulate=3,
        optimizer="muon",
        learning_rate=3e-4,
        muon_learning_rate=5e-3,
        warmup_steps=0,
        clip_norm=0.5,
        label_dropout=0.1,
        evaluate_every=6,
        checkpoint_every=8,
        keep=9,
        samples=12,
        features="inception",
    ),
    seed=3,
)


@pytest.mark.parametrize("config", [DCTConfig(), OTHER])
def test_a_configuration_survives_json(config: DCTConfig) -> None:
    restored = DCTConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert restored == config
    assert isinstance(restored.data.image_size, tuple)
    assert isinstance(restored.model.value_decoder, tuple)


@pytest.mark.parametrize("system", SYSTEMS)
def test_fields_are_given_by_name(system: type[RunConfig]) -> None:
    """Their order may change: a benchmark that gave them by place once stopped to work."""
    config = system()
    rooms = [getattr(config, spec.name) for spec in dataclasses.fields(config)]
    for room in (config, *rooms):
        if dataclasses.is_dataclass(room) and not isinstance(room, DCTCodec):
            assert all(spec.kw_only for spec in dataclasses.fields(room)), type(room)


def test_the_window_is_overlap_and_chunk() -> None:
    assert ModelConfig().window == 1024
    assert OTHER.model.window == 128


@pytest.mark.parametrize(
    ("room", "name"), [(None, "seed"), (None, "model"), ("codec", "quality"), ("model", "heads"), ("training", "keep")]
)
def test_a_missing_field_is_named(room: str | None, name: str) -> None:
    values = DCTConfig().to_dict()
    (values[room] if room else values).pop(name)
    with pytest.raises(ValueError, match=rf"the configuration's field {room + '.' if room else ''}{name} is missing$"):
        DCTConfig.from_dict(values)


def test_configurations_of_earlier_versions_are_read() -> None:
    values = DCTConfig().to_dict()
    for field in ("samples", "features", "label_dropout"):
        del values["training"][field]
    for field in ("rematerialise", "products"):
        del values["model"][field]
    assert DCTConfig.from_dict(values) == DCTConfig()


def test_what_changes_the_speed_alone_may_change_when_a_run_goes_on() -> None:
    now = DCTConfig(data=DataConfig(threads=7), training=TrainingConfig(steps=300, accumulate=2), seed=1)
    assert changed_fields(DCTConfig(), now) == ["training.steps 1000 -> 300", "seed 0 -> 1"]


@pytest.mark.parametrize("config", [DCTConfig(), WindowConfig(), SundaeConfig(), DQTransformerConfig()], ids=lambda x: x.system)
def test_the_type_of_products_may_change_when_a_run_goes_on(config: RunConfig) -> None:
    """A SUNDAE's once could not."""
    assert changed_fields(config, with_fields(config, {"products": "bfloat16"})) == []
    assert with_fields(config, {"products": "bfloat16"}) != config


@pytest.mark.parametrize(
    ("room", "field"), [(None, "sed"), ("codec", "codec.sed"), ("data", "data.sed"), ("model", "model.sed")]
)
def test_an_unknown_field_is_named(room: str | None, field: str) -> None:
    values = DCTConfig().to_dict()
    (values[room] if room else values)["sed"] = 1
    with pytest.raises(ValueError, match=f"the configuration's field {field} is unknown$"):
        DCTConfig.from_dict(values)


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [
        (None, "seed", "0"),
        (None, "seed", 1.5),
        ("codec", "quality", 50.5),
        ("codec", "block_size", "8"),
        ("codec", "channel_order", 1),
        ("data", "source", None),
        ("data", "flip", 1),
        ("data", "image_size", 64),
        ("data", "image_size", ["64", "64"]),
        ("data", "image_size", [64.5, 64]),
        ("data", "image_size", [64]),
        ("data", "crop", ["0.5", 1.0]),
        ("data", "crop", [0.5]),
        ("data", "crop", [0.5, 0.8, 1.0]),
        ("model", "width", 64.0),
        ("training", "batch_size", True),
        ("model", "encoder", 1),
        ("model", "encoder", ["1"]),
        ("model", "encoder", [1.5]),
        ("model", "dropout", "0"),
        ("training", "steps", None),
        ("training", "learning_rate", "1e-3"),
    ],
    ids=repr,
)
def test_a_field_of_the_wrong_type_is_named(room: str | None, name: str, value: object) -> None:
    values = DCTConfig().to_dict()
    (values[room] if room else values)[name] = value
    with pytest.raises(ValueError, match=rf"{room + '.' if room else ''}{name} is "):
        DCTConfig.from_dict(values)


def test_what_is_no_dictionary_is_refused() -> None:
    with pytest.raises(ValueError, match="the configuration's top is list; it must be a dictionary"):
        DCTConfig.from_dict([])
    with pytest.raises(ValueError, match=r"the configuration's data\. is int; it must be a dictionary"):
        DCTConfig.from_dict(DCTConfig().to_dict() | {"data": 1})


def test_from_dict_checks_the_values_too() -> None:
    values = DCTConfig().to_dict()
    values["model"]["heads"] = 5
    with pytest.raises(ValueError, match=r"model\.width is 192 and model\.heads is 5; heads must divide width"):
        DCTConfig.from_dict(values)


@pytest.mark.parametrize(
    ("room", "prefix", "bad"),
    [
        (DataConfig, "data", {"image_size": (0, 64)}),
        (DataConfig, "data", {"crop": (0.0, 1.0)}),
        (DataConfig, "data", {"crop": (0.9, 0.8)}),
        (DataConfig, "data", {"crop": (0.9, 1.1)}),
        (DataConfig, "data", {"held_out_every": 1}),
        (DataConfig, "data", {"held_out_crops": 0}),
        (DataConfig, "data", {"fit": "stretch"}),
        (DataConfig, "data", {"enlarge": 0.5}),
        (DataConfig, "data", {"threads": -1}),
        (DataConfig, "data", {"workers": -1}),
        (DataConfig, "data", {"max_skipped": 1.5}),
        (ModelConfig, "model", {"width": 0}),
        (ModelConfig, "model", {"heads": 0}),
        (ModelConfig, "model", {"encoder": ()}),
        (ModelConfig, "model", {"channel_decoder": (1, -1)}),
        (ModelConfig, "model", {"position_decoder": ()}),
        (ModelConfig, "model", {"value_decoder": (-2,)}),
        (ModelConfig, "model", {"encoder_stride": 3}),
        (ModelConfig, "model", {"chunk_size": 0}),
        (ModelConfig, "model", {"overlap": -1}),
        (ModelConfig, "model", {"max_chunks": 0}),
        (ModelConfig, "model", {"num_classes": -1}),
        (ModelConfig, "model", {"products": "float16"}),
        (ModelConfig, "model", {"dropout": 1.0}),
        (ModelConfig, "model", {"dtype": "float16"}),
        *[
            (TrainingConfig, "training", {name: 0})
            for name in ("steps", "batch_size", "evaluate_every", "checkpoint_every", "keep")
        ],
        (TrainingConfig, "training", {"learning_rate": 0.0}),
        (TrainingConfig, "training", {"learning_rate": float("nan")}),
        (TrainingConfig, "training", {"clip_norm": -1.0}),
        (TrainingConfig, "training", {"label_dropout": 1.0}),
        (TrainingConfig, "training", {"optimizer": "sgd"}),
        (TrainingConfig, "training", {"muon_learning_rate": 0.0}),
        (TrainingConfig, "training", {"samples": 3}),
        (TrainingConfig, "training", {"features": "vgg"}),
        (TrainingConfig, "training", {"warmup_steps": -1}),
        (TrainingConfig, "training", {"warmup_steps": 1000}),
        (DCTConfig, "", {"seed": -1}),
    ],
    ids=str,
)
def test_a_bad_value_is_named_with_its_field(room: type, prefix: str, bad: dict[str, Any]) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(ValueError) as raised:
        room(**bad)
    assert f"{prefix}.{name} is {value}".lstrip(".") in str(raised.value).replace("'", "")


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"model\.width is 64 and model\.heads is 3"):
        ModelConfig(width=64, heads=3)


def test_hidden_classes_need_classes() -> None:
    with pytest.raises(ValueError, match=r"training.label_dropout is 0.1 and model.num_classes is 0"):
        DCTConfig(training=TrainingConfig(label_dropout=0.1))


@pytest.mark.parametrize(
    ("room", "field", "value"),
    [
        ("model", "width", 10**9),
        ("model", "chunk_size", 10**9),
        ("model", "overlap", 10**9),
        ("model", "max_chunks", 10**9),
        ("model", "num_classes", 10**9),
        ("model", "encoder", [0] * 10**4),
        ("model", "value_decoder", [10**9]),
        ("data", "image_size", [10**5, 10**5]),
        ("data", "held_out_crops", 2**20 + 1),
    ],
)
def test_sizes_are_bounded_before_memory_is_taken_for_them(room: str, field: str, value: Any) -> None:
    """A configuration may come from others, in a checkpoint or a file of weights."""
    values = DCTConfig().to_dict()
    values[room][field] = value
    with pytest.raises(ValueError, match=rf"{room}.{field} is .* it must be .*\d"):
        DCTConfig.from_dict(values)


@pytest.mark.parametrize(
    "sizes",
    [[], {}, 3, [[1, 2]], [{}], [[1, 2, 0]], [[1, 2, 1.5]], [[1, 2, True]], [[1, 2, 2**31 + 1]], [[1, 10**400, 1]]],
    ids=str,
)
def test_sizes_of_pictures_are_numbers_that_samplers_can_take(sizes: Any) -> None:
    with pytest.raises(ValueError, match="not lists of height, width and count"):
        read_sizes(sizes)
    assert read_sizes([[1, 2, 3], [2**31, 5, 6]]) == ((1, 2, 3), (2**31, 5, 6))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_name_that_several_rooms_have_means_that_of_data_or_training_or_none(system: type[RunConfig]) -> None:
    """`steps` of SUNDAE once set unroll.steps, and `kind` of a DQ-VAE router.kind, in silence."""
    config, owners = system(), defaultdict(list)
    for spec in dataclasses.fields(config):
        room = getattr(config, spec.name)
        for own in dataclasses.fields(room) if dataclasses.is_dataclass(room) else ():
            owners[own.name].append((spec.name, getattr(room, own.name)))
    for name, found in owners.items():
        shared = [value for room, value in found if room in ("data", "training")]
        if len(found) == 1 or shared:
            assert with_fields(config, {name: (*shared, found[0][1])[0]}) == config
        else:
            with pytest.raises(ValueError, match=f"fields {name}; name {' or '.join(f'{room}.{name}' for room, _ in found)}$"):
                with_fields(config, {name: found[0][1]})
    assert with_fields(config, {"steps": 1234}).training.steps == 1234


def test_a_path_names_any_field() -> None:
    changed = with_fields(SundaeConfig(), {"unroll.steps": 3, "seed": 4})
    assert isinstance(changed, SundaeConfig)
    assert (changed.unroll.steps, changed.seed, changed.training) == (3, 4, TrainingConfig())
    with pytest.raises(ValueError, match=r"training.steps is given twice"):
        with_fields(SundaeConfig(), {"training.steps": 3, "steps": 4})


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("steps", 1e3, "training.steps is 1000.0; it must be int"),
        ("steps", "500", "training.steps is '500'; it must be int"),
        ("steps", np.float32(500), "training.steps is 500.0; it must be int"),
        ("steps", np.int64(500), ""),
        ("image_size", [np.int64(28), 28], ""),
        ("crop", np.array([0.5, 1]), ""),
    ],
    ids=repr,
)
def test_what_python_gives_as_a_field_survives_a_checkpoint(field: str, value: Any, line: str) -> None:
    """A run of 1e3 steps once trained to its end, and could then be neither loaded nor resumed."""
    if line:
        with pytest.raises(ValueError, match=f"^the configuration's {line}$"):
            with_fields(DCTConfig(), {field: value})
    else:
        changed = with_fields(DCTConfig(), {field: value})
        assert DCTConfig.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed != DCTConfig()
        assert isinstance(hash(changed), int)
