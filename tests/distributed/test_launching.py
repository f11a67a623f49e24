"""The launcher: what it finds out about the machine, what it starts, and what it says when a
process ends."""

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dct_jax import experiment
from dct_jax.distributed import launching, processes
from dct_jax.distributed.launching import Process, cluster_of, describe_end, lacks_srun, processes_of, slurm_gpus, supervise

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
LAUNCH = Path(__file__).parents[2] / "experiments" / "launch.py"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (SLURM, "Slurm"),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # an interactive shell in an allocation of 4 tasks
        (SCRIPT, None),  # a job's script, outside of srun
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "a TPU pod"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, "a TPU pod"),
        ({"MEGASCALE_NUM_SLICES": "2"}, "a TPU pod"),
        ({"MEGASCALE_NUM_SLICES": "1"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
    ],
)
def test_clusters_are_recognised_by_their_variables(environment: dict[str, str], expected: str | None) -> None:
    assert cluster_of(environment) == expected
    assert lacks_srun(environment) == (environment is SCRIPT)
    (process,) = processes_of(None, 1, False, environment)
    assert process.environment.get("DCT_JAX_PROCESSES") == ("auto" if expected else None)


@pytest.mark.parametrize(
    ("tasks", "rank", "visible", "expected"),
    [
        ("1(x2)", "0", "0,1,2,3", "0,1,2,3"),  # one task a node: all
        ("4(x2)", "3", "0,1,2,3", "3"),  # one task a GPU
        ("2(x2)", "1", "0,1,2,3", "2,3"),
        ("4(x2)", "3", "0", "0"),  # one task a GPU, and Slurm hides the others
        ("3,1", "0", "0,1", "0,1"),
        ("4(x2)", "3", "", None),
        ("?", "3", "0,1", None),
    ],
)
def test_a_slurm_task_takes_its_share_of_the_gpus_that_it_sees(
    tasks: str, rank: str, visible: str, expected: str | None
) -> None:
    environment = {
        **SLURM,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_LOCALID": rank,
        "CUDA_VISIBLE_DEVICES": visible,
    }
    assert slurm_gpus(environment) == expected
    (process,) = processes_of(None, 1, False, environment)
    assert process.name == "process 3 of 4"
    assert process.environment.get("JAX_LOCAL_DEVICE_IDS") == expected


def test_processes_of_one_machine_find_each_other_on_it() -> None:
    flags = {"XLA_FLAGS": "--a=1 --xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cuda"}
    first, second = processes_of(2, 3, False, flags)
    assert (first.name, second.name, first.quiet, second.quiet) == ("process 0 of 2", "process 1 of 2", False, True)
    places = [process.environment["DCT_JAX_PROCESSES"].split(",") for process in (first, second)]
    assert [place[1:] for place in places] == [["2", "0"], ["2", "1"]]
    assert places[0][0] == places[1][0] and places[0][0].startswith("127.0.0.1:")
    assert first.environment["XLA_FLAGS"].split() == ["--a=1", "--xla_force_host_platform_device_count=3"]
    assert first.environment["JAX_PLATFORMS"] == "cpu"
    assert "DCT_JAX_PROCESSES" not in processes_of(1, 3, False, {})[0].environment
    for clustered, environment, what in (
        (False, SLURM, "Slurm"),
        (True, {}, "--cluster"),
        (False, {"DCT_JAX_PROCESSES": "x"}, "DCT"),
    ):
        with pytest.raises(ValueError, match=rf"--processes is for one machine alone.*\({what}"):
            processes_of(2, 1, clustered, environment)


def test_a_variable_that_says_nothing_sensible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("a", "localhost,2,0", "localhost:1,2,2", "localhost:1,2,x"):
        monkeypatch.setenv(processes.VARIABLE, setting)
        with pytest.raises(ValueError, match=r"it must be 'auto' or 'ADDRESS:PORT,NUMBER,INDEX'"), processes.join_processes():
            pass


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the first argument must be an experiment"),
        (["--processes", "2", "debug"], "the first argument must be an experiment"),
        (["debug", "--processes", "0"], "argument --processes: it is '0'; it must be 1 or more"),
        (["debug", "--processes"], "argument --processes: expected one argument"),
        (["debug", "--devices-per-process", "2"], "--devices-per-process is for --processes"),
        (["debug", "--processes", "2", "--cluster"], "--processes is for one machine alone"),
        (["nonsense"], "there is no experiment 'nonsense'"),
        (["x" * 300], "File name too long"),
        (["debug", "--nonsense", "1"], "Unrecognized options: --nonsense"),
        (["debug", "--training.steps", "x"], "training.steps"),
    ],
)
def test_bad_arguments_are_told_in_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {**SLURM, processes.VARIABLE: ""}:
        monkeypatch.delenv(name, raising=False)
    assert runpy.run_path(str(LAUNCH))["main"](args) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("launch: ") and message in said.err


def test_ctrl_c_at_the_start_is_told_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "load_experiment", stop)
    assert runpy.run_path(str(LAUNCH))["main"](["debug"]) == 130
    assert capsys.readouterr().err == "launch: interrupted\n"


def run(scripts: Sequence[str], do: Callable[[], None] | None = None) -> int:
    """Supervises children that execute these lines of Python."""
    command = [sys.executable, "-S", "-c", "import os, signal, sys, time; exec(os.environ['DO'])"]
    children = [Process(f"process {i} of {len(scripts)}", {"DO": script}) for i, script in enumerate(scripts)]
    if do:
        threading.Thread(target=do).start()
    return supervise(command, children, dict(os.environ))


DEAF = "signal.signal(signal.SIGTERM, lambda *_: None); [time.sleep(0.1) for _ in range(6000)]"
"""Like a process that waits for another one inside of JAX."""


@pytest.mark.parametrize(
    ("scripts", "code", "message"),
    [
        (["", ""], 0, ""),
        (["sys.exit(2)"], 2, ""),  # it has said why
        (["sys.exit(2)", "time.sleep(600)"], 2, "launch: process 0 of 2 ended with exit code 2; the others are ended\n"),
        (
            ["time.sleep(600)", "os.kill(os.getpid(), 9)"],
            137,
            "launch: process 1 of 2 was killed by SIGKILL; the others are ended; the same command goes on from the last"
            " checkpoint\n",
        ),
        ([DEAF, "time.sleep(0.2); os.abort()"], 134, "launch: process 1 of 2 was aborted (SIGABRT), which is how JAX ends"),
        (["os.abort()", "os.kill(os.getpid(), 9)"], 137, "launch: process 1 of 2 was killed by SIGKILL"),
    ],
)
def test_a_process_that_fails_is_named_and_the_others_are_ended(
    scripts: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.5)  # those that fail at once are seen at once
    started = time.monotonic()
    assert run(scripts) == code
    assert time.monotonic() - started < 300  # those that sleep for ten minutes were ended, not waited for
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == bool(message)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stop_is_passed_on_once_and_waited_for(name: str, code: int, tmp_path: Path) -> None:
    ready = [tmp_path / str(i) for i in range(2)]
    obey = (
        "got = []; [signal.signal(s, lambda n, f: got.append(n)) for s in (2, 15)]; open({!r}, 'w').close()\n"
        "while not got: time.sleep(0.05)\n"
        "time.sleep(0.7); sys.exit(128 + got[0] if len(got) == 1 else 9)"
    )

    def stop() -> None:
        while not all(path.exists() for path in ready):
            time.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(0.2)

    assert run([obey.format(str(path)) for path in ready], stop) == code


def test_how_it_ended() -> None:
    assert describe_end(-9) == "was killed by SIGKILL"
    assert describe_end(3) == "ended with exit code 3"
    assert describe_end(134) == describe_end(-6)
