"""Runs and pictures away from this disk, in fsspec's memory."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import dct_jax
from dct_jax.commands import main
from dct_jax.data.sources import open_source
from dct_jax.experiment import load_experiment
from dct_jax.published import read_records_of
from dct_jax.run import train_at
from dct_jax.storage import mirror
from dct_jax.storage.mirror import Mirror, fetch, is_url
from dct_jax.training.run_folder import lock_folder
from tests.conftest import Refused

fsspec = pytest.importorskip("fsspec")
URL = "memory://bucket/run"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "PATIENCE", 0.0)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def there(fs: Any) -> set[str]:
    """The files at URL; TensorBoard's have the time in their names."""
    return {path.removeprefix("/bucket/run/").split(".tfevents")[0] for path in fs.find("/bucket/run")}


def train(*flags: str) -> int:
    steps = ["--training.checkpoint-every", "5", "--training.evaluate-every", "10"]
    return main(["train", "debug", "--run-dir", URL, *steps, *flags])


def test_what_a_url_is() -> None:
    assert [is_url(name) for name in ("gs://a/b", "s3://a", "memory://x")] == [True] * 3
    assert [is_url(name) for name in ("runs/a", "/a//b", "C:/a", "folder:gs", "fashion")] == [False] * 5


@pytest.mark.slow
def test_a_run_somewhere_else_is_the_run(place: Any, debug_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in the middle, its copy here is lost, and it goes on; then anybody can load it."""
    with monkeypatch.context() as patch:
        push = Mirror.push

        def interrupted(self: Mirror) -> None:
            push(self)
            if "checkpoints/10/manifest.json" in there(place):
                raise KeyboardInterrupt

        patch.setattr(Mirror, "push", interrupted)
        assert train() == 130
    assert {name.split("/")[1] for name in there(place) if name.startswith("checkpoints/")} == {"5", "10"}
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    assert train() == 0
    ours, theirs = dct_jax.load(debug_run / "checkpoints" / "20"), dct_jax.load(URL)
    jax.tree.map(np.testing.assert_array_equal, ours.variables, theirs.variables)
    steps = [json.loads(line)["step"] for line in place.cat_file("/bucket/run/metrics.jsonl").splitlines()]
    assert steps == sorted(steps) and steps[-1] == 20
    assert {name.split("/")[1] for name in there(place) if name.startswith("checkpoints/")} == {"15", "20"}
    assert "events.out" in there(place)


@pytest.mark.slow
def test_a_place_that_is_gone_for_a_while(
    place: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Training goes on without it; what could not be copied is copied later, or by the same
    command."""
    put, fails = type(place).put_file, iter([False] * 3 + [True] * 2 + [False] * 10_000)

    def flaky(self: Any, *args: Any, **kwargs: Any) -> None:
        if next(fails):
            raise OSError("the network is gone")
        put(self, *args, **kwargs)

    monkeypatch.setattr(type(place), "put_file", flaky)
    assert train() == 0
    assert "memory://bucket/run cannot be reached (the network is gone); the run goes on" in caplog.text
    assert dct_jax.load(URL).config.training.steps == 20


@pytest.mark.slow
def test_the_same_command_copies_what_could_not_be_copied(
    place: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = type(place).put_file

    def gone(self: Any, path: str, target: str, **kwargs: Any) -> None:
        if "checkpoints/20/" in target:
            raise OSError("the network is gone")
        put(self, path, target, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(place), "put_file", gone)
        assert train() == 2
    assert "and the same command copies it" in capsys.readouterr().err
    monkeypatch.setattr(type(place), "get_file", lambda *_, **__: pytest.fail("it was trained again"))
    assert train() == 0
    assert "checkpoints/20/manifest.json" in there(place)


def test_a_second_run_leaves_the_copy_of_the_first_one_alone(place: Any) -> None:
    """It once made the copy equal to what is there before it was refused."""
    folder = Mirror(URL, "training-0").folder
    with lock_folder(folder):
        (folder / "metrics.jsonl").write_text("")
        with pytest.raises(ValueError, match="is in training"):
            train_at(load_experiment("debug"), URL)
        assert (folder / "metrics.jsonl").exists()


def write_checkpoint(folder: Path, step: int, content: str = "") -> None:
    """A folder like that of a checkpoint, whose manifest tells it from others of its step."""
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    for name in ("a", "manifest.json"):
        (folder / "checkpoints" / str(step) / name).write_text(f"{step} {content}")


def steps(names: Iterable[str]) -> list[int]:
    return sorted(int(name.split("/")[1]) for name in names if name.endswith("/manifest.json"))


@pytest.fixture
def ours(place: Any, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """The copy of a run: what is there has steps 80 and 90, and the copy 90 and 100."""
    ours = Mirror(URL, "training")
    ours.start()
    for step in (80, 90):
        write_checkpoint(ours.folder, step)
    ours.finish()
    shutil.rmtree(ours.folder / "checkpoints" / "80")
    write_checkpoint(ours.folder, 100)
    with monkeypatch.context() as patch:
        patch.setattr(type(place), "put_file", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("the network is gone")))
        ours.push()
    assert (steps(there(place)), steps(ours._local_files())) == ([80, 90], [90, 100])
    return ours


def test_a_run_goes_on_from_what_could_not_be_copied(place: Any, ours: Mirror) -> None:
    ours.start()
    assert steps(there(place)) == steps(ours._local_files()) == [90, 100]


@pytest.mark.parametrize("call", range(4))
def test_a_push_may_be_killed_anywhere(place: Any, ours: Mirror, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """It copies two files and removes two; whichever was the last one, nothing is lost."""
    calls, stops = iter(range(4)), {}
    for name in ("put_file", "rm_file"):

        def stop(self: Any, *args: Any, original: Any = getattr(type(place), name), **kwargs: Any) -> None:
            if next(calls) == call:
                raise KeyboardInterrupt
            original(self, *args, **kwargs)

        stops[name] = stop
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for name, stop in stops.items():
            patch.setattr(type(place), name, stop)
        ours.push()
    ours.start()
    assert max(steps(there(place))) == 100 and steps(there(place)) == steps(ours._local_files())


@pytest.mark.parametrize("copy", ["push", "pull"])
def test_files_never_stand_beside_an_outdated_manifest(place: Any, monkeypatch: pytest.MonkeyPatch, copy: str) -> None:
    """Step 300 is trained anew, and its copy stops in the middle: what was half old and half new
    once replaced the whole checkpoint."""
    ours = Mirror(URL, "training")
    write_checkpoint(ours.folder, 300)
    ours.finish()
    for path in ("checkpoints/300/a", "checkpoints/300/manifest.json"):
        (ours.folder / path).write_text("new") if copy == "push" else place.pipe_file(f"/bucket/run/{path}", b"new")
    name = "put_file" if copy == "push" else "get_file"

    def interrupted(self: Any, *paths: str, original: Any = getattr(type(place), name), **kwargs: Any) -> None:
        if paths[0].endswith("/manifest.json"):
            raise KeyboardInterrupt
        original(self, *paths, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(place), name, interrupted)
        getattr(ours, copy)()
    assert steps(there(place) if copy == "push" else ours._local_files()) == []
    ours.start()
    assert steps(there(place)) == steps(ours._local_files()) == [300]
    assert (ours.folder / "checkpoints/300/a").read_text() == "new"


def test_a_run_that_could_not_be_copied_at_all_goes_on(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Mirror(URL, "training")
    ours.start()
    write_checkpoint(ours.folder, 1)
    ours.start()
    assert steps(there(place)) == steps(ours._local_files()) == [1]


def test_checkpoints_that_were_removed_there_stay_removed(place: Any, ours: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody wants to go on from an earlier step. The copy brought the later one back."""
    ours.start()
    place.rm("/bucket/run/checkpoints/100", recursive=True)
    ours.start()
    assert steps(there(place)) == steps(ours._local_files()) == [90]
    assert "memory://bucket/run was changed elsewhere" in caplog.text
    place.rm("/bucket/run", recursive=True)
    ours.start()
    assert there(place) == ours._local_files() == set()


@pytest.mark.parametrize("others", [{5: "new"}, {80: "new", 90: "new"}, {90: "", 95: "new"}])
def test_what_was_trained_elsewhere_is_not_undone(place: Any, ours: Mirror, tmp_path: Path, others: dict[int, str]) -> None:
    """Even if some of ours was never copied: a run that began anew, perhaps with the same steps, or
    went on from an earlier one."""
    place.rm("/bucket/run", recursive=True)
    for step, content in others.items():
        write_checkpoint(tmp_path, step, content)
        for name in ("a", "manifest.json"):
            place.put_file(str(tmp_path / f"checkpoints/{step}/{name}"), f"/bucket/run/checkpoints/{step}/{name}")
    ours.start()
    assert steps(there(place)) == steps(ours._local_files()) == list(others)
    assert all((ours.folder / f"checkpoints/{step}/a").read_text() == f"{step} {text}" for step, text in others.items())


def test_a_manifest_is_copied_last_and_removed_first(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks in the middle never takes a part of a checkpoint for all of it."""
    done: list[str] = []
    for name in ("put_file", "rm_file", "get_file"):

        def noted(self: Any, *args: Any, original: Any = getattr(type(place), name), name: str = name, **kwargs: Any) -> None:
            done.append(f"{name} {Path(args[-1] if name == 'put_file' else args[0]).name}")
            original(self, *args, **kwargs)

        monkeypatch.setattr(type(place), name, noted)
    mirror = Mirror(URL, "training")
    step = mirror.folder / "checkpoints" / "5"
    step.mkdir(parents=True)
    for name in ("a", "manifest.json", "z"):
        (step / name).write_text(name)
    mirror.push()
    assert done == ["put_file a", "put_file z", "put_file manifest.json"]
    done.clear()
    Mirror(URL, "read").pull()
    assert done == ["get_file a", "get_file z", "get_file manifest.json"]
    done.clear()
    for name in ("a", "manifest.json", "z"):
        (step / name).unlink()
    mirror.push()
    assert done == ["rm_file manifest.json", "rm_file a", "rm_file z"]


def test_records_of_a_run_somewhere_else_are_read_there(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"step": 10, "seconds": 1.5}
    place.pipe({"/bucket/run/checkpoints/10/manifest.json": b"{}", "/bucket/run/metrics.jsonl": json.dumps(record).encode()})
    assert read_records_of(URL) == [record]


def test_what_is_not_there(refused: Refused) -> None:
    assert "memory://bucket/nothing: there is no run here" in refused("sample", "memory://bucket/nothing")
    assert "no-such://x/y cannot be reached" in refused("sample", "no-such://x/y")
    with pytest.raises(ValueError, match="there is no such file or folder"):
        open_source("folder:memory://bucket/nothing")


def test_pictures_somewhere_else_are_fetched_once(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        (tmp_path / "cat").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(tmp_path / "cat" / f"{i}.png")
        place.put_file(str(tmp_path / "cat" / f"{i}.png"), f"/bucket/pictures/cat/{i}.png")
    source = open_source("folder:memory://bucket/pictures")
    assert (len(source), source.classes) == (3, ("cat",))
    monkeypatch.setattr(type(place), "get_file", lambda *_, **__: pytest.fail("it was fetched twice"))
    assert len(open_source("folder:memory://bucket/pictures")) == 3


def test_the_copy_of_pictures_is_what_is_there(place: Any, tmp_path: Path) -> None:
    """Pictures that are removed there go here, too; a file may become a folder, or the reverse."""
    near = tmp_path / "cache" / "mirrors" / "data" / "near"
    near.mkdir(parents=True)
    (near / "a.png").write_bytes(b"of something else")
    for name in ("cat/1", "cat/2", "owl/3", "x"):
        place.pipe_file(f"/bucket/pictures/{name}", b"a")
    folder = fetch("memory://bucket/pictures")
    (folder / "link").symlink_to(near)
    (folder / "cat" / ".1-being-written").write_bytes(b"")
    place.rm_file("/bucket/pictures/x")
    place.rm("/bucket/pictures/owl", recursive=True)
    place.rm_file("/bucket/pictures/cat/2")
    for name in ("x/4", "owl"):
        place.pipe_file(f"/bucket/pictures/{name}", b"a")
    assert fetch("memory://bucket/pictures") == folder
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {".versions.json", "cat/.1-being-written", "cat/1", "owl", "x/4"}
    assert (near / "a.png").exists()
    place.pipe_file("/bucket/pictures/owl", b"b")  # another picture of as many bytes, which once stayed as it was
    assert (fetch("memory://bucket/pictures") / "owl").read_bytes() == b"b"
    place.store.clear()
    with pytest.raises(ValueError, match="there is no such file or folder"):
        fetch("memory://bucket/pictures")
    assert (folder / "cat" / "1").exists()


def test_names_that_lead_elsewhere_are_left_out(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services for objects allow any name: these wrote to any place of this disk."""
    outside = tmp_path / "outside.png"
    names = ("a.png", f"/{outside}", "../../outside.png", "", "cat/")
    monkeypatch.setattr(type(place), "find", lambda *_, **__: {f"/bucket/run/{name}": {"size": 1} for name in names})
    monkeypatch.setattr(type(place), "get_file", lambda _, name, path, **__: Path(path).write_bytes(b"a"))
    ours = Mirror(URL, "read")
    ours.pull()
    for folder in (ours.folder, fetch(URL)):
        assert [path.name for path in folder.rglob("*") if not path.name.startswith(".")] == ["a.png"]
    assert not list(tmp_path.rglob("outside.png"))


def test_every_error_of_a_service_is_a_line(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has errors of its own, and there is no file as long as it cannot be reached."""
    place.pipe_file("/bucket/pictures/a.png", b"a")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no credentials\nand much more")

    for name in ("get_file", "find"):
        monkeypatch.setattr(type(place), name, fail)
        with pytest.raises(ValueError, match=r"^memory://bucket/pictures cannot be reached \(no credentials\)$"):
            fetch("memory://bucket/pictures")


def test_a_copy_is_tried_again(place: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    place.pipe_file("/bucket/pictures/a.png", b"a")
    find, fails = type(place).find, iter([True, True, False])
    monkeypatch.setattr(type(place), "find", lambda *args, **named: 1 / 0 if next(fails) else find(*args, **named))
    monkeypatch.setattr(mirror, "PATIENCE", 60.0)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert (fetch("memory://bucket/pictures") / "a.png").exists()
    said = "memory://bucket/pictures cannot be reached (division by zero); it is tried again for 60 seconds"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_a_copy_that_gets_on_is_tried_again_and_goes_on_where_it_was(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failure once ended a copy that had taken more than two minutes until then, and the
    next copy began with the first file."""
    place.pipe({f"/bucket/pictures/{i}.png": b"a" for i in range(4)})
    get, now, copied = type(place).get_file, [0.0], []

    def slow(self: Any, path: str, target: str, **kwargs: Any) -> None:
        now[0] += 100
        if now[0] in (200, 400, 700):
            raise KeyboardInterrupt if now[0] == 700 else OSError("the network is gone")
        get(self, path, target, **kwargs)
        copied.append(Path(path).name)

    monkeypatch.setattr(type(place), "get_file", slow)
    monkeypatch.setattr(mirror, "PATIENCE", 60.0)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda _: None)
    fetch("memory://bucket/pictures")
    place.pipe({f"/bucket/pictures/{name}": b"b" for name in ("4.png", "5.png")})
    with pytest.raises(KeyboardInterrupt):
        fetch("memory://bucket/pictures")
    fetch("memory://bucket/pictures")
    assert copied == [f"{i}.png" for i in range(6)]


def test_a_push_that_is_tried_again_copies_no_file_twice(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once began a checkpoint anew, which large ones never survived."""
    ours, put, copied = Mirror(URL, "training"), type(place).put_file, []

    def flaky(self: Any, path: str, target: str, **kwargs: Any) -> None:
        copied.append(Path(path).name)
        if copied.count("manifest.json") == 1:
            raise OSError("the network is gone")
        put(self, path, target, **kwargs)

    write_checkpoint(ours.folder, 1)
    monkeypatch.setattr(type(place), "put_file", flaky)
    monkeypatch.setattr(mirror, "PATIENCE", 60.0)
    monkeypatch.setattr("time.sleep", lambda _: None)
    ours.finish()
    assert copied == ["a", "manifest.json", "manifest.json"]
