"""Trains an experiment: on this machine, in several processes of it, or as one task of Slurm, of a
TPU pod or of Open MPI.

    python experiments/launch.py landscapes               this machine: all its GPUs, or its CPU
    python experiments/launch.py landscapes --processes 2 --devices-per-process 2
                                                          two CPU processes of it
    srun python experiments/launch.py landscapes          every task of a Slurm job
    python experiments/launch.py landscapes --cluster     on every host of a TPU pod

What else is given goes to `python -m dct_jax train EXPERIMENT`. docs/training.md has more.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dct_jax.commands.arguments import parse
from dct_jax.commands.ending import exit_code, leave
from dct_jax.commands.train import Train
from dct_jax.distributed.launching import lacks_srun, processes_of, supervise
from dct_jax.experiment import load_experiment


class Parser(argparse.ArgumentParser):
    """A parser whose errors are of one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def count(text: str) -> int:
    """Reads a number of things, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is {text!r}; it must be 1 or more")
    return int(text)


def arguments(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Reads our arguments, and those of `train`.

    Raises:
        ValueError: if one of them is wrong.
    """
    parser = Parser("launch.py", "launch.py EXPERIMENT [options] [overrides]", __doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "`python -m dct_jax train EXPERIMENT --help` lists the overrides."
    parser.add_argument("--processes", type=count, metavar="N", help="CPU processes of this machine to train in together")
    parser.add_argument("--devices-per-process", type=count, metavar="M", help="CPU devices of each of them (1)")
    parser.add_argument("--cluster", action="store_true", help="several processes, which JAX is to find by itself")
    own, rest = parser.parse_known_args(args)
    if not rest or rest[0].startswith("-") or rest[0] != args[0]:
        raise ValueError("the first argument must be an experiment, as in: python experiments/launch.py landscapes")
    if own.devices_per_process and not own.processes:
        raise ValueError("--devices-per-process is for --processes; name that, too")
    # Wrong overrides are better told once than by every process.
    parse(Train, rest[1:], f"train {rest[0]}", Train(load_experiment(rest[0]), "runs"))
    return own, rest


def main(args: Sequence[str]) -> int:
    """Returns the exit code: 0, 2 for wrong arguments, 128 + n after signal n, else that of the
    process that failed."""
    return exit_code("launch", lambda: _launch(args))


def _launch(args: Sequence[str]) -> int:
    own, rest = arguments(args)
    processes = processes_of(own.processes, own.devices_per_process or 1, own.cluster, os.environ)
    if lacks_srun(os.environ):
        print("launch: this Slurm job has several tasks, but only its script runs this; start it by srun", file=sys.stderr)
    return supervise([sys.executable, "-m", "dct_jax", "train", *rest], processes, os.environ)


if __name__ == "__main__":
    leave("launch", lambda: main(sys.argv[1:]))
