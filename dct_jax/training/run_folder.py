"""The folder of a run: whether this run may use it, and that nobody else does at the same time."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dct_jax.config import RunConfig, changed_fields

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Says who trains in a folder. The system frees the lock when its holder ends; the file stays."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Makes the folder of a run, and keeps other processes, also on other hosts, out of it.

    Raises:
        ValueError: if it cannot be written, or somebody trains in it; the message says who and
            when.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise ValueError(f"the run's folder {folder} cannot be written ({error.strerror}); name another --run-dir") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(1000).strip() or "another process"
            raise ValueError(f"{folder} is in training ({holder}); wait for it, or name another --run-dir") from None
        except OSError as error:
            log.warning("%s: this file system has no locks (%s); start no second run in this folder.", folder, error.strerror)
        try:
            _say(file.fileno(), f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        except OSError as error:
            raise ValueError(
                f"the run's folder {folder} cannot be written ({error.strerror}); name another --run-dir"
            ) from None
        yield
        _say(file.fileno(), "")


def check_same_run(folder: Path, theirs: RunConfig, ours: RunConfig) -> None:
    """Raises ValueError if the configurations differ in a field that may not change."""
    if changed := changed_fields(theirs, ours):
        what = f"{folder} holds a run of another configuration ({', '.join(changed)})"
        raise ValueError(f"{what}; go on with that one or name another --run-dir")


def check_same_given(folder: Path, theirs: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises ValueError if collections of variables that a run began with are others now."""
    for name, tree in given.items():
        pairs = zip(jax.tree.leaves(theirs[name]), jax.tree.leaves(tree), strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            what = f"{folder} holds a run that began with another {name}"
            raise ValueError(f"{what}; go on with that one or name another --run-dir")


def _say(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())
