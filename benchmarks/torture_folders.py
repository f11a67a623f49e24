"""Runs on disks that are full or cannot be written, with damaged checkpoints, and with two
writers."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import Figure
from torture_kills import TRAIN, command, run_command


@contextmanager
def disk(options: str) -> Iterator[Path | None]:
    """Mounts a disk in memory; None if this user may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="torture-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False)
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def disks(seconds: float, seed: int) -> list[Figure]:
    """Trains until the disk is full, then with room again; on a disk without inodes, and on one
    that cannot be written."""
    if shutil.which("mount") is None or os.getuid():
        return [Figure("full disks", "not tried", "(needs root)")]
    rng, end, tried = random.Random(seed), time.monotonic() + seconds, 0
    tally: Counter[str] = Counter()
    sizes = iter([*(f"size={size}k" for size in rng.sample(range(100, 4000, 50), 40))])
    others = ["size=40m,nr_inodes=20", "size=40m,nr_inodes=60", "size=40m,nr_inodes=90", "size=40m,ro"]
    while time.monotonic() < end and (options := (others.pop() if others else next(sizes, None))):
        with disk(options) as folder:
            if folder is None:
                return [Figure("full disks", "not tried", "(nothing can be mounted here)")]
            done = run_command(command(*TRAIN, "--run-dir", folder / "run"))
            last = done.stderr.replace("\r", "\n").strip().splitlines()[-1:]
            tried += 1
            tally["tracebacks"] += "Traceback" in done.stdout + done.stderr
            tally["no line"] += done.returncode != 0 and not (last and last[0].startswith("dct_jax: "))
            tally["other codes"] += done.returncode not in (0, 2)
            if done.returncode and ",ro" not in options:
                room = ["mount", "-o", "remount,size=100m,nr_inodes=0", str(folder)]
                subprocess.run(room, check=True, capture_output=True)
                tally["do not go on"] += run_command(command(*TRAIN, "--run-dir", folder / "run")).returncode != 0
    bad = {name: number for name, number in tally.items() if number}
    return [Figure("disks that are full, without inodes, read-only", tried, f"FAILED: {bad}" if bad else "one line each")]


def damage(seconds: float, seed: int) -> list[Figure]:
    """Tries every file of a checkpoint: deleted, emptied, halved, and a bit flipped at 20 places;
    then it is loaded."""
    from dct_jax.run import load

    rng, end, tried, refused, wrong, other = random.Random(seed), time.monotonic() + seconds, 0, 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        run = Path(folder) / "run"
        assert run_command(command(*TRAIN, "--run-dir", run)).returncode == 0
        wanted = {path.name: load(path).fingerprint for path in (run / "checkpoints").iterdir()}
        best = max(wanted, key=int)
        files = [path for path in sorted((run / "checkpoints" / best).rglob("*")) if path.is_file() and path.stat().st_size]
        attacks = [(path, kind) for path in files for kind in ("delete", "empty", "halve", *range(20))]
        rng.shuffle(attacks)
        for path, kind in attacks:
            if time.monotonic() > end:
                break
            before = path.read_bytes()
            if kind == "delete":
                path.unlink()
            elif isinstance(kind, int):
                changed = bytearray(before)
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
                path.write_bytes(changed)
            else:
                path.write_bytes(before[: 0 if kind == "empty" else len(before) // 2])
            tried += 1
            try:
                wrong += load(run).fingerprint not in wanted.values()
            except ValueError as error:
                refused += 1
                other += "\n" in str(error)
            except Exception:
                other += 1
            path.write_bytes(before)
    bad = f", FAILED: {wrong} load wrong, {other} end otherwise" if wrong or other else ""
    return [Figure("damaged files of checkpoints", tried, f"{refused} refused in a line{bad}")]


def writers(seconds: float, seed: int) -> list[Figure]:
    """Begins to train twice in one folder at once: one does, the other says who."""
    rng, end, tried, wrong = random.Random(seed), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end and tried < 10:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            arguments = command(*TRAIN, "--run-dir", Path(folder) / "run")
            both = []
            for _ in range(2):
                both.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
                time.sleep(rng.choice([0, 0, 0.3]))
            said = [process.communicate() for process in both]
            codes = sorted(process.returncode for process in both)
            tried += 1
            # The second may also have come when the first was done, with nothing left to do.
            wrong += codes not in ([0, 2], [0, 0]) or (codes == [0, 2] and not any("is in training" in x for _, x in said))
    return [Figure("two writers of one run", tried, f"FAILED: {wrong}" if wrong else "one each")]
