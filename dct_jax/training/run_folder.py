"""The folder of a run: whether this run may use it, and that nobody else does at the same time."""

import fcntl
import json
import logging
import os
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np

from dct_jax.config import RunConfig, changed_fields
from dct_jax.data.sources import Source
from dct_jax.distributed.parallel import gather_number
from dct_jax.storage.files import read_limited, replacing

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Says who trains in a folder. The system frees the lock when its holder ends; the file stays."""

SOURCES = "sources.json"
"""Says which pictures a run began with: how many to train on, how many held out, and checksums of a
few of their names."""

Pictures = dict[str, tuple[int, list[int | None]]]
"""What `SOURCES` has: by part of the data, how many pictures there are, and checksums of the first,
middle and last name; None for one that cannot be read."""


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


def describe_pictures(training: Source, held_out: Source) -> Pictures:
    """Describes the pictures of a run, of which it reads a few."""
    return {"training": _describe(training), "held_out": _describe(held_out)}


def note_pictures(folder: Path, pictures: Pictures) -> None:
    """Writes which pictures a run begins with. Raises ValueError or OSError if that fails."""
    with replacing(folder / SOURCES) as path:
        path.write_text(json.dumps(pictures))


def describe_change(folder: Path, pictures: Pictures) -> str | None:
    """Says how the pictures of a run differ from those that it began with; None if they do not, or
    nothing tells. Others may have made the file that tells."""
    try:
        values = json.loads(read_limited(folder / SOURCES, 1000))
        theirs = [(int(number), list(names)) for number, names in (values["training"], values["held_out"])]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    ours = [pictures["training"], pictures["held_out"]]
    before, now = (f"{a} training and {b} held-out pictures" for (a, _), (b, _) in (theirs, ours))
    pairs = [pair for (_, a), (_, b) in zip(theirs, ours) for pair in zip(a, b)]
    if before == now and all(a == b for a, b in pairs if None not in (a, b)):
        return None
    return f"{folder} had {before}, and now there are {now if before != now else 'others'}"


def check_same_pictures(folder: Path, pictures: Pictures) -> None:
    """Raises ValueError if a run goes on with other pictures: it would not go on exactly, and might
    be evaluated on some that it was trained on."""
    if change := describe_change(folder, pictures):
        raise ValueError(f"{change}; bring the old ones back or name another --run-dir")


def check_same_everywhere(step: int, pictures: Pictures) -> None:
    """Raises ValueError, in all processes of a run, unless all go on from one step with the same
    pictures. All call this."""
    if len(set(steps := gather_number(step))) > 1:
        seen = f"the processes see different checkpoints (steps {' and '.join(map(str, steps))}; 0 is none)"
        raise ValueError(f"{seen}: the run's folder must be one that all of them share")
    digest = zlib.crc32(json.dumps(pictures).encode())
    if len(set(gather_number(digest))) > 1:
        raise ValueError("the processes see different pictures: each must have the same ones under the same names")


def _describe(source: Source) -> tuple[int, list[int | None]]:
    number = len(source)
    return number, [_checksum(source, i) for i in (0, number // 2, number - 1)]


def _checksum(source: Source, index: int) -> int | None:
    """Returns that of a record's name without its folder, which may have moved; None if it cannot
    be read."""
    try:
        return zlib.crc32(PurePath(source[index].key).name.encode(errors="surrogateescape"))
    except (OSError, ValueError):
        return None


def _say(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())
