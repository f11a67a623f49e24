"""Processes that are killed at random moments, and what they leave."""

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import Figure

TRAIN = ["train", "debug", "--training.steps", "40", "--training.checkpoint-every", "2", "--training.evaluate-every", "10"]


def command(*args: object) -> list[str]:
    """Returns the command `python -m dct_jax ...`."""
    return [sys.executable, "-m", "dct_jax", *map(str, args)]


def kill(args: list[str], after: float) -> bool:
    """Runs a command, and kills it after so many seconds; returns whether it still ran."""
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def run_command(args: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(args, capture_output=True, text=True, check=False, timeout=300)


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Returns the SHA-256 of files, by their paths below the folder."""
    files = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kills(seconds: float, seed: int) -> list[Figure]:
    """Kills 100 commands: 60 of training, and 40 of sampling, compressing and preparing data."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        root = Path(folder)
        return [*_training(root, 0.65 * seconds, rng), *_others(root, 0.35 * seconds, rng)]


def _fingerprint(run: Path) -> str:
    from dct_jax.run import load

    return load(run).fingerprint


def _training(root: Path, seconds: float, rng: random.Random) -> list[Figure]:
    """Kills runs until they are complete; they must equal one that was not killed."""
    end, kills, runs, wrong, tracebacks = time.monotonic() + seconds, 0, 0, 0, 0
    assert run_command(command(*TRAIN, "--run-dir", root / "whole")).returncode == 0
    wanted, numbers = _fingerprint(root / "whole"), _numbers(root / "whole")
    while kills < 60 and time.monotonic() < end:
        run = root / f"run{runs}"
        arguments, complete = command(*TRAIN, "--run-dir", run), False
        for _ in range(12):
            if not kill(arguments, rng.uniform(1.5, 9)):
                complete = True
                break
            kills += 1
        done = run_command(arguments)
        runs += 1
        tracebacks += "Traceback" in done.stdout + done.stderr
        wrong += done.returncode != 0 or _fingerprint(run) != wanted or _numbers(run) != numbers
        if complete and time.monotonic() > end:
            break
    bad = f", FAILED: {wrong} differ, {tracebacks} tracebacks" if wrong or tracebacks else ", all as if none had been killed"
    return [Figure("kills of training", kills, f"over {runs} runs{bad}")]


def _numbers(run: Path) -> list[tuple[int, object, object]]:
    """Returns what the log says of the model."""
    from dct_jax.training.metrics_log import read_records

    records = read_records(run / "metrics.jsonl")
    return [(record["step"], record.get("nats_per_triple"), record.get("held_out")) for record in records]


def _others(root: Path, seconds: float, rng: random.Random) -> list[Figure]:
    from dct_jax.commands.runs import load_dct
    from dct_jax.data.sources import LANDSCAPES

    pictures = root / "pictures"
    pictures.mkdir()
    model = load_dct(str(root / "whole"), "torture.py")
    for i, path in enumerate(sorted(LANDSCAPES.glob("*.jpg"))[:20]):
        from dct_jax.data.pixels import decode_image

        height, width = model.config.data.image_size
        pixels = decode_image(path.read_bytes(), ("JPEG",))[:height, :width]
        (pictures / f"{i:02}.jpg").write_bytes(model.codec.encode(pixels).to_jpeg())
    kinds: dict[str, tuple[list[object], str]] = {
        "sampling": (["sample", root / "whole", "--num", 8, "--out"], "*.png"),
        "compressing": (["compress", root / "whole", pictures, "--out"], "*.dct"),
        "preparing": (["prepare", f"folder:{pictures}", "--out"], "*"),
    }
    figures = []
    for name, (arguments, pattern) in kinds.items():
        end, number, rounds, wrong = time.monotonic() + seconds / len(kinds), 0, 0, 0
        done = run_command(command(*arguments, root / f"{name}-whole"))
        assert done.returncode == 0, done.stderr
        wanted = contents(root / f"{name}-whole", pattern)
        while number < 13 and time.monotonic() < end:
            out, rounds = root / f"{name}-{rounds}", rounds + 1
            for _ in range(5):
                number += kill(command(*arguments, out), rng.uniform(0.5, 8))
                left = contents(out, pattern)
                whole = {path: digest for path, digest in left.items() if not Path(path).name.startswith(".")}
                # What stands there under its name is whole; hidden files are those that were being
                # written.
                wrong += name != "preparing" and any(wanted.get(path) != digest for path, digest in whole.items())
            done = run_command(command(*arguments, out))
            again = {path: digest for path, digest in contents(out, pattern).items() if not Path(path).name.startswith(".")}
            same = wanted.keys() <= again.keys() if name == "preparing" else wanted == again
            refuses = name == "preparing" and "is there already" in done.stderr  # it was complete
            wrong += not same or (done.returncode != 0 and not refuses)
        figures.append(Figure(f"kills of {name}", number, f"FAILED: {wrong} differ" if wrong else "done again, equal"))
    return figures
