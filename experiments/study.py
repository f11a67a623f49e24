"""The study of all systems: the same pictures, the same minutes of training, the same small search,
three seeds.

    python experiments/study.py speed fashion             # alone on a quiet machine: seconds a step
    python experiments/study.py search fashion            # five trials of each system, 3 minutes
    python experiments/study.py train fashion             # three seeds of each system
    python experiments/study.py compare fashion           # one table of them all

The data are `fashion` or `landscapes`. Each command goes on where it was stopped. `speed` and
`search` write into docs/results/study/, which is committed: `train` takes from there how many steps
fit into the minutes, so it does not matter what else runs beside it. With `--together 2` two
trainings run at a time, on a core each. Runs go to runs/study/.

A system of two stages divides its minutes between autoencoder and prior. The search looks for the
learning rates, as a factor of the experiment's own, and that share; it keeps what gives the lowest
FD-AlexNet of 500 samples. Systems whose autoencoders have equal configurations share them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dct_jax.commands import main
from dct_jax.commands.compare import in_child
from dct_jax.config import RunConfig
from dct_jax.experiment import load_experiment
from dct_jax.storage.files import replacing

Data = Literal["fashion", "landscapes"]
RESULTS, RUNS = Path("docs/results/study"), Path("runs/study")
SEEDS = (0, 1, 2)
SEARCH_SEED, SEARCH_MINUTES, SAMPLES, REFERENCES = 100, 3.0, 500, 10_000
TIMED = 100
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
    model, suffix = load_experiment(data), "fashion" if data == "fashion" else "landscapes_64"
    grid, dynamic = load_experiment(f"vqvae_{suffix}"), replace(load_experiment("dq_fashion"), data=model.data)
    dq_transformer: Any = load_experiment("dq_transformer_fashion")
    if data == "landscapes":
        # dq_landscapes_64 learns from LPIPS, which takes more than nine tenths of a step on two
        # cores, and from the network of FD-AlexNet, the ruler here. So this is the DQ-VAE of
        # Fashion-MNIST with one level more: codes of 8 x 8 pixels, and of 4 x 4 in half of the
        # regions.
        dynamic = replace(dynamic, model=replace(dynamic.model, multipliers=(1, 1, 1)))  # type: ignore[attr-defined, call-arg]
        dq_transformer = replace(dq_transformer, training=replace(dq_transformer.training, batch_size=16))

    def prior(config: Any, autoencoder: RunConfig) -> RunConfig:
        codes = replace(config.codes, run="", num_classes=10 if data == "fashion" else 0)
        products = replace(config.model, products="bfloat16")
        return replace(config, data=model.data, codes=codes, model=products, autoencoder=autoencoder)

    return [
        Contender("dctransformer", (model,)),
        Contender("window", (grid, prior(load_experiment(f"window_{suffix}"), grid))),
        Contender("sundae", (grid, prior(load_experiment(f"sundae_{suffix}"), grid))),
        Contender("dq_transformer", (dynamic, prior(dq_transformer, dynamic))),
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


@dataclass(frozen=True)
class Cell:
    """A contender that is trained, with one choice and one seed.

    Attributes:
        plans: the configurations of its stages.
        folder: of the run that samples. Its autoencoder, if it has one, lies in a folder that is
            named by the autoencoder's configuration.
    """

    plans: tuple[RunConfig, ...]
    folder: Path

    @property
    def folders(self) -> list[Path]:
        """The folders of the stages."""
        if len(self.plans) == 1:
            return [self.folder]
        return [self.folder.parent / f"{self.plans[0].system}_{_digest(self.plans[0])}", self.folder]


def train(cells: Sequence[Cell], together: int) -> None:
    """Trains cells, each stage in a process of its own: first what others build on.

    Args:
        cells: what is trained.
        together: how many trainings run at a time.
    """
    firsts = {cell.folders[0]: cell.plans[0] for cell in cells}
    run_together([partial(_train_to_end, config, run) for run, config in firsts.items()], together)
    seconds = []
    for cell in cells:
        if len(cell.plans) == 2:
            codes = replace(cell.plans[1].codes, run=str(cell.folders[0]))  # type: ignore[attr-defined]
            seconds.append(partial(_train_to_end, replace(cell.plans[1], codes=codes), cell.folder))  # type: ignore[call-arg]
    run_together(seconds, together)


def _digest(config: RunConfig) -> str:
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def run_together(functions: Sequence[Callable[[], None]], together: int) -> None:
    """Calls functions in processes of their own, so many at a time, which share the cores."""
    cores = sorted(os.sched_getaffinity(0))
    shares = [set(cores[number::together]) for number in range(together)]

    def work(share: set[int], mine: Iterable[Callable[[], None]]) -> None:
        for function in mine:
            in_child(partial(_on_cores, share, function))

    waiting = iter(functions)  # a worker that is free takes the next one
    with ThreadPoolExecutor(together) as pool:
        for outcome in [pool.submit(work, share, waiting) for share in shares]:
            outcome.result()


def _on_cores(cores: set[int], function: Callable[[], None]) -> None:
    os.sched_setaffinity(0, cores)
    function()


def _train_to_end(config: RunConfig, folder: Path) -> None:
    from dct_jax.run import train_at

    complete, digest = folder / "complete", _digest(config)
    if complete.exists() and complete.read_text() == digest:
        return
    outcome = train_at(config, folder)
    if outcome.signal:
        raise ValueError(f"{outcome.signal} stopped {folder}; the same command goes on from there")
    complete.write_text(digest)
    print(folder, f"{config.training.steps} steps", flush=True)


def speed(data: Data) -> None:
    """Measures seconds a step of every stage, and writes them into the results."""
    file, folder = RESULTS / f"speed_{data}.json", RUNS / "speed" / f"{data}_{int(time.time())}"
    speeds = {}
    for contender in contenders(data):
        stages, steps = len(contender.stages), 2 * TIMED
        plans = plan(contender, Choice(), stages * steps / 60, [1.0] * stages, seed=0)  # so many steps each
        once = [replace(one.training, evaluate_every=steps, checkpoint_every=steps) for one in plans]
        cell = Cell(tuple(replace(one, training=x) for one, x in zip(plans, once)), folder / contender.name)
        train([cell], together=1)
        speeds[contender.name] = [_seconds_a_step(run) for run in cell.folders]
        print(contender.name, *(f"{one:.4f} s" for one in speeds[contender.name]), flush=True)
    _write(file, {name: [round(one, 4) for one in seconds] for name, seconds in speeds.items()})


def _seconds_a_step(run: Path) -> float:
    """Reads from a run's metrics how long a step takes once all is compiled."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    times = {record["step"]: record["time"] for record in map(json.loads, lines) if "held_out" not in record}
    last = max(times)
    return (times[last] - times[TIMED]) / (last - TIMED)


def search(data: Data, together: int) -> None:
    """Tries choices for every system, and writes into the results how near their samples come."""
    speeds, found = _read(RESULTS / f"speed_{data}.json"), {}
    cells = {}
    for contender in contenders(data):
        for choice in trials(contender):
            name = f"{contender.name}_{choice.rate:g}_{choice.share:g}"
            plans = plan(contender, choice, SEARCH_MINUTES, speeds[contender.name], SEARCH_SEED)
            cells[name] = Cell(tuple(plans), RUNS / data / "search" / name)
            found[name] = {"system": contender.name, "rate": choice.rate, "share": choice.share}
    train(list(cells.values()), together)
    run_together([partial(_measure_samples, cell.folder) for cell in cells.values()], together)
    for name, cell in cells.items():
        found[name] |= _read(cell.folder / "distance.json")
        print(name, found[name]["FD-AlexNet"], flush=True)
    _write(RESULTS / f"search_{data}.json", found)


def _measure_samples(run: Path) -> None:
    """Writes FD-AlexNet of samples of a run into its folder, unless it is there."""
    from dct_jax.commands.own_data import own_sources
    from dct_jax.comparison.samples import Judges, measure_samples
    from dct_jax.data.pictures import SeenPictures
    from dct_jax.evaluation.features import feature_network
    from dct_jax.evaluation.reference import statistics
    from dct_jax.evaluation.sample_metrics import KEEP
    from dct_jax.run import load
    from dct_jax.storage.caches import cache_folder

    file, model = run / "distance.json", load(run)
    if file.exists() and _read(file)["fingerprint"] == model.fingerprint:
        return
    real, network = SeenPictures(own_sources(model.config.data, True)[0], model.config, REFERENCES), feature_network("alexnet")
    batch = min(50, len(real), SAMPLES)
    known = statistics(network, real, KEEP, batch, cache_folder(), "training pictures")
    judges = Judges(real.labels(SAMPLES), [(network, known)], None)
    measures = measure_samples(model, judges, SAMPLES, SEARCH_SEED, batch).metrics["alexnet"]["measures"]  # type: ignore[arg-type]
    _write(file, {"fingerprint": model.fingerprint, "FD-AlexNet": round(measures["FD-AlexNet"]["value"], 4)})


def chosen(data: Data, contender: Contender) -> Choice:
    """Returns the best of a system's trials."""
    found = _read(RESULTS / f"search_{data}.json").values()
    best = min((one for one in found if one["system"] == contender.name), key=lambda one: one["FD-AlexNet"])
    return Choice(best["rate"], best["share"])


def make_cells(data: Data, minutes: float, seeds: Sequence[int]) -> list[Cell]:
    """Returns all systems with what the search chose for them, seed by seed."""
    speeds, folder = _read(RESULTS / f"speed_{data}.json"), RUNS / data / f"{minutes:g}_minutes"
    return [
        Cell(tuple(plan(one, chosen(data, one), minutes, speeds[one.name], seed)), folder / f"{one.name}_{seed}")
        for seed in seeds
        for one in contenders(data)
    ]


def compare(data: Data, minutes: float, seeds: Sequence[int]) -> None:
    """Compares all runs in one table."""
    runs = [str(cell.folder) for cell in make_cells(data, minutes, seeds)]
    main(["compare", *runs, "--samples", str(SAMPLES), "--own-data", "--out", str(RESULTS / f"{data}_{minutes:g}_minutes")])


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
    together: int = 1,
) -> None:
    """Runs a part of the study.

    Args:
        command: the part.
        data: the pictures.
        minutes: of training, on two cores, for `train` and `compare`.
        seeds: of the runs.
        together: how many trainings run at a time, for `search` and `train`.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    if command == "speed":
        speed(data)
    elif command == "search":
        search(data, together)
    elif command == "train":
        train(make_cells(data, minutes, seeds), together)
    else:
        compare(data, minutes, seeds)


if __name__ == "__main__":
    tyro.cli(run)
