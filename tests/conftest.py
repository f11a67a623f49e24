"""How JAX runs in the tests, and what several of them share."""

import fcntl
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Two CPU devices, so that data parallelism can be tested anywhere. All of this must be set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"
# Many tests compile the same small programs. (With 0.5 in place of 0.05 they take a fifth longer, with 0 too.)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parent.parent / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
# They compile much and run little: machine code that is made sooner serves them better than faster machine code.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

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


def pytest_collection_finish() -> None:
    """Tracing makes many objects that live on, beside all that was imported; to look through them takes a third of its time."""
    gc.set_threshold(100_000)


@pytest.fixture(scope="session")
def debug_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the debug experiment, which the first of pytest-xdist's workers that asks trains. Nothing may be written into
    it."""
    from dct_jax.commands import main

    ours = tmp_path_factory.getbasetemp()
    runs = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "runs"
    runs.mkdir(exist_ok=True)
    with (runs / "is_trained").open("a") as is_trained:
        fcntl.flock(is_trained, fcntl.LOCK_EX)
        if not is_trained.tell():
            assert main(["train", "debug", "--run-dir", str(runs / "debug")]) == 0
            is_trained.write("yes")
    return runs / "debug"
