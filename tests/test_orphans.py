"""Processes that are started for one task end with the process that waits for them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dct_jax.commands import compare

PARENT = """
import os, time
from functools import partial
from pathlib import Path
from dct_jax.commands.compare import in_child

def wait(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(300)

if __name__ == "__main__":
    in_child(partial(wait, {file!r}))
"""


def is_running(process: int) -> bool:
    """Whether there is such a process; one that has ended may still be listed."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(done: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)


def test_an_answer_that_nobody_waits_for_is_no_error() -> None:
    """A training that stopped in good order, but after its parent, ended with a traceback."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    ours.close()
    called: list[str] = []
    compare._run_child(partial(called.append, "called"), theirs, os.getppid())
    assert called == ["called"]


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A study that was killed left its trainings, which nobody noticed for hours."""
    file, script = tmp_path / "child", tmp_path / "parent.py"
    script.write_text(PARENT.format(file=str(file)))
    with subprocess.Popen([sys.executable, script]) as parent:
        try:
            assert wait_until(lambda: file.exists() and file.read_text(), 60)
        finally:
            parent.send_signal(signal.SIGKILL)
    child = int(file.read_text())
    try:
        assert wait_until(lambda: not is_running(child), 30)
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)
