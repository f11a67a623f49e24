"""Starting a run: its processes, their environment, and what to do when one of them ends.

`experiments/launch.py` is the command line of this; `processes.py` is the other side, inside each
process.
"""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dct_jax.distributed.processes import VARIABLE

GRACE_SECONDS = 5
"""A process that waits for a dead one's part sees no SIGTERM; after so long it gets SIGKILL."""

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Process:
    """One process of a run that is started here.

    Attributes:
        name: for messages, as "process 1 of 2".
        environment: variables that it has besides ours.
        quiet: whether only its errors are shown.
    """

    name: str = "the training process"
    environment: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False


def cluster_of(environment: Mapping[str, str]) -> str | None:
    """Returns what has started us as one of several: "Slurm", "a TPU pod", "Open MPI" or None. Only
    what is certain counts: on Google's TPU machines the environment does not tell."""
    if _in_slurm_step(environment) and _number(environment, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") > 1:
        return "Slurm"
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    if "," in hosts or _number(environment, "MEGASCALE_NUM_SLICES") > 1:
        return "a TPU pod"
    if _number(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        return "Open MPI"
    return None


def lacks_srun(environment: Mapping[str, str]) -> bool:
    """Returns whether this is the script of a Slurm job of several tasks, and not a task of it."""
    return "SLURM_JOB_ID" in environment and not _in_slurm_step(environment) and _number(environment, "SLURM_NTASKS") > 1


def slurm_gpus(environment: Mapping[str, str]) -> str | None:
    """Returns which of the GPUs that it sees a Slurm task takes, as "0,1"; None leaves it to JAX.

    JAX takes the one GPU that has the task's number on the node. That is wrong for one task a node,
    which should have all, and where Slurm shows each task its own GPU alone, as number 0.
    """
    visible = [x for x in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if x]
    tasks = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node, rank = (environment.get(name, "") for name in ("SLURM_NODEID", "SLURM_LOCALID"))
    if not (visible and node.isdigit() and rank.isdigit() and int(node) < len(tasks)):
        return None
    share = max(1, len(visible) // tasks[int(node)])
    return ",".join(str((int(rank) * share + i) % len(visible)) for i in range(share))


def processes_of(number: int | None, devices: int, clustered: bool, environment: Mapping[str, str]) -> list[Process]:
    """Returns the processes to start here.

    Args:
        number: of CPU processes on this machine; None for what the environment says, or one with
            all accelerators.
        devices: of each of these CPU processes.
        clustered: whether the environment is known to be one process's of several.
        environment: ours.

    Raises:
        ValueError: if a number of processes is asked for where there are several already.
    """
    found = cluster_of(environment)
    if number is None:
        if environment.get(VARIABLE):
            return [Process()]
        if not (clustered or found):
            return [Process()]
        gpus = slurm_gpus(environment) if found == "Slurm" and "JAX_LOCAL_DEVICE_IDS" not in environment else None
        return [Process(_task_name(environment), {VARIABLE: "auto"} | ({"JAX_LOCAL_DEVICE_IDS": gpus} if gpus else {}))]
    if clustered or found or environment.get(VARIABLE):
        what = found or ("--cluster was given" if clustered else VARIABLE)
        raise ValueError(f"--processes is for one machine alone, but there are several processes already ({what})")
    flags = re.sub(r"--xla_force_host_platform_device_count=\S*", "", environment.get("XLA_FLAGS", ""))
    cpu = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}".strip()}
    if number == 1:
        return [Process(environment=cpu)]
    address = f"127.0.0.1:{free_port()}"
    cpu["JAX_COORDINATOR_BIND_ADDRESS"] = address  # by default it listens to the whole network
    return [
        Process(f"process {i} of {number}", cpu | {VARIABLE: f"{address},{number},{i}"}, quiet=i > 0) for i in range(number)
    ]


def free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def supervise(command: Sequence[str], processes: Sequence[Process], environment: Mapping[str, str]) -> int:
    """Runs the command in each process and waits for all. The first SIGTERM or SIGINT is passed on.
    When a process fails, the others are ended, as none can go on alone.

    Returns:
        The exit code: of the process that failed, 128 + n after signal n, or 0.
    """
    running: dict[int, subprocess.Popen] = {}
    codes: dict[int, int] = {}
    with _catch_signals() as signals:
        try:
            for i, process in enumerate(processes):
                # Gloo prints to standard output; errors go to standard error.
                out = subprocess.DEVNULL if process.quiet else None
                running[i] = subprocess.Popen(command, env={**environment, **process.environment}, stdout=out)
            passed_on = False
            while running:
                time.sleep(POLL_SECONDS)
                ended = {i: child.returncode for i, child in running.items() if child.poll() is not None}
                codes |= ended
                running = {i: child for i, child in running.items() if i not in ended}
                if failed := [i for i in ended if not _in_order(ended[i])]:
                    first = min(failed, key=lambda i: _failure_rank(ended[i]))
                    _tell(processes[first].name, ended[first], bool(running), len(processes))
                    return _exit_code(ended[first])
                if signals and not passed_on:
                    passed_on = True
                    for child in running.values():
                        child.send_signal(signals[0])
            return max(codes.values())
        finally:
            _end(running.values())


def describe_end(code: int) -> str:
    """Says how a process ended, by subprocess's code: minus the signal's number, if any."""
    if code in (-signal.SIGABRT, 128 + signal.SIGABRT):
        return "was aborted (SIGABRT), which is how JAX ends a process when another one has died or cannot be reached"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _tell(name: str, code: int, others: bool, number: int) -> None:
    if code == 2 and number == 1:
        return  # it has said what was wrong
    message = f"launch: {name} {describe_end(code)}" + ("; the others are ended" if others else "")
    # A process that can still speak has said what to do.
    print(message + ("" if code == 2 else "; the same command goes on from the last checkpoint"), file=sys.stderr, flush=True)


def _in_order(code: int) -> bool:
    """Returns whether a process is done, or has stopped at a signal with a checkpoint."""
    return code in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)


def _failure_rank(code: int) -> int:
    """Ranks processes that failed at once: the one of the smallest rank is likeliest the cause."""
    return 2 if code in (-signal.SIGABRT, 128 + signal.SIGABRT) else int(code > 0)


def _exit_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _end(children: Collection[subprocess.Popen]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """While it is open, SIGTERM and SIGINT only append their number to the list."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)


def _in_slurm_step(environment: Mapping[str, str]) -> bool:
    """Returns whether srun has started us, by the variables that JAX looks for, too. A job's own
    script lacks the step's."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    return all(name in environment for name in names)


def _tasks_per_node(text: str) -> list[int]:
    """Slurm's "2(x3),1" -> [2, 2, 2, 1]; [] if it is something else."""
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    return [int(part[1]) for part in parts if part for _ in range(int(part[2] or 1))] if all(parts) else []


def _task_name(environment: Mapping[str, str]) -> str:
    for index, number in (("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):
        if index in environment and number in environment:
            return f"process {environment[index]} of {environment[number]}"
    return f"the training process of {socket.gethostname()}"


def _number(environment: Mapping[str, str], *names: str) -> int:
    """Returns the first of these variables that is there, 0 if none is a number."""
    value = next((environment[name] for name in names if name in environment), "")
    return int(value) if value.isdigit() else 0
