"""The study of all systems: the same pictures, the same minutes of training, as many trials, three
seeds.

    python experiments/study.py speed fashion             # alone on a quiet machine: seconds a step
    python experiments/study.py search fashion            # five trials of each system, 3 minutes
    python experiments/study.py train fashion             # three seeds of each system
    python experiments/study.py settings fashion          # five trials of each sampler
    python experiments/study.py compare fashion           # one table of them all
    python experiments/study.py compare fashion --defaults

The data are `fashion` or `landscapes`. All but `speed` go on where they were stopped. Results go to
docs/results/study/, which is committed, and runs to runs/study/. `search` and `train` take from the
results of `speed` how many steps fit into the minutes, so it does not matter what else runs beside
them. With `--together 2` two trainings run at a time, on a core each. (A plan that has changed, by
new speeds for example, is another run: move the old ones away before.)

A system of two stages divides its minutes between autoencoder and prior. The search looks for the
learning rates, as a factor of the experiment's own, and that share; it keeps what gives the lowest
FD-AlexNet of 500 samples. Systems whose autoencoders have equal configurations share them.
`settings` looks in the same way for temperatures, or steps, of the first seed's runs.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from study_plan import DIVERGED, Cell, Choice, Contender, Data, System, contenders, digest_of, plan, sampler_trials, trials

from dct_jax.codes.config import CodePriorConfig
from dct_jax.commands import main
from dct_jax.commands.arguments import write_report
from dct_jax.commands.compare import in_child
from dct_jax.commands.ending import run_script
from dct_jax.config import RunConfig

RESULTS, RUNS = Path("docs/results/study"), Path("runs/study")
Command = Literal["speed", "search", "train", "settings", "compare"]
OPTIONS: dict[Command, tuple[str, ...]] = {
    "speed": (),
    "search": ("together",),
    "train": ("minutes", "seeds", "systems", "together"),
    "settings": ("minutes", "seeds", "systems", "together"),
    "compare": ("minutes", "seeds", "systems", "defaults"),
}
"""What each part of the study takes."""
MINUTES, SEEDS = 10.0, (0, 1, 2)
SEARCH_SEED, SEARCH_MINUTES, SAMPLES = 100, 3.0, 500
REFERENCES = {"fashion": 10_000, "landscapes": 2_000}
"""Training pictures that samples are compared with; of each photograph there are several crops."""
TIMED = 100
"""Steps whose seconds are measured, after as many that are not."""
HELD_OUT = {"fashion": 2000, "landscapes": 400}
"""Held-out pictures that `compare` measures: more than those that choose the best checkpoint."""


def train(cells: Sequence[Cell], together: int) -> None:
    """Trains cells, each stage in a process of its own: first what others build on. A cell whose
    loss is not finite is left as it is.

    Args:
        cells: what is trained.
        together: how many trainings run at a time.

    Raises:
        ValueError: if a stage cannot be trained, or is stopped.
    """
    firsts = {cell.folders[0]: cell.plans[0] for cell in cells}
    run_together([partial(_train_to_end, config, run) for run, config in firsts.items()], together)
    seconds = []
    for cell in cells:
        if len(cell.plans) == 2 and not cell.diverged:
            prior = cell.plans[1]
            assert isinstance(prior, CodePriorConfig)
            codes = replace(prior.codes, run=str(cell.folders[0]))
            seconds.append(partial(_train_to_end, replace(prior, codes=codes), cell.folder))
    run_together(seconds, together)


def run_together(functions: Sequence[Callable[[], None]], together: int) -> None:
    """Calls functions in processes of their own, so many at a time, which share the cores. After
    the first error no other one begins; it is raised at the end."""
    cores = sorted(os.sched_getaffinity(0))
    errors: list[Exception] = []

    def work(share: set[int], mine: Iterable[Callable[[], None]]) -> None:
        for function in mine:
            if errors:
                return
            try:
                in_child(partial(_on_cores, share, function))
            except Exception as error:  # a full disk or a missing package, too, must stop the other worker
                errors.append(error)

    waiting = iter(functions)  # a worker that is free takes the next one
    with ThreadPoolExecutor(together) as pool:
        for outcome in [pool.submit(work, set(cores[number::together]), waiting) for number in range(together)]:
            outcome.result()
    if errors:
        raise errors[0]


def _on_cores(cores: set[int], function: Callable[[], None]) -> None:
    os.sched_setaffinity(0, cores)
    function()


def _train_to_end(config: RunConfig, folder: Path) -> None:
    from dct_jax.run import train_at

    complete, digest = folder / "complete", digest_of(config)
    if (complete.exists() and complete.read_text() == digest) or (folder / DIVERGED).exists():
        return
    try:
        outcome = train_at(config, folder)
    except FloatingPointError as error:
        (folder / DIVERGED).write_text(f"{error}\n")
        print(folder, error, flush=True)
        return
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if outcome.signal:
        raise ValueError(f"{outcome.signal} stopped {folder}; the same command goes on from there")
    complete.write_text(digest)
    print(folder, f"{config.training.steps} steps", flush=True)


def speed(data: Data) -> None:
    """Measures seconds a step of every stage, and writes them into the results."""
    folder = RUNS / "speed" / f"{data}_{int(time.time())}"
    speeds: dict[str, list[float]] = {}
    for contender in contenders(data):
        stages, steps = len(contender.stages), 2 * TIMED
        plans = plan(contender, Choice(), stages * steps / 60, [1.0] * stages, seed=0)  # so many steps each
        once = [replace(one.training, evaluate_every=steps, checkpoint_every=steps) for one in plans]
        cell = Cell(tuple(replace(one, training=x) for one, x in zip(plans, once)), folder / contender.name)
        train([cell], together=1)
        speeds[contender.name] = [round(_seconds_a_step(run), 4) for run in cell.folders]
        print(contender.name, *speeds[contender.name], flush=True)
    write_report(RESULTS / f"speed_{data}.json", speeds)


def _seconds_a_step(run: Path) -> float:
    """Reads from a run's metrics how long a step takes once all is compiled."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    times = {record["step"]: record["time"] for record in map(json.loads, lines) if "held_out" not in record}
    last = max(times)
    return (times[last] - times[TIMED]) / (last - TIMED)


def search(data: Data, together: int) -> None:
    """Tries choices for every system, and writes into the results how near their samples come:
    None where the loss was not finite."""
    speeds, found = _read(RESULTS / f"speed_{data}.json"), {}
    cells, settings = {}, {}
    for contender in contenders(data):
        for choice in trials(contender):
            name = f"{contender.name}_{choice.rate:g}_{choice.share:g}"
            plans = plan(contender, choice, SEARCH_MINUTES, speeds[contender.name], SEARCH_SEED)
            cells[name], settings[name] = Cell(tuple(plans), RUNS / data / "search" / name), contender.settings
            found[name] = {"system": contender.name, "rate": choice.rate, "share": choice.share, "FD-AlexNet": None}
    train(list(cells.values()), together)
    whole = {name: cell.folder for name, cell in cells.items() if not cell.diverged}
    measure = partial(_measure_samples, num=SAMPLES, references=REFERENCES[data])
    run_together([partial(measure, folder, settings=settings[name]) for name, folder in whole.items()], together)
    for name, folder in whole.items():
        found[name]["FD-AlexNet"] = _distance_of(folder, settings[name])
    for name, one in found.items():
        print(name, one["FD-AlexNet"], flush=True)
    write_report(RESULTS / f"search_{data}.json", found)


def _file_of(run: Path, settings: Mapping[str, float]) -> Path:
    """Returns the file for the distance of samples of a run with settings of its sampler."""
    return run / f"{'_'.join(['distance', *(f'{name}_{value:g}' for name, value in settings.items())])}.json"


def _measure_samples(run: Path, num: int, references: int, settings: Mapping[str, float]) -> None:
    """Writes FD-AlexNet of samples of a run into its folder, unless it is there."""
    from dct_jax.commands.own_data import own_sources
    from dct_jax.commands.runs import load_prior
    from dct_jax.comparison.samples import Judges, measure_samples
    from dct_jax.data.pictures import reference_pictures
    from dct_jax.evaluation.features import feature_network
    from dct_jax.evaluation.reference import statistics
    from dct_jax.evaluation.sample_metrics import KEEP
    from dct_jax.storage.caches import cache_folder

    file, model = _file_of(run, settings), load_prior(str(run), "the study").with_settings(settings)
    key = {"fingerprint": model.fingerprint, "samples": num, "seed": SEARCH_SEED, "references": references}
    key["settings"] = json.loads(json.dumps(model.settings))  # tuples become lists, as in the file
    if file.exists() and key.items() <= _read(file).items():
        return
    real = reference_pictures(own_sources(model.config.data, True)[0], model.config, references)
    network = feature_network("alexnet")
    batch = min(50, len(real), num)
    known = statistics(network, real, KEEP, batch, cache_folder(), "training pictures")
    judges = Judges(real.labels(num), [(network, known)], None)
    measures = measure_samples(model, judges, num, SEARCH_SEED, batch).metrics["alexnet"]["measures"]
    write_report(file, key | {"FD-AlexNet": measures["FD-AlexNet"]["value"]})


def _distance_of(run: Path, settings: Mapping[str, float]) -> float:
    return round(_read(_file_of(run, settings))["FD-AlexNet"], 4)


def search_settings(data: Data, minutes: float, seed: int, compared: Sequence[Contender], together: int) -> None:
    """Tries settings of the sampler of each system's run of a seed, and writes into the results how
    near their samples come."""
    runs = {one.name: folder_of(data, minutes, one, seed) for one in compared}
    trials = [(one.name, settings) for one in compared for settings in sampler_trials(one)]
    measure = partial(_measure_samples, num=SAMPLES, references=REFERENCES[data])
    run_together([partial(measure, runs[name], settings=settings) for name, settings in trials], together)
    found = [
        {"system": name, "settings": settings, "FD-AlexNet": _distance_of(runs[name], settings)} for name, settings in trials
    ]
    for one in found:
        print(*one.values(), flush=True)
    file = _settings_file(data, minutes)
    others = [one for one in _read(file)["trials"] if one["system"] not in runs] if file.exists() else []
    write_report(file, {"trials": others + found})


def _settings_file(data: Data, minutes: float) -> Path:
    return RESULTS / f"settings_{data}_{minutes:g}_minutes.json"


def chosen_settings(data: Data, minutes: float, compared: Sequence[Contender]) -> dict[str, dict[str, float]]:
    """Returns the best settings of each system's sampler.

    Raises:
        ValueError: if `settings` has not tried those of a system.
    """
    best: dict[str, dict[str, float]] = {}
    for one in sorted(_read(_settings_file(data, minutes))["trials"], key=lambda one: one["FD-AlexNet"]):
        best.setdefault(one["system"], one["settings"])
    if missing := [one.name for one in compared if one.name not in best]:
        raise ValueError(f"{_settings_file(data, minutes)} has no trials of {', '.join(missing)}; study.py settings tries them")
    return best


def _check_ruler() -> None:
    """Raises ValueError if the weights of AlexNet are not at hand."""
    from dct_jax.evaluation.features import feature_network

    feature_network("alexnet")


def chosen(data: Data, contender: Contender) -> Choice:
    """Returns the best of a system's trials."""
    found = _read(RESULTS / f"search_{data}.json").values()
    measured = [one for one in found if one["system"] == contender.name and one["FD-AlexNet"] is not None]
    if not measured:
        raise ValueError(f"no trial of {contender.name} ended with a loss that was finite; lower its rates")
    best = min(measured, key=lambda one: one["FD-AlexNet"])
    return Choice(best["rate"], best["share"])


def make_cells(data: Data, minutes: float, seeds: Sequence[int], compared: Sequence[Contender]) -> list[Cell]:
    """Returns systems with what the search chose for them, seed by seed."""
    speeds = _read(RESULTS / f"speed_{data}.json")

    def make(one: Contender, seed: int) -> Cell:
        plans = plan(one, chosen(data, one), minutes, speeds[one.name], seed)
        return Cell(tuple(plans), folder_of(data, minutes, one, seed))

    return [make(one, seed) for seed in seeds for one in compared]


def folder_of(data: Data, minutes: float, contender: Contender, seed: int) -> Path:
    """Returns the folder of a run."""
    return RUNS / data / f"{minutes:g}_minutes" / f"{contender.name}_{seed}"


def compare(data: Data, minutes: float, seeds: Sequence[int], compared: Sequence[Contender], defaults: bool) -> int:
    """Compares all runs in one table, with the best settings of their samplers, or the default
    ones. Returns the exit code of the command compare."""
    best = {one.name: {} for one in compared} if defaults else chosen_settings(data, minutes, compared)
    settings = {str(folder_of(data, minutes, one, seed)): best[one.name] for seed in seeds for one in compared}
    file = RUNS / data / f"{minutes:g}_minutes" / "settings.json"
    write_report(file, settings)
    sizes = ["--samples", str(SAMPLES), "--references", str(REFERENCES[data]), "--num", str(HELD_OUT[data])]
    out = results_of(data, minutes, defaults)
    return main(["compare", *settings, *sizes, "--settings", str(file), "--own-data", "--out", str(out)])


def results_of(data: Data, minutes: float, defaults: bool) -> Path:
    """Returns the folder of the table."""
    return RESULTS / f"{data}_{minutes:g}_minutes{'_defaults' * defaults}"


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise ValueError(f"{file} is not there; the command that is named like it writes it")
    return json.loads(file.read_text())


def run(
    command: Annotated[Command, tyro.conf.Positional],
    data: Annotated[Data, tyro.conf.Positional],
    minutes: float = MINUTES,
    seeds: tuple[int, ...] = SEEDS,
    systems: tuple[System, ...] = (),
    defaults: bool = False,
    together: int = 1,
) -> int:
    """Runs a part of the study, and returns the exit code.

    Args:
        command: the part.
        data: the pictures.
        minutes: of training, on two cores, for `train`, `settings` and `compare`.
        seeds: of the runs, for `train`, `settings` and `compare`.
        systems: for `train`, `settings` and `compare`; by default all.
        defaults: whether `compare` leaves all samplers as they are by default.
        together: how many run at a time, for `search`, `train` and `settings`.

    Raises:
        ValueError: if a field is out of range or for another part, or as the part.
    """
    cores = len(os.sched_getaffinity(0))
    if not minutes > 0 or not seeds or not 1 <= together <= cores:
        raise ValueError(
            f"minutes is {minutes:g}, seeds are {seeds} and together is {together}; minutes must be above 0, there must be a "
            f"seed, and together must be from 1 to {cores}, the number of cores"
        )
    changed = {"minutes": minutes != MINUTES, "seeds": seeds != SEEDS, "together": together != 1}
    changed |= {"systems": bool(systems), "defaults": defaults}
    if idle := [name for name, is_changed in changed.items() if is_changed and name not in OPTIONS[command]]:
        raise ValueError(f"{command} does not take {', '.join(idle)}; it takes {', '.join(OPTIONS[command]) or 'no option'}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    compared = [one for one in contenders(data) if not systems or one.name in systems]
    if command == "speed":
        speed(data)
    elif command == "search":
        in_child(_check_ruler)
        search(data, together)
    elif command == "train":
        cells = make_cells(data, minutes, seeds, compared)
        train(cells, together)
        if diverged := [str(cell.folder) for cell in cells if cell.diverged]:
            raise ValueError(f"a loss was not finite in {', '.join(diverged)}")
    elif command == "settings":
        in_child(_check_ruler)
        search_settings(data, minutes, seeds[0], compared, together)
    else:
        return compare(data, minutes, seeds, compared, defaults)
    return 0


if __name__ == "__main__":
    run_script(run)
