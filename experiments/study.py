"""The study of all systems: the same pictures, the same minutes of training, the same small search,
three seeds.

    python experiments/study.py speed fashion             # alone on a quiet machine: seconds a step
    python experiments/study.py search fashion            # five trials of each system, 10 minutes
    python experiments/study.py train fashion             # three seeds of each system
    python experiments/study.py compare fashion           # one table of them all

The data are `fashion` or `landscapes`. Each command goes on where it was stopped. `speed` and
`search` write into docs/results/study/, which is committed: `train` takes from there how many steps
fit into the minutes, so it does not matter what else runs beside it. Runs go to runs/study/.

A system of two stages divides its minutes between autoencoder and prior. The search looks for the
learning rates, as a factor of the experiment's own, and that share; it keeps what gives the lowest
FD-AlexNet of 500 samples.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dct_jax.commands import main
from dct_jax.commands.compare import in_child
from dct_jax.commands.evaluate import Evaluate
from dct_jax.commands.measuring import measure_run
from dct_jax.config import RunConfig
from dct_jax.experiment import load_experiment
from dct_jax.storage.files import replacing

Data = Literal["fashion", "landscapes"]
RESULTS, RUNS = Path("docs/results/study"), Path("runs/study")
SEEDS = (0, 1, 2)
SEARCH_SEED, SEARCH_MINUTES, SAMPLES = 100, 10.0, 500
TIMED = 40
"""Steps whose seconds are measured, after as many that are not."""


@dataclass(frozen=True)
class Contender:
    """A system that samples pictures.

    Attributes:
        name: of its runs.
        stages: the configurations of its runs: of an autoencoder and a prior, or of one model.
    """

    name: str
    stages: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Choice:
    """What the search chooses.

    Attributes:
        rate: all learning rates, by those of the experiment.
        share: of the minutes, the part of the first of two stages.
    """

    rate: float = 1.0
    share: float = 0.5


def contenders(data: Data) -> list[Contender]:
    """Returns the systems, with the configurations of their experiments and the same pictures."""
    if data == "fashion":
        model, autoencoders = load_experiment("fashion"), [load_experiment(f"{kind}_fashion") for kind in ("vqvae", "dq")]
    else:
        model, autoencoders = (
            load_experiment("landscapes"),
            [load_experiment(f"{kind}_landscapes_64") for kind in ("vqgan", "dq")],
        )
    grid, dynamic = (replace(one, data=model.data) for one in autoencoders)
    codes = replace(load_experiment("window_fashion").codes, run="", num_classes=10 if data == "fashion" else 0)
    suffix = "fashion" if data == "fashion" else "landscapes_64"

    def prior(experiment: str, autoencoder: RunConfig) -> RunConfig:
        return replace(load_experiment(experiment), data=model.data, codes=codes, autoencoder=autoencoder)

    return [
        Contender("dctransformer", (model,)),
        Contender("window", (grid, prior(f"window_{suffix}", grid))),
        Contender("sundae", (grid, prior(f"sundae_{suffix}", grid))),
        Contender("dq_transformer", (dynamic, prior("dq_transformer_fashion", dynamic))),
    ]


def trials(contender: Contender) -> list[Choice]:
    """Returns five choices that the search tries."""
    if len(contender.stages) == 1:
        return [Choice(rate, 1.0) for rate in (0.35, 0.5, 0.7, 1.0, 1.4)]
    return [Choice(), Choice(0.5), Choice(2.0), Choice(share=0.35), Choice(share=0.65)]


def plan(contender: Contender, choice: Choice, minutes: float, speeds: Sequence[float], seed: int) -> list[RunConfig]:
    """Returns the configurations of a contender's runs, whose steps fit into the minutes.

    Args:
        contender: whose stages they are.
        choice: learning rates and share.
        minutes: of all its stages together.
        speeds: seconds a step of each stage.
        seed: of all runs.
    """
    shares = [1.0] if len(contender.stages) == 1 else [choice.share, 1 - choice.share]
    plans = []
    for stage, share, speed in zip(contender.stages, shares, speeds):
        steps = max(8, round(60 * minutes * share / speed))
        before = stage.training
        training = replace(
            before,
            steps=steps,
            warmup_steps=min(before.warmup_steps, steps // 8),
            learning_rate=choice.rate * before.learning_rate,
            muon_learning_rate=choice.rate * before.muon_learning_rate,
            evaluate_every=max(1, steps // 4),
            checkpoint_every=max(1, steps // 8),
            track=(),
        )
        loss: Any = getattr(stage, "loss", None)
        if loss is not None:  # the discriminator starts at the same place among the steps, or never
            start = min(1.0, loss.adversarial_start / before.steps)
            stage = replace(stage, loss=replace(loss, adversarial_start=int(start * steps)))  # type: ignore[call-arg]
        plans.append(replace(stage, training=training, seed=seed))
    return plans


def run_folders(folder: Path, stages: int) -> list[Path]:
    """Returns the folders of a contender's runs: that of its samples is the last."""
    return [folder] if stages == 1 else [folder.with_name(f"{folder.name}_autoencoder"), folder]


def train(plans: Sequence[RunConfig], folder: Path) -> None:
    """Trains a contender's stages, each in a process of its own."""
    folders = run_folders(folder, len(plans))
    for number, (config, run) in enumerate(zip(plans, folders)):
        if number:
            codes = replace(config.codes, run=str(folders[number - 1]))  # type: ignore[attr-defined]
            config = replace(config, codes=codes)  # type: ignore[call-arg]
        in_child(partial(_train_to_end, config, run))


def _train_to_end(config: RunConfig, folder: Path) -> None:
    from dct_jax.run import train_at

    outcome = train_at(config, folder)
    if outcome.signal:
        raise ValueError(f"{outcome.signal} stopped {folder}; the same command goes on from there")


def speed(data: Data) -> None:
    """Measures seconds a step of every stage, and writes them into the results."""
    file, folder = RESULTS / f"speed_{data}.json", RUNS / "speed" / f"{data}_{int(time.time())}"
    speeds = {}
    for contender in contenders(data):
        stages, steps = len(contender.stages), 2 * TIMED
        plans = plan(contender, Choice(), stages * steps / 60, [1.0] * stages, seed=0)  # so many steps each
        changes = {"evaluate_every": steps, "checkpoint_every": steps}
        plans = [replace(one, training=replace(one.training, **changes)) for one in plans]
        train(plans, folder / contender.name)
        speeds[contender.name] = [_seconds_a_step(run) for run in run_folders(folder / contender.name, len(plans))]
        print(contender.name, *(f"{one:.4f} s" for one in speeds[contender.name]), flush=True)
    _write(file, speeds)


def _seconds_a_step(run: Path) -> float:
    """Reads from a run's metrics how long a step takes once all is compiled."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    times = {record["step"]: record["time"] for record in map(json.loads, lines) if "seconds" in record}
    last = max(times)
    return (times[last] - times[TIMED]) / (last - TIMED)


def search(data: Data) -> None:
    """Tries choices for every system, and writes them and the best ones into the results."""
    file, speeds = RESULTS / f"search_{data}.json", _read(RESULTS / f"speed_{data}.json")
    found: dict[str, Any] = _read(file) if file.exists() else {}
    for contender in contenders(data):
        for choice in trials(contender):
            name = f"{contender.name}_{choice.rate:g}_{choice.share:g}"
            if name in found:
                continue
            plans = plan(contender, choice, SEARCH_MINUTES, speeds[contender.name], SEARCH_SEED)
            run = RUNS / data / "search" / name
            train(plans, run)
            options = Evaluate(run=str(run), coders=False, samples=SAMPLES)
            measures = in_child(partial(measure_run, options, name, (SEARCH_SEED,), False))
            distance = measures.samples[0].metrics["alexnet"]["measures"]["FD-AlexNet"]["value"]
            found[name] = {"system": contender.name, "rate": choice.rate, "share": choice.share, "FD-AlexNet": distance}
            print(name, f"{distance:.3f}", flush=True)
            _write(file, found)


def chosen(data: Data, contender: Contender) -> Choice:
    """Returns the best of a system's trials."""
    found = _read(RESULTS / f"search_{data}.json").values()
    best = min((one for one in found if one["system"] == contender.name), key=lambda one: one["FD-AlexNet"])
    return Choice(best["rate"], best["share"])


def folder_of(data: Data, contender: Contender, minutes: float, seed: int) -> Path:
    """Returns the folder of a cell's runs."""
    return RUNS / data / f"{minutes:g}_minutes" / f"{contender.name}_{seed}"


def train_all(data: Data, minutes: float, seeds: Sequence[int]) -> None:
    """Trains every system with what the search chose, seed by seed."""
    speeds = _read(RESULTS / f"speed_{data}.json")
    for seed in seeds:
        for contender in contenders(data):
            plans = plan(contender, chosen(data, contender), minutes, speeds[contender.name], seed)
            print(contender.name, seed, *(f"{one.training.steps} steps" for one in plans), flush=True)
            train(plans, folder_of(data, contender, minutes, seed))


def compare(data: Data, minutes: float, seeds: Sequence[int]) -> None:
    """Compares all runs, and their autoencoders, in one table."""
    runs = []
    for contender in contenders(data):
        for seed in seeds:
            folder = folder_of(data, contender, minutes, seed)
            runs += map(str, run_folders(folder, len(contender.stages)))
    out = str(RESULTS / f"{data}_{minutes:g}_minutes")
    main(["compare", *runs, "--samples", str(SAMPLES), "--own-data", "--out", out])


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise SystemExit(f"{file} is not there; the command that is named like it writes it")
    return json.loads(file.read_text())


def _write(file: Path, content: dict[str, Any]) -> None:
    with replacing(file) as path:
        path.write_text(json.dumps(content, indent=1) + "\n")


def run(
    command: Annotated[Literal["speed", "search", "train", "compare"], tyro.conf.Positional],
    data: Annotated[Data, tyro.conf.Positional],
    minutes: float = 10.0,
    seeds: tuple[int, ...] = SEEDS,
) -> None:
    """Runs a part of the study.

    Args:
        command: the part.
        data: the pictures.
        minutes: of training, on two cores, for `train` and `compare`.
        seeds: of the runs.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    if command == "speed":
        speed(data)
    elif command == "search":
        search(data)
    elif command == "train":
        train_all(data, minutes, seeds)
    else:
        compare(data, minutes, seeds)


if __name__ == "__main__":
    tyro.cli(run)
