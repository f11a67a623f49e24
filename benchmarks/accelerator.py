"""Everything that has to be known about an accelerator, in one run that ends in time: are its
results right, how fast are they?

    python benchmarks/accelerator.py OUT [--minutes 9 --parts parity training ...]

OUT gets accelerator.json, and from the last part samples.png and run.tar.gz: three files, none
above 16 MB, no folders. Where a machine is lent for a single command, that line is the command; the
package must be importable there (`PYTHONPATH=.` in a checkout) and JAX must see the device
(`JAX_PLATFORMS=cuda` makes sure that it is not the CPU).

Each part is a script of its own and runs in a process of its own: one that fails, hangs, or leaves
a device in disorder does not stop those after it. A part may use all of the time that is left but
for the least that the later ones need. The exit code is 1 if one failed or was stopped, and 2 if a
package is missing, which is found before any part starts. Beside a figure stands what arithmetic
predicts (roofline.py).
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

BEGUN = time.monotonic()
"""When this program began: what it imports takes some of its time."""

try:
    import tyro

    from dct_jax.storage.files import replacing

    # All that the parts import, the last two by commands; that starts no device.
    for name in ("parity", "training", "sampling", "run"):
        importlib.import_module(f"accelerator_{name}")
    for name in ("dct_jax.run", "tensorboardX"):
        importlib.import_module(name)
except ModuleNotFoundError as error:
    print(f"accelerator.py: there is no module {error.name}; python -m pip install '.[train]' installs all", file=sys.stderr)
    sys.exit(2)

FOLDER = Path(__file__).parent
OUT = "{out}"
"""In a part's arguments: the folder of results."""

MARGIN = 5.0
"""Seconds of a part from its time limit to being stopped, and from there to its end."""


ENVIRONMENT = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92", "TQDM_MININTERVAL": "20"}
"""The environment of parts, unless ours says otherwise: JAX would take three quarters of a GPU's
memory, and progress bars fill the output."""


class Part(NamedTuple):
    """A script that takes --seconds, --json and --tiny.

    Attributes:
        name: in the results.
        script: its file.
        arguments: others.
        least: seconds that it needs to be of use.
    """

    name: str
    script: Path
    arguments: tuple[str, ...] = ()
    least: float = 0.0


PARTS = (
    Part("parity", FOLDER / "accelerator_parity.py", least=75),
    Part("training", FOLDER / "accelerator_training.py", least=105),
    Part("sampling", FOLDER / "accelerator_sampling.py", least=70),
    Part("rematerialised", FOLDER / "accelerator_training.py", ("--rematerialise",), least=135),
    Part("run", FOLDER / "accelerator_run.py", (OUT,), least=115),
)
"""They need what they took on an H200: parity for its first cases, both trainings for their first
number of chunks, sampling for a batch of 64. The sum is half a minute less than the nine minutes:
imports take some of these."""

NAMED = {part.name: part for part in PARTS}
"""The parts by their names."""


def time_limit(left: float, part: Part, later: Sequence[Part]) -> float | None:
    """Returns a part's seconds: what is left but for the least that later parts need, as far as
    these fit in, one after the other.

    Returns:
        None if less is left than the part needs.
    """
    if left < part.least:
        return None
    reserve = 0.0
    for one in later:
        if part.least + reserve + one.least <= left:
            reserve += one.least
    return left - reserve


class Results:
    """The JSON file: for each part its state, the seconds that it took, and its figures. It is
    always whole.

    Attributes:
        parts: what the file holds.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.parts: dict[str, dict[str, Any]] = {}

    def note(self, part: Part, **what: Any) -> None:
        """Writes what is new of a part."""
        before = self.parts.get(part.name, {})
        self.parts[part.name] = after = before | what
        if after != before:
            with replacing(self._file) as path:
                path.write_text(json.dumps(self.parts, indent=2) + "\n")


def run_part(part: Part, out: Path, seconds: float, tiny: bool, results: Results) -> None:
    """Runs a part to its end, or for so many seconds, and notes its figures meanwhile."""
    begun = time.monotonic()
    results.note(part, state="running")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        options = ["--seconds", str(max(seconds - 2 * MARGIN, 1)), "--json", str(file), *(["--tiny"] if tiny else [])]
        command = [sys.executable, str(part.script), *(arg.replace(OUT, str(out)) for arg in part.arguments), *options]
        process = subprocess.Popen(command, env=ENVIRONMENT | os.environ, process_group=0)
        try:
            code = None
            while code is None and (left := begun + seconds - MARGIN - time.monotonic()) > 0:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(timeout=min(left, 1))
                if file.exists():
                    results.note(part, figures=json.loads(file.read_text()))
        finally:
            stop(process)
    took = round(time.monotonic() - begun, 1)
    ends = {None: f"stopped: it was not done after {took:.0f} s", 0: "done", 1: "failed: its figures or its output say why"}
    results.note(part, state=ends.get(code, f"failed: exit code {code}"), seconds=took)


def stop(process: subprocess.Popen) -> None:
    """Ends a process that still runs, kindly at first, and those that it started: they may run on
    when it has crashed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=MARGIN)
    with suppress(ProcessLookupError):  # none of its group is left
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=MARGIN)


def run_parts(parts: Sequence[Part], out: Path, seconds: float, tiny: bool) -> int:
    """Runs the parts one after the other within so many seconds; returns the exit code."""
    begun, results = time.monotonic(), Results(out / "accelerator.json")
    for i, part in enumerate(parts):
        left = seconds - (time.monotonic() - begun)
        limit = time_limit(left, part, parts[i + 1 :])
        if limit is None:
            results.note(part, state=f"skipped: it needs {part.least:.0f} s, {left:.0f} s are left")
        else:
            print(f"== {part.name}, at most {limit:.0f} s", flush=True)
            run_part(part, out, limit, tiny, results)
        print(f"== {part.name}: {results.parts[part.name]['state']}", flush=True)
    return int(any(result["state"].startswith(("failed", "stopped")) for result in results.parts.values()))


def main(
    out: Annotated[Path, tyro.conf.Positional],
    minutes: float = 9,
    parts: tuple[str, ...] = tuple(NAMED),
    tiny: bool = False,
) -> int:
    """Measures an accelerator.

    Args:
        out: folder of the results; made if it is not there.
        minutes: the time in which all ends.
        parts: to run.
        tiny: at sizes for a CPU, to see that the script works.
    """
    if unknown := [name for name in parts if name not in NAMED]:
        print(f"accelerator: there is no part {unknown[0]!r}; known are {', '.join(NAMED)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the part's process is ended, too
    chosen = [NAMED[name]._replace(least=1.0 if tiny else NAMED[name].least) for name in parts]
    return run_parts(chosen, out, 60 * minutes - 2 * MARGIN - (time.monotonic() - BEGUN), tiny)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
