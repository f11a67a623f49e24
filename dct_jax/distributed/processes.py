"""Several processes of one run: each host has one, or one for each accelerator.

`experiments/launch.py` starts them; an environment variable tells them how to find each other.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dct_jax.tables import first_line, printable

VARIABLE = "DCT_JAX_PROCESSES"
"""Either "ADDRESS:PORT,NUMBER,INDEX" (of process 0, how many, which), or "auto": JAX asks Slurm,
the TPU pod, or Open MPI."""

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""Stands in the error of JAX that finds no room on a device."""

NO_BACKEND = "nable to initialize backend"
"""Stands in the RuntimeError of JAX that finds no device of the kind that JAX_PLATFORMS names."""

HEARTBEAT_SECONDS = 20
"""A process that is silent for so long counts as dead, and JAX ends the others."""


@contextmanager
def join_processes() -> Iterator[None]:
    """While it is open, JAX sees the devices of all processes. Without the environment variable
    there is one process alone.

    When one process fails, the others cannot go on: it must end at once, without waiting for them
    as JAX would at exit. So an exception ends this process with exit code 2, an interrupt with 130.
    In the end all wait for each other, and are then independent.

    Raises:
        ValueError: if the variable says nothing sensible, or the processes do not find each other.
    """
    setting = os.environ.get(VARIABLE)
    if not setting:
        yield
        return
    place = _place(setting)
    import jax  # not with the launcher, which starts processes and needs none of it

    from dct_jax.distributed.parallel import check_devices, meet

    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    try:
        jax.distributed.initialize(
            **place, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, shutdown_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(f"{VARIABLE} is {setting!r}, but the processes did not find each other ({reason})") from None
    try:
        check_devices()
        meet()  # Gloo lets the first one wait for 30 s only, and process 0 may soon copy a run
        yield
        meet()  # process 0 may end a tracker, or copy the run; JAX's shutdown has a limit of time
        jax.distributed.shutdown()  # now: process 0 may have work to do before it exits
    except BaseException as error:
        reason = first_line(error, None)
        if lack := describe_lack_of_memory(error):
            reason = lack
        elif isinstance(error, jax.errors.JaxRuntimeError):
            lost = "another process has ended, or cannot be reached; the same command goes on from the last checkpoint"
            reason = f"{lost} ({first_line(error)})"
        said = printable(f"dct_jax: process {jax.process_index()} of {jax.process_count()}: {reason}")
        print(said, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130 if isinstance(error, KeyboardInterrupt) else 2)


def describe_lack_of_memory(error: BaseException) -> str | None:
    """Says in a line that memory was too small, and what needs less; None of another error."""
    text = str(error).lower()  # other things may be exhausted, too: gRPC's largest message
    is_of_jax = OUT_OF_MEMORY.lower() in text and ("memory" in text or "alloc" in text)
    if not (is_of_jax or isinstance(error, MemoryError)):
        return None
    less = "training needs less with a lower training.batch_size or a higher training.accumulate"
    return f"out of memory ({first_line(error)}): {less}, and most other commands with a lower --batch-size"


def _place(setting: str) -> dict[str, Any]:
    """Returns the arguments of jax.distributed.initialize."""
    if setting == "auto":
        return {}
    match = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", setting)
    if not match or int(match[3]) >= int(match[2]):
        raise ValueError(f"{VARIABLE} is {setting!r}; it must be 'auto' or 'ADDRESS:PORT,NUMBER,INDEX'")
    place = {"coordinator_address": match[1], "num_processes": int(match[2]), "process_id": int(match[3])}
    # What Slurm or a TPU's machine would say besides is not asked.
    return place | {"cluster_detection_method": "deactivate"}
