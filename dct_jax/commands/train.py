"""The command train, which trains a run."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dct_jax.commands.arguments import parse, say
from dct_jax.config import RunConfig
from dct_jax.experiment import load_experiment
from dct_jax.training.signals import stop_signals


@dataclass(frozen=True)
class Train:
    """Trains an experiment, or goes on with it.

    Attributes:
        config: of the run; every field can be overridden.
        run_dir: folder of the run, also gs://... and s3://...; runs/EXPERIMENT by default.
        latest_whole: set damaged checkpoints aside and go on from the latest that is whole.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    run_dir: str
    latest_whole: bool = False


def train(args: Sequence[str]) -> int:
    """Runs `train EXPERIMENT [overrides]`."""
    if not args or args[0].startswith("-"):
        if any(arg in ("-h", "--help") for arg in args):
            return say("usage: python -m dct_jax train EXPERIMENT [overrides]; train EXPERIMENT --help lists the overrides")
        raise ValueError("train needs the name of an experiment, as in: python -m dct_jax train landscapes")
    config = load_experiment(args[0])
    default = Train(config, str(Path("runs") / Path(args[0]).stem))
    command = parse(Train, args[1:], f"train {args[0]}", default)
    with stop_signals() as signals:
        # JAX starts here and not with the command line, which answers at once.
        import jax

        from dct_jax.distributed.processes import join_processes
        from dct_jax.run import train_at

        with join_processes():
            speaks = jax.process_index() == 0
            outcome = train_at(command.config, command.run_dir, command.latest_whole, signals)
    if not speaks:
        return 128 + signal.Signals[outcome.signal] if outcome.signal else 0
    for line in outcome.skipped:
        say(f"{line}; the log above names them")
    if outcome.signal:
        progress = f"after step {outcome.step}, saved" if outcome.step else "before the first step"
        print(f"stopped by {outcome.signal} {progress}; the same command goes on from there")
        return 128 + signal.Signals[outcome.signal]
    for line in outcome.stage.conclusion(outcome.evaluation, outcome.held_out) if outcome.evaluation else []:
        say(line)
    return say(f"the run is in {command.run_dir}: checkpoints/, metrics.jsonl, TensorBoard events")
