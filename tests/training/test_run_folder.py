"""One run, one writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dct_jax.training.run_folder import lock_folder

HOLD = """
import sys, time
from pathlib import Path
from dct_jax.training.run_folder import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_has_one_writer_and_a_lock_of_the_dead_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=rf"run is in training \(process {holder.pid} on .* since 20..-.*\); wait"),
            lock_folder(folder),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with lock_folder(folder):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on"), lock_folder(folder):
            pass
    with lock_folder(folder):
        pass
