"""Checkpoints: which are kept, and what becomes of those that are not whole."""

import dataclasses
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import dct_jax
from dct_jax import run as run_module
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.network import DCTransformer
from dct_jax.storage.manifest import MANIFEST, find_damage
from dct_jax.training import checkpoints as checkpoints_module
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.stage import TrainState
from tests.toys import tiny_config, untrained


def state_at(step: int, model: Any) -> TrainState:
    return TrainState(np.int32(step), jax.tree.map(lambda x: np.asarray(x) + step, model.variables), {"m": np.zeros(3)})


@pytest.fixture(scope="module")
def model() -> Any:
    return untrained(tiny_config(keep=3), ("cat", "owl"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Path:
    """A run with the checkpoints 1 (2 bits), 2 (3 bits) and 3 (1 bit, the best)."""
    folder = tmp_path_factory.mktemp("written") / "run"
    for step, bits in ((1, 2.0), (2, 3.0), (3, 1.0)):
        Checkpoints(folder / "checkpoints").save(
            state_at(step, model), model.sizes, model.config, {"bits_per_pixel": bits}, model.classes
        )
    return folder


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def assert_loads(path: Path, step: int, model: Any) -> None:
    loaded = dct_jax.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, state_at(step, model).variables)
    assert (loaded.config, loaded.classes) == (model.config, model.classes)


def test_models_of_one_configuration_share_a_trace(written: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `load` once traced the network anew, which took most of its time."""
    dct_jax.load(written)
    monkeypatch.setattr(DCTransformer, "init", None)
    assert_loads(written, 3, model)


def test_the_latest_and_the_best_checkpoint_are_kept(tmp_path: Path) -> None:
    """A first score that was NaN once was the best for ever."""
    config = tiny_config(keep=2)
    checkpoints = Checkpoints(tmp_path)
    for step, bits in ((1, float("nan")), (2, 2.0), (3, None), (4, 4.0), (5, None), (6, 2.5), (7, None)):
        state = TrainState(np.int32(step), {"w": np.full(3, step)}, {"m": np.zeros(3)})
        checkpoints.save(state, [(16, 16, step)], config, None if bits is None else {"bits_per_pixel": bits})
    assert {int(p.name) for p in tmp_path.iterdir()} == {2, 6, 7}
    assert (checkpoints.best(), checkpoints.latest()) == (2, 7)
    restored = checkpoints.restore(6, TrainState(np.int32(0), {"w": np.zeros(3, int)}, {"m": np.zeros(3)}))
    assert (int(restored.step), checkpoints.sizes(6)) == (6, ((16, 16, 6),))
    np.testing.assert_array_equal(restored.variables["w"], [6, 6, 6])
    with pytest.raises(ValueError, match=r"7: this checkpoint does not fit its configuration"):
        checkpoints.variables(7, {"w": np.zeros(4, int)})


def _flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    at = int(share * (len(data) - 1))
    data[at] ^= 1 << (at % 8)
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    **{f"flipped at {share}": lambda path, share=share: _flip(path, share) for share in (0.0, 0.3, 0.5, 0.8, 1.0)},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_damage_to_any_file_loads_something_wrong(run: Path, model: Any, damage: str) -> None:
    """A bit that had flipped in the parameters was loaded in silence; a file that had been cut
    ended in a traceback."""
    best = run / "checkpoints" / "3"
    files = [path for path in sorted(best.rglob("*")) if path.is_file()]
    assert {path.relative_to(best).parts[0] for path in files} == {
        MANIFEST, "params", "optimizer", "config", "sizes", "classes", "pending", "metrics",
    }  # fmt: skip
    for file in files:
        before = file.read_bytes()
        if not before:
            continue
        DAMAGE[damage](file)
        if file.name == MANIFEST and damage == "deleted":
            assert_loads(run, 1, model)  # the next best: this one was not finished
        else:
            with pytest.raises(ValueError) as caught:
                dct_jax.load(run)
            (line,) = str(caught.value).splitlines()
            assert str(best) in line
            assert f"{run}/checkpoints/1 is whole: name it in place of the run" in line or file.parent.name == "metrics"
        file.write_bytes(before)
    assert_loads(run, 3, model)


def test_a_message_names_the_file_and_the_checkpoint_that_can_be_taken(run: Path, model: Any) -> None:
    file = next((run / "checkpoints/3/params").rglob("d/*"))
    file.write_bytes(file.read_bytes()[:100])
    (run / "checkpoints/1/metrics/metrics").write_text(f'{{"bits_per_pixel": 1{"0" * 400}}}')
    whole = f"{run}/checkpoints/2"
    with pytest.raises(ValueError, match=rf"metrics cannot be read .*: this checkpoint is damaged; {whole} is whole"):
        dct_jax.load(run)
    assert_loads(Path(whole), 2, model)
    shutil.rmtree(run / "checkpoints/1")
    with pytest.raises(ValueError, match=rf"{file} has 100 bytes and was written with .* is damaged; {whole} is whole"):
        dct_jax.load(run)
    moved = Checkpoints(run / "checkpoints").set_damaged_aside()
    assert [path.name for path in moved] == ["3.damaged"]
    assert_loads(run, 2, model)


def test_a_checkpoint_from_before_manifests_is_read(run: Path, model: Any, caplog: pytest.LogCaptureFixture) -> None:
    (run / "checkpoints/3" / MANIFEST).rename(run / "checkpoints/3/_CHECKPOINT_METADATA")
    assert_loads(run, 3, model)
    assert "damage in its arrays is not noticed" in caplog.text
    for file in (run / "checkpoints/3/params").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"3: this checkpoint does not fit its configuration \("):
        dct_jax.load(run)


def test_a_manifest_names_files_of_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"files": {"../secret": [1, "0"]}}')
    assert find_damage(tmp_path) == f"{tmp_path / MANIFEST} names no files of its folder"
    for text in ("[" * 100_000, '{"files": {"a": [Infinity, "0"]}}', '{"files": {"a": [1e400, "0"]}}'):
        (tmp_path / MANIFEST).write_text(text)
        assert find_damage(tmp_path) == f"{tmp_path / MANIFEST} cannot be read"
    (tmp_path / MANIFEST).write_text(f'{{"files": {{"{"a" * 300}": [1, "0"]}}}}')
    assert str(find_damage(tmp_path)).endswith("is missing")


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state_at(1, model), model.sizes, model.config, None)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints_module, "write_manifest", full)
    with pytest.raises(
        ValueError, match=r"2: this checkpoint cannot be written \(.*No space left.*\); the last good .* is .*/1$"
    ):
        checkpoints.save(state_at(2, model), model.sizes, model.config, None)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_what_a_crash_left_is_replaced(tmp_path: Path, model: Any) -> None:
    (tmp_path / "2" / "params").mkdir(parents=True)
    (tmp_path / "1").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None
    checkpoints.save(state_at(2, model), model.sizes, model.config, None)
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
    checkpoints.check(2)


def test_a_checkpoint_that_is_removed_while_it_is_read(run: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run in training does when it has newer ones: the reader takes the next."""
    read = run_module._from_checkpoint

    def late(checkpoints: Checkpoints, step: int) -> Any:
        if step == 3:
            checkpoints._remove(step)
        return read(checkpoints, step)

    monkeypatch.setattr(run_module, "_from_checkpoint", late)
    assert_loads(run, 1, model)


def test_a_checkpoint_that_is_removed_while_scores_are_compared(run: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader once was told that it is damaged."""
    read = Checkpoints._text

    def late(self: Checkpoints, step: int, item: str, file: str = "metadata") -> Any:
        if (step, file) == (3, "score"):
            self._remove(step)
        return read(self, step, item, file)

    monkeypatch.setattr(Checkpoints, "_text", late)
    assert_loads(run, 1, model)


def test_a_run_reached_through_its_parent_is_whole(run: Path, model: Any) -> None:
    """It once was called damaged, as ".." stood in the names of its files."""
    assert_loads(run / ".." / "run", 3, model)


def test_each_process_sets_aside_what_is_damaged_in_its_own_copy(
    run: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run at a URL, process 0 alone once did so, and the others ended."""
    file = next((run / "checkpoints/3/params").rglob("d/*"))
    file.write_bytes(file.read_bytes()[:100])
    monkeypatch.setattr(run_module, "Mirror", lambda *_: SimpleNamespace(folder=run, start=lambda: None, push=None))
    monkeypatch.setattr(run_module.jax, "process_index", lambda: 1)
    monkeypatch.setattr(run_module.loop, "train", lambda *_: None)
    run_module.train_at(model.config, "memory://bucket/run", latest_whole=True)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["1", "2", "3.damaged"]


def test_rotation_keeps_what_it_cannot_judge(run: Path, model: Any) -> None:
    """An unreadable number of bits ends no training."""
    (run / "checkpoints/1/metrics/metrics").write_text("{}")
    config: DCTConfig = tiny_config(keep=1)
    Checkpoints(run / "checkpoints").save(state_at(4, model), model.sizes, config, None)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["1", "3", "4"]


@pytest.mark.parametrize(
    ("item", "text", "message"),
    [
        ("classes", '["a"]', r"does not fit its configuration \(it names 1 classes; its model has 2"),
        ("sizes", f"[[16, 1{'0' * 400}, 1]]", "has no readable sizes"),
        ("sizes", "[[16, 16]]", "has no readable sizes"),
        ("pending", "3", "has no readable pending numbers"),
        ("pending", '{"sums": 3}', "has no readable pending numbers"),
        ("pending", '{"sums": {"a": 3}}', "has no readable pending numbers"),
        ("pending", f'{{"sums": {{"a": [1{"0" * 400}, 1]}}}}', "has no readable pending numbers"),
    ],
)
def test_texts_that_do_not_fit_are_refused(tmp_path: Path, model: Any, item: str, text: str, message: str) -> None:
    """A checkpoint may come from others, with checksums that are right."""
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, num_classes=2))
    texts = {"config": json.dumps(config.to_dict()), "classes": '["a", "b"]', "sizes": "[[16, 16, 1]]"}
    texts["pending"] = '{"sums": {"a": [3.0, 1.0]}}'
    checkpoints = Checkpoints(tmp_path)

    def read() -> tuple[Any, ...]:
        return checkpoints.config(1, type(config).from_dict), checkpoints.sizes(1), checkpoints.pending(1)

    for name, content in texts.items():
        (tmp_path / "1" / name).mkdir(parents=True)
        (tmp_path / "1" / name / "metadata").write_text(content)
    assert read() == (config, ((16, 16, 1),), {"sums": {"a": [3.0, 1.0]}})
    (tmp_path / "1" / item / "metadata").write_text(text)
    with pytest.raises(ValueError, match=f"1: this checkpoint {message}"):
        read()
