"""Trackers show what the record of a run has, also when the run goes on, and break nothing."""

import io
import json
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.training import loop
from dct_jax.training.metrics_log import MetricsLog
from dct_jax.training.report import Report
from dct_jax.training.tracking import tracker
from dct_jax.training.tracking.tracker import TrackedRun, Tracker, Trackers, open_trackers
from tests.conftest import Refused
from tests.linear import LinearConfig, LinearStage
from tests.toys import stop_while_placing

needs_mlflow = pytest.mark.skipif(
    not all(map(find_spec, ("mlflow", "sqlalchemy", "alembic"))), reason="mlflow-skinny, sqlalchemy or alembic is not installed"
)
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
ONE = jax.local_devices()[:1]


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The trackers of whoever runs the tests stay out of them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


class ShowingStage(LinearStage):
    """Shows two held-out pictures beside their copies."""

    def pictures(self, variables: Any, held_out: np.ndarray) -> dict[str, np.ndarray]:
        pixels = held_out[:2]  # [2, P]
        both = np.concatenate([pixels, pixels @ variables["params"] @ variables["params"].T])
        both = both.reshape(4 * self.config.data.image_size[0], -1, 3)
        return {"copies": np.clip(128 * (both + 1), 0, 255).astype(np.uint8)}


class ShowingConfig(LinearConfig):
    def build(self) -> ShowingStage:
        return ShowingStage(self)


def showing_config(track: Sequence[str]) -> ShowingConfig:
    return ShowingConfig(
        data=DataConfig(image_size=(8, 8), held_out_crops=6),
        training=TrainingConfig(
            steps=20, batch_size=4, warmup_steps=2, evaluate_every=10, checkpoint_every=5, track=tuple(track)
        ),
    )


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 9, 3), np.uint8)


def open_log(folder: Path, step: int, *names: str, steps: int = 40) -> MetricsLog:
    config = {"seed": 3, "training": {"steps": steps, "track": ["mlflow"]}}
    return MetricsLog(folder, step, open_trackers(names, TrackedRun(folder, step, steps, config)))


def write(log: MetricsLog, *steps: int, shift: float = 0) -> None:
    """Writes what a run logs: a line of training, one of an evaluation, and a picture."""
    for step in steps:
        log.write(step, seconds=1.0, loss=step / 4 + shift)
        log.write(step, seconds=2.0, held_out={"error": step / 8 + shift})
        log.write_pictures(step, {"copies": picture(step)})


def stop_and_go_on(folder: Path, *names: str) -> None:
    """Steps 10 to 30, of which a checkpoint has the first 20, and a run that goes on from there."""
    log = open_log(folder, 0, *names)
    write(log, 10, 20, 30, shift=0.5)
    log.flush()
    log.close()
    log = open_log(folder, 20, *names)
    write(log, 30, 40, shift=0.5)
    log.flush()
    log.close()


# TensorBoard


def events(folder: Path) -> Iterator[Event]:
    (file,) = folder.glob("events.out.tfevents.*")
    data, at = file.read_bytes(), 0
    while at < len(data):  # length in 8 bytes, its checksum in 4, the event, its checksum in 4
        length = int.from_bytes(data[at : at + 8], "little")
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length


def shown(folder: Path) -> list[tuple[int, str, Any]]:
    """TensorBoard's numbers and pictures in the order of the file, but for those of the clock."""
    found: list[tuple[int, str, Any]] = []
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "image":
                pixels = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
                assert pixels.shape == (value.image.height, value.image.width, value.image.colorspace)
                found.append((event.step, value.tag, pixels.tobytes()))
            elif "second" not in value.tag:
                found.append((event.step, value.tag, value.simple_value))
    return found


def test_tensorboard_of_a_resumed_run_has_the_pictures_of_one_that_never_stopped(tmp_path: Path) -> None:
    config = showing_config(["tensorboard"])
    loop.train(config, tmp_path / "whole", ONE)
    with stop_while_placing(13):
        assert loop.train(config, tmp_path / "parts", ONE).signal == "SIGTERM"
    assert loop.train(config, tmp_path / "parts", ONE).step == 20
    assert (found := shown(tmp_path / "whole")) == shown(tmp_path / "parts")
    assert [(step, tag) for step, tag, _ in found if "copies" in tag] == [(10, "pictures/copies"), (20, "pictures/copies")]
    assert "copies" not in (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_pictures_after_the_checkpoint_are_dropped_and_damaged_ones_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(tmp_path, 0, "tensorboard")
    write(log, 10, 20, 30)
    log.close()
    kept = [(10, "pictures/copies", picture(10).tobytes()), (20, "pictures/copies", picture(20).tobytes())]
    open_log(tmp_path, 20, "tensorboard").close()
    assert [one for one in shown(tmp_path) if "pictures" in one[1]] == kept
    assert [path.name for path in sorted((tmp_path / "pictures").iterdir())] == ["0000010_copies.png", "0000020_copies.png"]
    (tmp_path / "pictures" / "0000010_copies.png").write_bytes(b"no picture")
    open_log(tmp_path, 20, "tensorboard").close()
    assert [one for one in shown(tmp_path) if "pictures" in one[1]] == kept[1:]
    assert "0000010_copies.png cannot be read and is left out" in caplog.text


# MLflow


def mlflow_runs(folder: Path) -> tuple[Any, list[Any]]:
    """A client, and the runs that it finds."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    return client, client.search_runs([one.experiment_id for one in client.search_experiments()])


def mlflow_points(client: Any, run: Any) -> dict[str, list[tuple[int, float]]]:
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in points) for name, points in histories.items()}


def mlflow_pictures(folder: Path) -> dict[int, bytes]:
    """By step, which stands in the file's name; a picture of a step must be there once."""
    paths = list((folder / "mlruns" / "artifacts").rglob("copies*.png"))
    found = {int(path.name.split("+")[2]): np.asarray(Image.open(path)).tobytes() for path in paths}
    assert len(found) == len(paths)
    return found


POINTS = {
    "loss": [(10, 3.0), (20, 5.5), (30, 8.0), (40, 10.5)],
    "held_out/error": [(10, 1.75), (20, 3.0), (30, 4.25), (40, 5.5)],
}
"""What `stop_and_go_on` logs."""


@pytest.mark.slow
@needs_mlflow
def test_mlflow_has_each_point_once_when_a_run_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a run of 5%20#?"  # characters that mean something in a URL
    folder.mkdir()
    stop_and_go_on(folder, "mlflow")
    assert capfd.readouterr() == ("", "")
    pictures, name = mlflow_pictures(folder), folder.name
    shutil.move(folder, folder := tmp_path / "plain")
    client, (run,) = mlflow_runs(folder)
    assert (run.info.status, run.info.run_name) == ("FINISHED", name)
    assert run.data.params == {"seed": "3", "training.steps": "40", "training.track": "['mlflow']"}
    points = mlflow_points(client, run)
    assert {name: points[name] for name in POINTS} == POINTS
    assert pictures == {step: picture(step).tobytes() for step in (10, 20, 30, 40)}


@pytest.mark.slow
@needs_mlflow
def test_mlflow_gets_what_it_lacks_and_a_fresh_run_is_another(tmp_path: Path) -> None:
    """It lacks all that was logged without it, and after a move of the folder its files."""
    (folder := tmp_path / "run").mkdir()
    log = open_log(folder, 0)
    write(log, 10)
    log.close()
    open_log(folder, 10, "mlflow").close()
    client, (run,) = mlflow_runs(folder)
    assert (run.info.status, mlflow_points(client, run)["loss"]) == ("KILLED", [(10, 2.5)])
    shutil.move(folder, tmp_path / "moved")
    log = open_log(tmp_path / "moved", 10, "mlflow")
    write(log, 20)
    log.close()
    client, runs = mlflow_runs(tmp_path / "moved")
    assert sorted(mlflow_points(client, one)["loss"] for one in runs) == [[(10, 2.5)], [(10, 2.5), (20, 5.0)]]
    assert not folder.exists()
    log = open_log(tmp_path / "moved", 0, "mlflow")  # without a checkpoint: the record begins anew
    write(log, 10, shift=1.0)
    log.close()
    client, runs = mlflow_runs(tmp_path / "moved")
    assert [(10, 3.5)] in [mlflow_points(client, one)["loss"] for one in runs] and len(runs) == 3


# W&B


def wandb_records(folder: Path) -> list[Any]:
    """The records of the one run that is there. W&B's process ends its file a moment late."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        records = read_wandb(folder)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.05)
    raise AssertionError("W&B does not end its file")


def read_wandb(folder: Path) -> list[Any]:
    """The records of the one run that is there. Its file is a LevelDB log after 7 bytes: blocks of
    32 KiB with parts of records, each after a checksum (4 bytes), a length (2) and a kind (1)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, record, records = file.read_bytes(), 7, b"", []
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(record))
            record = b""
    return records


def wandb_history(folder: Path) -> dict[int, dict[str, Any]]:
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(folder)
        if record.WhichOneof("record_type") == "history"
    ]
    assert len({row["_step"] for row in rows}) == len(rows)
    return {row["_step"]: row for row in rows}


@needs_wandb
def test_wandb_of_a_resumed_run_is_that_of_one_that_never_stopped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stop_and_go_on(tmp_path, "wandb")
    assert capfd.readouterr() == ("", "")
    rows = wandb_history(tmp_path)
    assert {name: [(step, rows[step][name]) for step in sorted(rows)] for name in POINTS} == POINTS
    (files,) = (path.parent for path in tmp_path.glob("wandb/offline-run-*/files/media"))
    for step in (10, 20, 30, 40):
        path = files / rows[step]["pictures/copies/path"]
        np.testing.assert_array_equal(np.asarray(Image.open(path)), picture(step))
    (run,) = [one.run for one in wandb_records(tmp_path) if one.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["training"] == {"steps": 40, "track": ["mlflow"]} and run.run_id == (tmp_path / "wandb/run_id").read_text()


@needs_wandb
def test_a_dark_picture_stays_dark_in_wandb(tmp_path: Path) -> None:
    """W&B takes an array of zeros and ones for a mask, and stretches it."""
    log = open_log(tmp_path, 0, "wandb")
    log.write_pictures(10, {"dark": np.eye(4, dtype=np.uint8)[..., None].repeat(3, axis=2)})
    log.close()
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/images/pictures/dark*.png")
    assert np.asarray(Image.open(path)).max() == 1


@needs_wandb
def test_wandb_has_the_time_of_the_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "seconds": 1.0, "time": 1000.5}\n')
    open_log(tmp_path, 10, "wandb").close()
    assert [row["_timestamp"] for row in wandb_history(tmp_path).values()] == [1000.5]


@needs_wandb
def test_the_identifier_of_a_run_is_data(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run_id").write_text("../../etc")
    open_log(tmp_path, 20, "wandb").close()
    assert len((tmp_path / "wandb" / "run_id").read_text()) == 8


# All of them


@pytest.mark.slow
@needs_mlflow
@needs_wandb
def test_a_whole_run_is_tracked_everywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a system that knows nothing of it, which goes on with more trackers than it began with."""
    with stop_while_placing(13):
        loop.train(showing_config(["mlflow"]), tmp_path / "run", ONE)
    capfd.readouterr()
    loop.train(showing_config(["tensorboard", "mlflow", "wandb"]), tmp_path / "run", ONE)
    said = [line for line in "".join(capfd.readouterr()).replace("\r", "\n").splitlines() if line.strip()]
    assert all(line.startswith(("step ", "192 x 8", "1,536 parameters")) for line in said), said
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    errors = [(record["step"], record["held_out"]["squared_error"]) for record in records if "held_out" in record]
    client, (run,) = mlflow_runs(tmp_path / "run")
    rows = wandb_history(tmp_path / "run")
    assert [step for step, _ in errors] == [10, 20]
    assert mlflow_points(client, run)["held_out/squared_error"] == errors
    assert [(step, rows[step]["held_out/squared_error"]) for step in (10, 20)] == errors
    of_events = [one for one in shown(tmp_path / "run") if one[1] == "held_out/squared_error"]
    assert [(step, pytest.approx(number)) for step, _, number in of_events] == errors
    assert run.data.params["system"] == "linear" and run.data.params["width"] == "8"
    pictures = {step: pixels for step, name, pixels in shown(tmp_path / "run") if name == "pictures/copies"}
    assert mlflow_pictures(tmp_path / "run") == pictures and pictures.keys() == {10, 20}


class Failing(Tracker):
    """Takes so many records, and then nothing."""

    def __init__(self, good: int) -> None:
        self.good, self.told = good, 0

    def log_numbers(self, record: Any) -> None:
        self.told += 1
        if self.told > self.good:
            raise RuntimeError("the server\nis gone")

    def log_pictures(self, step: int, time: float, pictures: Any) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_a_tracker_that_fails_is_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, failing = Failing(100), Failing(1)
    log = MetricsLog(tmp_path, 0, Trackers({"closed": lambda: open("/"), "failing": lambda: failing, "good": lambda: good}))
    write(log, 10, 20)
    log.flush()
    log.close()
    assert (good.told, failing.told) == (4, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "closed fails ([Errno 21] Is a directory: '/') and is left out from here on; the run's folder has all",
        "failing fails (the server) and is left out from here on; the run's folder has all",
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


@needs_mlflow
def test_a_server_that_is_not_there_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log = open_log(tmp_path, 0, "mlflow")
    write(log, 10)
    log.close()
    assert "mlflow fails" in caplog.text and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_other_processes_of_a_run_track_nothing(tmp_path: Path) -> None:
    report = Report(showing_config(["tensorboard"]).build(), tmp_path, 0, silent=True)
    report.evaluation(10, {"squared_error": 1.0}, {"copies": picture(1)})
    report.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", [None, ModuleSpec("wandb", None)], ids=["missing", "a folder of that name"])
def test_a_missing_package_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, spec: ModuleSpec | None
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda name: spec if name == "wandb" else find_spec(name))
    said = refused("train", "debug", "--run-dir", tmp_path / "run", "--training.track", "tensorboard", "wandb")
    assert said.endswith("training.track names wandb, and wandb is not installed: pip install 'dct_jax[track]'\n")
    assert not (tmp_path / "run").exists()
