"""Runs and pictures away from this disk, in fsspec's memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import dct_jax
from dct_jax.commands import main
from dct_jax.data.sources import open_source
from dct_jax.storage import mirror
from dct_jax.storage.mirror import Mirror, is_url
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

    before = there(place)
    for name in before:
        if name.startswith("checkpoints/20/"):  # as if it had not been copied when the run ended
            place.rm_file(f"/bucket/run/{name}")
    assert train() == 0
    assert there(place) == before


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
