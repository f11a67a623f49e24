"""Everything that has to be known about an accelerator, in one run that ends in time: are its results right, how fast are they?

    python benchmarks/accelerator.py OUT [--minutes 9 --parts parity training sampling rematerialised run]

OUT gets accelerator.json, and of the last part samples.png, checkpoint.tar.gz and optimizer.tar.gz: four files, none above
16 MB, no folders. Where a machine is lent for one command, that line is the command; the package must be importable there
(`PYTHONPATH=.` in a checkout) and JAX must see the device (`JAX_PLATFORMS=cuda` makes sure that it is not the CPU).

Each part is a script of its own and runs in a process of its own: one that fails, hangs, or leaves a device in disorder does
not stop those after it. A part may use all of the time that is left but for the least that the later ones need. The exit code
is 1 if one failed or was stopped. Beside a figure stands what arithmetic predicts (roofline.py).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from dct_jax.files import replacing

FOLDER = Path(__file__).parent
OUT = "{out}"
"""In a part's arguments: the folder of results."""

TIDY_SECONDS = 10
"""That a part has between the time it is given and the time it is stopped at."""


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
    Part("parity", FOLDER / "accelerator_parity.py", least=90),
    Part("training", FOLDER / "accelerator_training.py", least=110),
    Part("sampling", FOLDER / "accelerator_sampling.py", least=90),
    Part("rematerialised", FOLDER / "accelerator_training.py", ("--rematerialise",), least=100),
    Part("run", FOLDER / "accelerator_run.py", (OUT,), least=100),
)


def allowed(left: float, part: Part, later: Sequence[Part]) -> float | None:
    """Seconds for a part: what is left but for the least that later parts need, as far as these fit in, one after the other.

    Returns:
        None if less is left than the part needs.
    """
    if left < part.least:
        return None
    kept = 0.0
    for one in later:
        if part.least + kept + one.least <= left:
            kept += one.least
    return left - kept


def run_part(part: Part, out: Path, seconds: float, tiny: bool, result: dict[str, Any], written: "Results") -> None:
    """Runs a part to its end, or for so many seconds, and keeps `result` and the file up to date meanwhile."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        options = ["--seconds", str(max(seconds - TIDY_SECONDS, 1)), "--json", str(file), *(["--tiny"] if tiny else [])]
        command = [sys.executable, str(part.script), *(arg.replace(OUT, str(out)) for arg in part.arguments), *options]
        # JAX takes three quarters of a GPU's memory by itself.
        process = subprocess.Popen(command, env={"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"} | os.environ)
        try:
            code = None
            while code is None and time.monotonic() - begun < seconds:
                try:
                    code = process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    pass
                written.update(result, file)
        finally:
            stop(process)
            written.update(result, file)
    result["seconds"] = round(time.monotonic() - begun, 1)
    ends = {None: f"stopped: it was not done after {seconds:.0f} s", 0: "done"}
    result["state"] = ends.get(code, "failed: its output says why" if code == 1 else f"failed: exit code {code}")


def stop(process: subprocess.Popen) -> None:
    """Ends a process that still runs, kindly at first."""
    process.send_signal(signal.SIGTERM)  # nothing happens if it has ended
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Results:
    """The JSON file: for each part its state, the seconds that it took, and its figures."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.parts: dict[str, dict[str, Any]] = {}

    def update(self, result: dict[str, Any], figures: Path) -> None:
        """Takes over the figures that a part has written so far, and writes the file if anything changed."""
        if figures.exists() and (new := json.loads(figures.read_text())) != result.get("figures"):
            result["figures"] = new
            self.write()

    def write(self) -> None:
        """The file is always whole."""
        with replacing(self._file) as path:
            path.write_text(json.dumps(self.parts, indent=2) + "\n")


def run_parts(parts: Sequence[Part], out: Path, seconds: float, tiny: bool) -> int:
    """Runs the parts one after the other within so many seconds; returns the exit code."""
    begun, results = time.monotonic(), Results(out / "accelerator.json")
    for i, part in enumerate(parts):
        left = seconds - (time.monotonic() - begun)
        limit = allowed(left, part, parts[i + 1 :])
        if limit is None:
            state = f"skipped: it needs {part.least:.0f} s, {left:.0f} s are left"
            results.parts[part.name] = {"state": state}
        else:
            print(f"== {part.name}, at most {limit:.0f} s", flush=True)
            results.parts[part.name] = result = {"state": "running"}
            results.write()
            run_part(part, out, limit, tiny, result, results)
        results.write()
        print(f"== {part.name}: {results.parts[part.name]['state']}", flush=True)
    return int(any(result["state"].startswith(("failed", "stopped")) for result in results.parts.values()))


def main(
    out: Annotated[Path, tyro.conf.Positional],
    minutes: float = 9,
    parts: tuple[str, ...] = tuple(part.name for part in PARTS),
    tiny: bool = False,
) -> int:
    """Measures an accelerator.

    Args:
        out: folder of the results; made if it is not there.
        minutes: in which all ends.
        parts: to run.
        tiny: at sizes for a CPU, to see that the script works.
    """
    named = {part.name: part for part in PARTS}
    if unknown := [name for name in parts if name not in named]:
        print(f"accelerator: there is no part {unknown[0]!r}; known are {', '.join(named)}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    chosen = [named[name]._replace(least=1.0 if tiny else named[name].least) for name in parts]
    return run_parts(chosen, out, 60 * minutes - TIDY_SECONDS, tiny)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
