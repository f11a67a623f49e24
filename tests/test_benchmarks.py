"""Benchmarks are run by people, long after what they measure has changed."""

import importlib
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec
from dct_jax.commands.ending import run_script

FOLDER = Path(__file__).parent.parent / "benchmarks"

Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Imports one of the benchmarks."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_what_they_import_is_still_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """codec.py could not start: what it imports had moved, and nothing else ran it."""
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(file))


@pytest.mark.parametrize(("peak", "value", "unit"), [(3 * 10**9, 3.0, "GB"), (None, "not told by this system", "")])
def test_peak_memory_is_that_of_the_program_alone(
    script: Script, monkeypatch: pytest.MonkeyPatch, peak: int | None, value: object, unit: str
) -> None:
    """It began with the memory of the process that had started the benchmark."""
    monkeypatch.setattr(script("machine"), "read_peak_memory", lambda: peak)
    assert script("machine").peak_memory() == ("peak memory", value, unit, None)


class Steps:
    """In place of sampling.Sampler and train_step.Steps: what is made and called is noted."""

    notes: list[str]

    def __init__(self, *args: Any) -> None:
        self.notes.append(f"make {args[-1]}")
        self.model = importlib.import_module("machine").reference_model()
        self.params: dict[str, Any] = {}
        self.state = SimpleNamespace(variables={})

    def seconds(self, program: object, index: int, until: int) -> float:
        self.notes.append(f"{until} steps")
        return 1e-3 * (1 + until)

    def take(self) -> Any:
        return SimpleNamespace(means={"nats_per_triple/total": SimpleNamespace(sum=1.0)})


def begin(script: Script, monkeypatch: pytest.MonkeyPatch, name: str, replaced: str) -> list[str]:
    """Runs a benchmark without a network, and returns its notes."""
    module, notes = script(name), list[str]()
    monkeypatch.setattr(Steps, "notes", notes, raising=False)
    monkeypatch.setattr(module, replaced, Steps)
    monkeypatch.setattr(module, "machine_figures", list)
    monkeypatch.setattr(module, "matmul_rate", lambda: notes.append("rate") or 1e9)
    monkeypatch.setattr(module, "peak_memory", lambda title: notes.append(title) or script("machine").Figure(title, 1.0, "GB"))
    if name == "sampling":
        monkeypatch.setattr(module, "memory_bandwidth", lambda: notes.append("bandwidth") or 1e9)
    else:
        batch = SimpleNamespace(chunk_index=np.zeros(2), is_target=np.ones((2, 3), bool))
        monkeypatch.setattr(module, "make_batch", lambda model, size: batch)
        monkeypatch.setattr(module, "training_batches", lambda *args: iter([batch]))
    module.main(repeats=1)
    return notes


def test_the_sampler_s_memory_is_that_of_its_own_program(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had the arrays of memory_bandwidth, plain programs and a second network in it."""
    notes = begin(script, monkeypatch, "sampling", "Sampler")
    assert notes[:5] == ["make 16", "0 steps", "1 steps", "peak memory, compilation included", "make 1"]


def test_the_training_step_s_memory_is_that_of_one_form(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had the other form's state, the other network and the arrays of memory_bandwidth in it."""
    notes = begin(script, monkeypatch, "train_step", "Steps")
    assert notes[:4] == ["make float32", "reference: peak memory, float32 alone", "make bfloat16", "rate"]
    assert sum("peak" in note for note in notes) == 1


def test_triples_are_those_of_the_pictures_that_are_timed(script: Script, tmp_path: Path) -> None:
    """The first eight files of the folder stood for all."""
    data, rng, lengths = script("data"), np.random.default_rng(0), []
    for i in range(12):
        pixels = np.full((16, 16, 3), 60, np.uint8) if i < 8 else rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
        lengths.append(len(DCTCodec(quality=50).encode(pixels)))
    config = data.config_of(f"folder:{tmp_path}", (16, 16), 6, DCTCodec(quality=50), flip=False)
    *_, triples = data.compare(config, 2, 2)  # 24 pictures: an epoch to warm up, and two that are timed
    assert triples == np.mean(lengths) > 2 * np.mean(lengths[:8])


@pytest.mark.slow
def test_a_worker_s_memory_has_nothing_of_its_parent(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system tells of children begins with the memory of their parent."""
    data = script("data")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    config = data.config_of(f"folder:{tmp_path}", (16, 16), 2, DCTCodec(quality=50), workers=1)
    large = data.MEMORY_PROGRAM.replace("    source =", '    held = b"1" * 2**30\n    source =')
    monkeypatch.setattr(data, "MEMORY_PROGRAM", large)
    assert 2**26 < data.peak_memory(config, 2) < 2**30


def test_fewer_pictures_than_are_compressed_alone(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--images 3` an IndexError came after all was measured, as five are compressed alone."""
    compress = script("compress")
    for name, fake in {
        "_load_experiment": lambda images: (None, ["ab", "cde", "f"][:images]),
        "write_exactly": lambda model, sparse, version: sparse.encode(),
        "compress": lambda model, lists: [sparse.encode() for sparse in lists],
        "decompress": lambda model, files: [data.decode() for data in files],
        "compress_many": lambda model, lists: enumerate(sparse.encode() for sparse in lists),
        "decompress_many": lambda model, files: enumerate(data.decode() for data in files),
        "machine_figures": list,
    }.items():
        monkeypatch.setattr(compress, name, fake)
    compress.main(images=3)


def test_only_the_folder_of_what_failed_stays(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call left seven folders behind."""
    torture, tallies = script("torture_files"), iter([{"read": 3}, {"another error": 1}])

    class Process:
        exitcode = 0

        def __init__(self, target: object, args: tuple[Any, ...]) -> None:
            self.start = lambda: args[-1].put((next(tallies), 0.1, 5.0))

        def join(self) -> None: ...

    context = SimpleNamespace(SimpleQueue=SimpleQueue, Process=Process)
    monkeypatch.setattr(torture, "multiprocessing", SimpleNamespace(get_context=lambda kind: context))
    monkeypatch.setattr(torture, "KINDS", {"jpeg": None, "npz": None})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    good, bad = torture.mutants(1.0, 0)
    assert (good.value, "FAILED" in good.unit) == (3, False)
    (folder,) = tmp_path.iterdir()
    assert str(folder) in bad.unit


def test_misuse_is_a_line(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is there already, an empty one and a run without classes were tracebacks."""
    model = SimpleNamespace(config=SimpleNamespace(reader=lambda: SimpleNamespace(num_classes=0)))
    monkeypatch.setattr(script("recognition"), "load_prior", lambda run, name: model)
    for name, args, said in (
        ("portable", ["write", "run", str(tmp_path)], f"{tmp_path} is there already; name a new folder"),
        ("portable", ["read", "run", str(tmp_path)], f"{tmp_path} has no files *.dct; name a folder that"),
        ("recognition", ["run"], "run is a run without classes; it must be one with them"),
    ):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *args])
        with pytest.raises(SystemExit) as ended:
            run_script(script(name).main)
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.startswith(f"{name}: {said}") and error.count("\n") == 1


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script of faults, which copies nothing."""
    module = importlib.import_module("tests.mutants")
    monkeypatch.setattr(module, "copy_of_the_code", lambda folder: tmp_path)
    yield module


@pytest.mark.parametrize("code", [0, 1])
def test_tests_that_fail_without_a_fault_notice_none(mutants: ModuleType, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Any test that failed counted as one that notices the fault."""
    asked: list[list[str]] = []

    def run(tests: list[str], folder: Path, longest: float | None) -> subprocess.CompletedProcess[bytes]:
        asked.append(tests)
        return subprocess.CompletedProcess([], code, stdout=b"1 failed")

    monkeypatch.setattr(mutants, "run_tests", run)
    faults = [{"tests": "tests/a.py tests/b.py"}, {"tests": "tests/b.py"}]
    if code:
        with pytest.raises(SystemExit, match="the tests must pass without any fault; they do not\n1 failed"):
            mutants.check_without_faults(faults)
    else:
        mutants.check_without_faults(faults)
    assert asked == [["tests/a.py", "tests/b.py"]]
