"""Puts small faults into the code, one after the other, and tells which no test notices.

    python tests/mutants.py [WORD ...]

The list is mutants.toml: the file below dct_jax/, what stands there (once), what is put in its
place, and the tests that should fail, which are run until one does. First all of these tests must
pass without a fault. With words, only faults whose file or text has one of them. Exit code 1 if one
goes unnoticed.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORKERS = 2
LONGEST = 400
"""Seconds; a fault that makes tests hang is noticed, too."""

Fault = dict[str, str]


def copy_of_the_code(folder: Path) -> Path:
    """What the tests need. Compiled programs are shared, as most faults change few of them."""
    for name in ("dct_jax", "tests", "experiments", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    (ROOT / ".cache").mkdir(exist_ok=True)
    (folder / ".cache").symlink_to(ROOT / ".cache")
    return folder


def run_tests(tests: Iterable[str], folder: Path, longest: float | None) -> subprocess.CompletedProcess[bytes]:
    """Runs tests in a copy of the code until one fails, at most so many seconds."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=longest, check=False)


def check_without_faults(faults: Sequence[Fault]) -> None:
    """Runs the tests of all faults once without any: a test that fails anyway would notice
    everything. Raises SystemExit unless they pass."""
    tests = sorted({test for fault in faults for test in fault["tests"].split()})
    with tempfile.TemporaryDirectory() as folder:
        done = run_tests(tests, copy_of_the_code(Path(folder)), longest=None)
    if done.returncode:
        raise SystemExit(f"the tests must pass without any fault; they do not\n{done.stdout.decode()[-2000:]}")


def is_noticed(fault: Fault, folder: Path) -> bool:
    """Runs the tests of a fault in a copy of the code."""
    path = folder / "dct_jax" / fault["file"]
    before = path.read_text()
    path.write_text(before.replace(fault["old"], fault["new"]))
    try:
        done = run_tests(fault["tests"].split(), folder, LONGEST)
        if done.returncode > 1:
            raise ValueError(f"{fault}: the tests do not run\n{done.stdout.decode()[-2000:]}")
        return done.returncode == 1
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(before)


def main(words: list[str]) -> int:
    faults = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["fault"]
    for fault in faults:
        count = (ROOT / "dct_jax" / fault["file"]).read_text().count(fault["old"])
        if count != 1:
            raise SystemExit(f"{fault['file']} has {fault['old']!r} {count} times; it must be there once")
    chosen = [fault for fault in faults if not words or any(word in f"{fault['file']} {fault['old']}" for word in words)]
    if not chosen:
        raise SystemExit(f"no fault has any of the words {', '.join(words)} in its file or text")
    check_without_faults(chosen)
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in chosen:
        waiting.put(fault)
    unnoticed: list[Fault] = []

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = copy_of_the_code(Path(folder))
            while True:
                try:
                    fault, start = waiting.get_nowait(), time.monotonic()
                except queue.Empty:
                    return
                try:
                    noticed = is_noticed(fault, copy)
                except ValueError as error:  # which ends the thread, and would be lost with it
                    print(error, flush=True)
                    noticed = False
                unnoticed.extend([] if noticed else [fault])
                said = f"{'noticed' if noticed else 'NOT NOTICED'} in {time.monotonic() - start:.0f} s: {fault['file']}"
                print(f"{said}: {fault['old']!r} -> {fault['new']!r}", flush=True)

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} faults are noticed")
    return int(bool(unnoticed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
