"""The command compare: runs of any systems side by side, in one table and two figures."""

import csv
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from dct_jax.commands.arguments import check_least, parse, save_figure, say, set_up_logging, write_report
from dct_jax.commands.code_sampling import PriorSettings
from dct_jax.commands.evaluate import FEWEST_SAMPLES, Evaluate
from dct_jax.commands.measuring import PICTURES, VIEW, Description, Strips, describe_runs, measure_run, see_other_crops
from dct_jax.commands.settings_file import read_settings
from dct_jax.comparison.measures import Measures, to_plain, with_known_training
from dct_jax.comparison.plots import quality_time, rate_distortion, stack_strips
from dct_jax.comparison.table import flatten, make_tables, notes_of
from dct_jax.config import MOST_SEEDS
from dct_jax.data.pixels import read_image
from dct_jax.distributed.processes import NO_BACKEND, describe_lack_of_memory
from dct_jax.orphans import when_orphaned
from dct_jax.published import locate, results_folder
from dct_jax.storage.files import replacing
from dct_jax.tables import first_line

T = TypeVar("T")
SECONDS_TO_END = 10
"""How long a process that has answered may take to end."""
OF_SAMPLES = ("samples", "seeds", "references")
"""Fields of `Compare` that are for samples alone."""


@dataclass(frozen=True)
class Compare:
    """Measures runs of any systems, and lays them side by side: elements, bits, what the
    representation loses, samples, recognised classes, parameters, time and memory. Each run is
    measured in a process of its own. What is measured stays in RUN/comparison, so the same command
    goes on after a stop, and says the same again.

    Attributes:
        runs: folders of runs, files of `export`, or names of published models.
        data: pictures to measure all runs on, as data.source; by default the held-out pictures of
            the runs. Samples are compared with the training pictures of their run, as in evaluate.
        split: of these pictures.
        own_data: open the pictures that a run was trained on, and the run of its autoencoder,
            wherever it says they are; bundled pictures are opened anyway.
        num: how many held-out pictures, at even distances; by default as many as the first run
            holds out.
        samples: how many samples of each seed.
        seeds: of the samples; standard errors are those of the mean over the seeds.
        no_samples: measure no samples.
        references: how many training pictures to compare samples with, several crops of each if
            there are fewer; by default all, or 10,000 of more.
        batch_size: chunks, samples and pictures at a time; the results do not depend on it.
        mixed: allow runs of different pictures; a column names those of each run.
        settings: JSON file that says how runs sample, such as {"RUN": {"temperature": 0.8}}, with
            RUN as it stands in the command, and settings as evaluate has them. Runs that it does
            not name sample as their systems do by default.
        again: measure all anew, also what was measured before.
        out: folder for comparison.json, comparison.csv, rate_distortion.png, quality_time.png and
            samples.png.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")] = ()
    data: str = ""
    split: str = ""
    own_data: bool = False
    num: int | None = None
    samples: int = 500
    seeds: tuple[int, ...] = (0, 1, 2)
    no_samples: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    references: int | None = None
    batch_size: int = 16
    mixed: bool = False
    settings: Path | None = None
    again: bool = False
    out: Path = Path("comparison")


def compare(args: Sequence[str]) -> int:
    """Runs `compare RUN RUN ...`."""
    command = parse(Compare, args, "compare")
    _check(command)
    known = read_settings(command.settings, command.runs) if command.settings else {}
    settings = [known.get(run, PriorSettings()) for run in command.runs]
    options = [_options(command, run, one) for run, one in zip(command.runs, settings)]
    descriptions = in_child(partial(describe_runs, options))
    if not command.mixed:
        _check_same_pictures(command, descriptions)
    num = command.num or descriptions[0].held_out_crops
    options = [replace(one, num=num) for one in options]
    notes = _notes_on_crops(command, descriptions, options)
    rows: list[Measures] = []
    strips: list[Strips] = []
    failures: list[str] = []
    for number, (run, name, one) in enumerate(zip(command.runs, _names(command.runs), options), 1):
        say(f"{name}, {number} of {len(command.runs)}")
        seeds = () if command.no_samples else command.seeds
        again = command.again and run not in command.runs[: number - 1]  # a run that is named twice has equal rows
        try:
            row, strip = in_child(partial(measure_run, one, name, seeds, again))
            rows.append(row)
            strips.append(strip)
        except (ValueError, FloatingPointError, OSError) as error:
            failures.append(f"{run}: {error}")
    if rows:
        _report(with_known_training(rows), strips, command, notes)
    if failures:
        raise ValueError("; ".join(failures) + ("; the tables have the other runs" if rows else ""))
    return 0


def in_child(function: Callable[[], T]) -> T:
    """Calls a function in a fresh process: the memory of a run is its own, and so is its end.

    Raises:
        ValueError: as the function or in place of its RuntimeError, or if the process ends without
            an answer.
        FloatingPointError, OSError, ModuleNotFoundError: as the function.
        RuntimeError: if JAX finds no device of the kind that is asked for.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run_child, args=(function, theirs, os.getpid()))
    process.start()
    theirs.close()  # the child has its own, whose end is noticed
    try:
        result, error = ours.recv()
    except EOFError:
        process.join()
        killed = process.exitcode is not None and process.exitcode < 0
        how = f"was killed by signal {-(process.exitcode or 0)}; perhaps there was too little memory" if killed else "failed"
        raise ValueError(f"the process that measures it {how}") from None
    except BaseException:  # this one is interrupted
        process.terminate()
        raise
    finally:
        process.join(SECONDS_TO_END)  # a process that is stopped while it ends leaves its semaphores behind
        process.terminate()
        process.join()
    if error:
        raise error
    return result


def _run_child(function: Callable[[], Any], pipe: Connection, parent: int) -> None:
    """Answers the parent. When that is gone this process gets SIGTERM, after which a training still
    writes a checkpoint, and nobody is told."""
    when_orphaned(parent, partial(os.kill, os.getpid(), signal.SIGTERM))
    with suppress(BrokenPipeError):
        _answer(function, pipe)


def _answer(function: Callable[[], Any], pipe: Connection) -> None:
    """Sends the result of a function, or the error that a command says in a line."""
    set_up_logging()
    try:
        pipe.send((function(), None))
    except (ValueError, FloatingPointError, OSError, ModuleNotFoundError) as error:
        pipe.send((None, error))
    except (RuntimeError, MemoryError) as error:  # JAX's are of a class of its own, and have many lines
        line = describe_lack_of_memory(error) or first_line(error)
        pipe.send((None, RuntimeError(NO_BACKEND) if NO_BACKEND in str(error) else ValueError(line)))
    except KeyboardInterrupt:  # whoever has started this process is interrupted, too
        pass


def _check(command: Compare) -> None:
    if not command.runs:
        raise ValueError("RUN is missing; see compare --help")
    check_least(command, batch_size=1, samples=FEWEST_SAMPLES, references=8, num=1)
    if not command.seeds or len(set(command.seeds)) < len(command.seeds) or not all(0 <= x < MOST_SEEDS for x in command.seeds):
        said = " ".join(map(str, command.seeds))
        raise ValueError(f"seeds are {said or 'none'}; there must be one or more, all different, from 0 to 2^32 - 1")
    unused = [name for name in OF_SAMPLES if getattr(command, name) != getattr(Compare, name)]
    if command.no_samples and unused:
        raise ValueError(f"{', '.join(unused)} would change nothing with --no-samples; leave one of them out")
    if command.split and not command.data:
        raise ValueError(f"split is {command.split!r}, but data names no pictures, as in: --data tar:FILE --split NAME")
    for run in command.runs:
        try:
            locate(run)
        except ValueError as error:
            hint = "; of two folders of pictures, distance REAL FAKE says how near they are" if Path(run).is_dir() else ""
            raise ValueError(f"{error}{hint}") from None


def _options(command: Compare, run: str, settings: PriorSettings) -> Evaluate:
    """Returns what `evaluate` would be told to measure the same of a run."""
    return Evaluate(
        run=run,
        data=command.data,
        split=command.split,
        own_data=command.own_data,
        num=command.num,
        coders=False,
        samples=0 if command.no_samples else command.samples,
        settings=settings,
        references=command.references,
        batch_size=command.batch_size,
    )


def _check_same_pictures(command: Compare, descriptions: Sequence[Description]) -> None:
    """Raises ValueError if a run is of other pictures than the first one."""
    first = descriptions[0]
    for run, one in zip(command.runs, descriptions):
        if one.divides != first.divides:
            codes, others = (run, command.runs[0]) if one.divides else (command.runs[0], run)
            what = f"{codes} learned codes, so the pictures of --data that it held out are measured, and of {others} all"
            raise ValueError(f"{what}; --mixed allows that, and --no-samples measures all of both")
        for field in VIEW if command.data else PICTURES + VIEW:
            ours, theirs = one.data[field], first.data[field]
            if ours != theirs:
                others = "--mixed allows others" if field in VIEW else "--data names pictures for all, --mixed allows others"
                what = f"{run} has data.{field} {ours!r}, and {command.runs[0]} has {theirs!r}"
                raise ValueError(f"{what}; their pictures must be the same ({others})")


def _notes_on_crops(command: Compare, descriptions: Sequence[Description], options: Sequence[Evaluate]) -> list[str]:
    """Tells if runs of the same pictures see other crops of them, as their seeds differ."""
    has_one_seed = len({one.seed for one in descriptions}) == 1
    if command.mixed or has_one_seed or not in_child(partial(see_other_crops, options)):
        return []
    seeds = ", ".join(f"{name} {one.seed}" for name, one in zip(_names(command.runs), descriptions))
    return [f"note: the seed of a run also chooses its crops ({seeds}): compare runs of one seed, or means over seeds"]


def _names(runs: Sequence[str]) -> list[str]:
    """Names runs as `evaluate` does, or as the command does where several would have one name."""
    names = [results_folder(run).resolve().name for run in runs]
    runs_of = {name: {run for run, other in zip(runs, names) if other == name} for name in names}
    return [run if len(runs_of[name]) > 1 else name for run, name in zip(runs, names)]


def _report(rows: Sequence[Measures], strips: Sequence[Strips], command: Compare, notes: Sequence[str]) -> None:
    """Prints the tables and notes, and writes the files."""
    say(*"\n\n".join(["", *make_tables(rows, command.mixed), *notes_of(rows), *notes, ""]).splitlines())
    write_report(command.out / "comparison.json", {"runs": [to_plain(row) for row in rows]})
    flat = [flatten(row) for row in rows]
    with replacing(command.out / "comparison.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for one in flat for name in one)))
        writer.writeheader()
        writer.writerows(flat)
    sampled = [(row.run, read_image(one.samples)) for row, one in zip(rows, strips) if one.samples]
    real = [("held-out", read_image(one.held_out)) for one in strips if one.held_out][:1]
    figures = {
        "samples.png": stack_strips(real + sampled) if sampled else None,
        "rate_distortion.png": rate_distortion(rows),
        "quality_time.png": quality_time(rows),
    }
    shown = {name: figure for name, figure in figures.items() if figure}
    for name, figure in shown.items():
        save_figure(figure, command.out / name)
    say(f"{command.out} has {', '.join(['comparison.json', 'comparison.csv', *shown])}")
