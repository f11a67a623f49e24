"""Every field of the configuration changes what it says. A new field without an entry fails
here."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dct_jax.data import pipeline
from dct_jax.data.pipeline import training_batches
from dct_jax.data.skipped import Skipped, skip_of
from dct_jax.data.sources import open_sources
from dct_jax.dct import stage
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import network
from dct_jax.dct.reader import ChunkReader
from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.evaluation import judge
from dct_jax.nn import precision
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.metrics_log import read_records
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import Metrics
from tests.linear import LinearConfig, LinearStage
from tests.toys import SMALLEST, random_image, tiny_config


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ with the classes a and b: JPEG files of 40 x 48 pixels in the toys' tables,
    some turned by Exif."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    turned = Image.Exif()
    turned[274] = 3
    for split, number in (("train", 24), ("test", 10)):
        for i in range(number):
            path = folder / split / "ab"[i % 2] / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            settings = {"exif": turned.tobytes()} if i % 3 == 0 else {}
            Image.fromarray(random_image(rng, 32, 48)).save(path, quality=30, subsampling="4:2:0", **settings)
    return folder


# What of a configuration can be seen. Each gives something that can be compared.


@cache
def batches(config: DCTConfig, number: int = 3) -> Any:
    skipped = Skipped(100, config.data.max_skipped)
    made = training_batches(open_sources(config.data)[0], config, skipped)
    return [[(x.shape, x.tobytes()) for x in next(made)] for _ in range(number)]


def held_out(config: DCTConfig) -> Any:
    data = loop._open_data(config.build())
    return [(one.size, one.channels.tobytes(), one.positions.tobytes(), one.values.tobytes()) for one in data.held_out.lists]


@cache
def program(config: DCTConfig) -> Any:
    """The network as JAX sees it in training, with its initialisers, on a machine with units for
    bfloat16."""
    model, batch = network(config), ChunkReader(config).example()

    def apply(key: Any) -> Any:
        return model.init_with_output({"params": key, "dropout": key}, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_bfloat16_units", lambda: True)
        return str(jax.make_jaxpr(apply)(jax.random.key(0)))


@cache
def updates(config: DCTConfig) -> Any:
    """What the optimiser makes of large gradients, in four steps."""
    params = {"layer": {"kernel": np.ones((3, 2), np.float32)}, "scale": np.ones(3, np.float32)}
    rule = make_optimizer(config.training, lambda: jax.tree.map(lambda leaf: leaf.ndim > 1, params))
    found: list[bytes] = []
    state, take = rule.init(params), jax.jit(rule.update)
    for factor in (1.0, 2.0, 3.0, 4.0):
        gradient = jax.tree.map(partial(np.multiply, factor), params)
        update, state = take(gradient, state, params)
        found += [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(update)]
    return found


def shape(config: DCTConfig) -> Any:
    return batches(config, 1)[0][0][0]


class _SeenEnough(Exception):
    pass


def parts(config: DCTConfig) -> Any:
    """In how many parts a step does its batch."""
    example = jax.tree.map(lambda x: x[None], ChunkReader(config).example())  # of one device
    told: list[Any] = []

    def gradient_step(*given: Any) -> Any:
        told.append(given[-1])
        raise _SeenEnough

    with pytest.MonkeyPatch.context() as patch, pytest.raises(_SeenEnough):
        patch.setattr(stage, "gradient_step", gradient_step)
        jax.vmap(partial(config.build().step, None), axis_name=DATA_AXIS)(example)
    return told


def told_to_grain(config: DCTConfig, name: str) -> Any:
    """What Grain's options of this name are made with, if they are made at all."""
    told: list[Any] = []

    def options(*given: Any, **settings: Any) -> Any:
        told.append((given, settings))
        raise _SeenEnough

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(_SeenEnough):
        patch.setattr(pipeline.grain, name, options)
        next(training_batches(open_sources(config.data)[0], config, Skipped(100, 0.1)))
    return told


def skipping(config: DCTConfig) -> Any:
    """Whether two damaged pictures end a run."""
    skipped = loop._open_data(config.build()).skipped[0]
    try:
        skipped.note(100, [skip_of(f"picture {i}", ValueError("it is damaged")) for i in range(2)])
    except ValueError:
        return "ends"
    return "goes on"


def run(config: DCTConfig, folder: Path) -> Any:
    """Which steps were evaluated, and which checkpoints are kept, of a run of six steps that do
    nothing. Every system has these fields, and another one is compiled sooner."""
    linear = LinearConfig(data=config.data, training=config.training)
    nothing = Metrics({}, jnp.ones(()), jnp.zeros(()))

    def parallel(program: Any, *_: Any, **__: Any) -> Any:
        return lambda state, batch: (state._replace(step=state.step + 1), nothing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "parallel", parallel)
        patch.setattr(LinearStage, "evaluate", lambda *_: {"squared_error": 0.0})
        loop.train(linear, folder, jax.local_devices()[:1])
    evaluated = [record["step"] for record in read_records(folder / "metrics.jsonl") if "held_out" in record]
    return evaluated, Checkpoints(folder / "checkpoints").steps()


def tracked(config: DCTConfig, folder: Path) -> Any:
    """Whether TensorBoard is told of a run."""
    run(config, folder)
    return any(folder.glob("events.out.tfevents.*"))


def judged(config: DCTConfig) -> Any:
    """How many samples are judged, and by what."""
    told: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "feature_network", told.append)
        patch.setattr(judge, "check_counts", lambda pictures, samples: told.append(samples))
        judge.Judge(open_sources(config.data)[0], config)
    return told


class Setting(NamedTuple):
    """Another value of a field, what it changes, and what other fields must be for that."""

    value: Any
    changes: Callable[..., Any]
    given: Mapping[str, Any] = MappingProxyType({})


OWN = {"codec.block_size": 8, "data.own_coefficients": True, "data.flip": False}
CLASSES = {"model.num_classes": 2}

SETTINGS = {
    "seed": Setting(9, batches),
    "codec.block_size": Setting(2, batches),
    "codec.quality": Setting(90, batches),
    "codec.chroma_subsampling": Setting("4:4:4", batches),
    "codec.channel_order": Setting("luma_first", batches),
    "codec.tables": Setting((9,) * 48, batches, {"codec.quality": None, "codec.tables": (7,) * 48}),
    "data.source": Setting("landscapes", batches, {"data.split": "", "data.held_out_split": ""}),
    "data.split": Setting("test", batches, {"data.held_out_split": ""}),
    "data.held_out_split": Setting("test/a", held_out),
    "data.held_out_every": Setting(3, held_out, {"data.held_out_split": ""}),
    "data.held_out_crops": Setting(5, held_out),
    "data.image_size": Setting((16, 24), batches),
    "data.fit": Setting("whole", batches),
    "data.crop": Setting((0.5, 0.6), batches),
    "data.enlarge": Setting(2.0, batches, {"data.crop": (0.2, 0.3)}),
    "data.flip": Setting(False, batches),
    "data.own_coefficients": Setting(True, batches, OWN | {"data.own_coefficients": False}),
    "data.upright": Setting(False, batches, OWN),
    "data.threads": Setting(1, partial(told_to_grain, name="ReadOptions")),
    "data.workers": Setting(1, partial(told_to_grain, name="MultiprocessingOptions")),
    "data.max_skipped": Setting(0.0, skipping),
    "model.width": Setting(24, program),
    "model.heads": Setting(4, program),
    "model.encoder": Setting((1, 1), program),
    "model.channel_decoder": Setting((1,), program),
    "model.position_decoder": Setting((1,), program),
    "model.value_decoder": Setting((0,), program),
    "model.encoder_stride": Setting(2, program),
    "model.position_pointer": Setting(False, program),
    "model.contexts": Setting(False, program),
    "model.chunk_size": Setting(12, program),
    "model.overlap": Setting(4, program),
    "model.max_chunks": Setting(2, program),
    "model.num_classes": Setting(2, program),
    "model.dropout": Setting(0.5, program, {"model.dropout": 0.25}),
    "model.dtype": Setting("bfloat16", program),
    "model.products": Setting("bfloat16", program),
    "model.rematerialise": Setting(True, program),
    "model.qualities": Setting((20, 60), program),
    "training.steps": Setting(12, updates),
    "training.batch_size": Setting(8, shape),
    "training.accumulate": Setting(2, parts),
    "training.optimizer": Setting("muon", updates),
    "training.learning_rate": Setting(0.02, updates),
    "training.muon_learning_rate": Setting(0.7, updates, {"training.optimizer": "muon"}),
    "training.warmup_steps": Setting(1, updates),
    "training.clip_norm": Setting(0.01, updates),
    "training.label_dropout": Setting(0.9, batches, CLASSES | {"training.label_dropout": 0.2}),
    "training.evaluate_every": Setting(2, run),
    "training.checkpoint_every": Setting(2, run, {"training.keep": 9}),
    "training.keep": Setting(1, run, {"training.checkpoint_every": 1}),
    "training.samples": Setting(6, judged, {"training.samples": 4}),
    "training.features": Setting("inception", judged, {"training.samples": 4}),
    "training.track": Setting((), tracked),
    "training.schedule": Setting("constant", updates),
    "training.betas": Setting((0.5, 0.9), updates),
    "training.weight_decay": Setting(0.1, updates),
}


def flat(config: DCTConfig) -> dict[str, Any]:
    rooms = {name: room for name, room in config.to_dict().items() if isinstance(room, dict)}
    return {"seed": config.seed} | {f"{room}.{name}": x for room, fields in rooms.items() for name, x in fields.items()}


def with_fields(config: DCTConfig, fields: Mapping[str, Any]) -> DCTConfig:
    """The configuration with other values of some fields, all at once."""
    rooms: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        room, _, field = name.rpartition(".")
        rooms.setdefault(room, {})[field] = value
    own = rooms.pop("", {})
    return dataclasses.replace(
        config, **own, **{room: dataclasses.replace(getattr(config, room), **values) for room, values in rooms.items()}
    )


@pytest.fixture
def base(pictures: Path) -> DCTConfig:
    config = tiny_config(steps=6, keep=2, evaluate_every=6, checkpoint_every=6)
    data = {"source": f"folder:{pictures}", "split": "train", "held_out_split": "test", "threads": 0}
    fields = {f"data.{name}": value for name, value in data.items()}
    return dataclasses.replace(with_fields(config, fields), model=SMALLEST)


def test_every_field_has_an_entry(base: DCTConfig) -> None:
    assert SETTINGS.keys() == flat(base).keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_field_changes_what_it_says(base: DCTConfig, name: str, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    before = with_fields(base, setting.given)
    after = with_fields(base, {**setting.given, name: setting.value})
    assert flat(before)[name] != flat(after)[name]
    folders = [tmp_path / "before"], [tmp_path / "after"]
    extra = folders if setting.changes in (run, tracked) else ([], [])
    assert setting.changes(before, *extra[0]) != setting.changes(after, *extra[1])
