"""Attacks on what docs/reliability.md promises: killed processes, full disks, damaged files, a demo
page in a crowd.

    python benchmarks/torture.py [--minutes 20 --only files --seed 1 --json FILE]

Each part has its share of the time and stops when that is over; the figures say how much it did.
Full disks need root (they are mounted in memory). Exit code 1 if something failed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from machine import Figure, Record
from torture_demo import crowd
from torture_files import mutants
from torture_folders import damage, disks, writers
from torture_kills import kills

from dct_jax.commands.ending import run_script

Part = Callable[[float, int], list[Figure]]

PARTS: dict[str, tuple[Part, float]] = {
    "kills": (kills, 0.45),
    "disks": (disks, 0.1),
    "files": (mutants, 0.3),
    "damage": (damage, 0.05),
    "writers": (writers, 0.05),
    "demo": (crowd, 0.05),
}
"""Each is given seconds and a seed; and its share of the time."""


def main(
    minutes: float = 20.0,
    only: Literal["kills", "disks", "files", "damage", "writers", "demo"] | None = None,
    seed: int = 0,
    json: Path | None = None,
) -> int:
    """Prints a table, and returns the exit code: 1 if something failed.

    Args:
        minutes: for all parts, or for the one that is named.
        only: that part alone.
        seed: of what is done when and where.
        json: where to write the figures.
    """
    record = Record(json)
    for name, (part, share) in PARTS.items():
        if only in (None, name):
            with record.attempt(name):
                figures = part(60 * minutes * (share if only is None else 1), seed)
                record.add(*figures)
                record.failed |= any("FAILED" in figure.unit for figure in figures)
    return int(record.failed)


if __name__ == "__main__":
    run_script(main)
