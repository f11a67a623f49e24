"""How JAX runs in the tests, and what several of them share."""

import fcntl
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Two CPU devices, so that data parallelism can be tested anywhere. All of this must be set before
# JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"
# Many tests compile the same small programs. (With 0.5 in place of 0.05 they take a fifth longer,
# with 0 too.)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parent.parent / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
# They compile much and run little: machine code that is made sooner serves them better than faster
# machine code.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# So do older emitters of fusions: programs are compiled in half of the time. JAX 0.12 has none and
# is as fast without. And a program's code is made in one part, not in 32: the cores that others
# would be for do another worker's work.
if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail with exit code 2 and one line, and returns the line."""
    from dct_jax.commands import main

    def run(*args: object) -> str:
        capsys.readouterr()
        assert main([str(arg) for arg in args]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return run


@pytest.fixture(scope="session")
def cached_load() -> Callable[..., Any]:
    """`dct_jax.load`, once a model. Runs must have absolute paths."""
    from dct_jax import run

    return cache(run.load)


@pytest.fixture
def loaded_once(cached_load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets commands load each model once, for tests of many lines of bad input. Nobody may write
    another model into a run."""
    from dct_jax import run

    monkeypatch.setattr(run, "load", cached_load)


MOST_MAPS = 45_000
"""Two thirds of the memory areas that Linux lets a process have by default; a module makes some
thousands."""


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forgets compiled programs when there are many. Each has areas of memory of its own, and a
    process that has no more of them crashes while it compiles."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        sys.modules["jax"].clear_caches()


def pytest_collection_finish() -> None:
    """Tracing makes many objects that live on, beside all that was imported; to look through them
    takes a third of its time."""
    gc.set_threshold(100_000)


@contextmanager
def first_here(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that pytest-xdist's workers share, and whether this one is the first that comes
    here; the others wait for it."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / name
    folder.mkdir(exist_ok=True)
    with (folder / "is_done").open("a") as is_done:
        fcntl.flock(is_done, fcntl.LOCK_EX)
        yield folder, not is_done.seek(0, os.SEEK_END)
        is_done.write("yes")


@pytest.fixture(scope="session", autouse=True)
def numba_has_compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a fresh clone Numba takes some twenty seconds, which only one worker should."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    from dct_jax import kernels
    from dct_jax.codec import DCTCodec, SparseDCT

    with first_here(tmp_path_factory, "numba") as (_, is_first):
        if is_first:
            kernels.use_kernels()
            codec = DCTCodec()
            sparse = codec.encode(np.zeros((16, 16, 3), np.uint8))
            codec.decode(sparse)
            SparseDCT.from_jpeg(sparse.to_jpeg())


@pytest.fixture(scope="session")
def debug_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the debug experiment, which the first worker that asks trains. Nothing may be
    written into it."""
    from dct_jax.commands import main

    with first_here(tmp_path_factory, "runs") as (folder, is_first):
        if is_first:
            assert main(["train", "debug", "--run-dir", str(folder / "debug")]) == 0
    return folder / "debug"
