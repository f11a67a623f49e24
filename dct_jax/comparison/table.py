"""Tables of runs side by side: aligned text for a terminal, and a flat row a run for CSV."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dct_jax.comparison.measures import Measures, SampleSet, Training, Uncertain
from dct_jax.tables import align, say_pictures

NONE = "-"
_HOW_TO_READ = "\nA lower distance is nearer to real pictures. Compare `matched` with the floor: both are of as many pictures."
_OF_NEIGHBOURS = "Precision: samples that lie among real pictures. Recall: real pictures that lie among samples."
_MIB = 2**20
_UNEQUAL = 1.5
"""Times of training that differ by more than this factor are told."""


class Spread(NamedTuple):
    """A number of samples over their seeds: of all of them; of as many as the floor is of; and the
    floor, that of real pictures."""

    value: Uncertain
    matched: Uncertain
    floor: float


def make_tables(rows: Sequence[Measures], is_mixed: bool) -> list[str]:
    """Makes tables with a line for each run, each with a title.

    Args:
        rows: of the runs, at least one.
        is_mixed: whether the first table names the pictures of each run.
    """
    makers = (_held_out, _representation, *map(_samples_by, _networks(rows)), _recognition, _cost, _training)
    tables = []
    for make in makers:
        title, header, cells = make(rows, is_mixed)
        if any(cell != NONE for line in cells for cell in line):
            tables.append(f"{title}\n\n" + align([("", *header), *((row.run, *line) for row, line in zip(rows, cells))]))
    return tables


def notes_of(rows: Sequence[Measures]) -> list[str]:
    """Returns what should be known to read the tables: settings of samplers; what is said of their
    samples and of representations, such as that they are too few; and that models that sample were
    trained for so different times that they can hardly be compared, or for unknown ones."""
    chosen = [f"{row.run} {_said(row.settings)}" for row in rows if row.settings]
    settings = [f"settings of samplers: {'; '.join(chosen)}"] if chosen else []
    of_sets = [one["notes"] for row in rows for a_set in row.samples for one in a_set.metrics.values()]
    of_samples = dict.fromkeys(note for notes in of_sets for note in notes)
    of_copies = dict.fromkeys(note for row in rows if row.distortion for note in row.distortion.notes if note not in of_samples)
    said = (*settings, *of_samples, *(f"the representation: {note}" for note in of_copies), *_notes_on_training(rows))
    return [f"note: {note}" for note in said]


def _said(settings: Mapping[str, Any]) -> str:
    """Says settings as options of a command line."""
    parts = [[name, *map(str, value if isinstance(value, list | tuple) else [value])] for name, value in settings.items()]
    return ", ".join(" ".join(part) for part in parts)


def _notes_on_training(rows: Sequence[Measures]) -> list[str]:
    sampling = {row.run: row for row in rows if row.training and row.cost.seconds_alone is not None}
    unknown = [run for run, row in sampling.items() if row.inner and not row.inner_training]
    notes = []
    if unknown and len(sampling) > 1:
        whose = f"the autoencoder of {', '.join(unknown)}"
        notes.append(f"the minutes of {whose} are not known, and not compared: take --own-data, or name its run, too")
    minutes = {
        run: row.training.minutes + (row.inner_training.minutes if row.inner_training else 0)
        for run, row in sampling.items()
        if row.training and run not in unknown
    }
    if minutes and max(minutes.values()) > _UNEQUAL * min(minutes.values()):
        said = ", ".join(f"{run} {one:.1f}" for run, one in minutes.items())
        notes.append(f"minutes of training, with the autoencoder's, differ: {said}")
    return notes


def spread_of(sets: Sequence[SampleSet], network: str, measure: str) -> Spread | None:
    """Returns a measure of a feature network over the seeds of samples; None without samples."""
    found = [one.metrics[network]["measures"][measure] for one in sets if network in one.metrics]
    if not found:
        return None
    value, matched = (Uncertain.over([one[name] for one in found]) for name in ("value", "matched"))
    return Spread(value, matched, found[0]["floor"])


def flatten(row: Measures) -> dict[str, Any]:
    """Returns all numbers of a run by the names of the columns of a CSV file."""
    flat: dict[str, Any] = {"run": row.run, "system": row.system, "fingerprint": row.fingerprint, "data": row.data}
    flat["settings"] = _said(row.settings)

    def add(name: str, value: Uncertain) -> None:
        flat.update({name: value.mean, f"{name}_error": value.error})

    flat |= {"held_out_pictures": row.held_out.pictures, "held_out_different": row.held_out.different}
    if elements := row.held_out.elements:
        flat |= {"elements_unit": elements.unit, "elements_mean": elements.mean}
        flat |= {"elements_5_percent": elements.low, "elements_95_percent": elements.high}
    if bits := row.held_out.bits:
        add("bits_per_picture", bits.per_picture)
        add("bits_per_pixel", bits.per_pixel)
    if distortion := row.distortion:
        flat["reconstruction_psnr"] = distortion.psnr
        flat |= {f"reconstruction_LPIPS-{name}": number for name, number in distortion.lpips.items()}
        flat |= {f"reconstruction_{name}": number for name, number in distortion.distances.items()}
    for network, measures in _networks([row]).items():
        for measure in measures:
            if spread := spread_of(row.samples, network, measure):
                name = f"samples_{network}_{measure}"
                add(name, spread.value)
                add(f"{name}_matched", spread.matched)
                flat[f"{name}_floor"] = spread.floor
    if recognised := _recognised(row):
        add("samples_recognised", recognised)
    if row.recognition:
        flat |= {"held_out_recognised": row.recognition.held_out, "coded_recognised": row.recognition.coded}
    for prefix, training in (("", row.training), ("autoencoder_", row.inner_training)):
        if training:
            flat |= {f"{prefix}training_minutes": training.minutes, f"{prefix}training_pictures": training.pictures}
            flat[f"{prefix}training_steps"] = training.steps
    cost = row.cost
    flat |= {"parameters": cost.parameters, "autoencoder_parameters": cost.inner_parameters}
    flat |= {"seconds_alone": cost.seconds_alone, f"seconds_among_{cost.together}": cost.seconds_together}
    flat |= {"elements_per_second": cost.elements_per_second}
    return flat | {"memory": cost.memory, "device_memory": cost.device_memory}


Cells = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A title, the header, and the cells of each run, without the first column of both."""


def _held_out(rows: Sequence[Measures], is_mixed: bool) -> Cells:
    header = ("system", "elements", "5 %", "95 %", "unit", "bits a picture", "bits a pixel")
    cells: list[tuple[str, ...]] = []
    for row in rows:
        one, bits = row.held_out.elements, row.held_out.bits
        of_elements = (f"{one.mean:.1f}", f"{one.low:.0f}", f"{one.high:.0f}", one.unit) if one else (NONE,) * 4
        of_bits = (_pm(bits.per_picture, 1), _pm(bits.per_pixel, 4)) if bits else (NONE,) * 2
        cells.append((row.system, *of_elements, *of_bits, *((row.data,) if is_mixed else ())))
    counts = dict.fromkeys(say_pictures(row.held_out.pictures, row.held_out.different) for row in rows)
    title = f"held-out: {' or '.join(counts)}; the elements of a picture, and its exact bits (mean +- standard error)"
    return title, (*header, *(("data",) if is_mixed else ())), cells


def _representation(rows: Sequence[Measures], _: bool) -> Cells:
    names = list(dict.fromkeys(name for row in rows if row.distortion for name in row.distortion.lpips))
    distances = list(dict.fromkeys(name for row in rows if row.distortion for name in row.distortion.distances))
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if one := row.distortion:
            of_names = [_number(one.lpips.get(name), 4) for name in names] + [
                _number(one.distances.get(x), 3) for x in distances
            ]
            cells.append((f"{one.psnr:.2f}", *of_names))
        else:
            cells.append((NONE,) * (1 + len(names) + len(distances)))
    header = ("PSNR, dB", *(f"LPIPS, {name}" for name in names), *(name.rpartition("_")[2] for name in distances))
    title = "the representation alone: held-out pictures after the codec or the autoencoder"
    return f"{title}{_HOW_TO_READ if distances else ''}", header, cells


def _samples_by(network: str) -> Callable[[Sequence[Measures], bool], Cells]:
    def make(rows: Sequence[Measures], _: bool) -> Cells:
        measures = _networks(rows)[network]
        cells: list[tuple[str, ...]] = []
        for row in rows:
            cells.append(tuple(cell for one in measures for cell in _spread(spread_of(row.samples, network, one))))
        sets = {row.run: row.samples for row in rows if row.samples and network in row.samples[0].metrics}
        counts = {run: _said_counts(one[0].metrics[network]) for run, one in sets.items()}
        alike = len(set(counts.values())) == 1
        of = next(iter(counts.values())) if alike else "; ".join(f"{run}: {said}" for run, said in counts.items())
        seeds = ", ".join(str(one.seed) for one in next(iter(sets.values())))
        title = (
            f"{of}, by {network} features, seeds {seeds} (mean +- standard error of the seeds){_HOW_TO_READ}\n{_OF_NEIGHBOURS}"
        )
        return title, tuple(x for one in measures for x in (one, "matched", "floor")), cells

    return make


def _said_counts(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['fake']} samples against {say_pictures(metrics['real'], metrics['different'], 'training pictures')}"


def _recognition(rows: Sequence[Measures], _: bool) -> Cells:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        recognised, one = _recognised(row), row.recognition
        real = (f"{one.held_out:.1%}", f"{one.coded:.1%}") if one else (NONE, NONE)
        cells.append((_pm(recognised, 1, 100, " %") if recognised else NONE, *real))
    title = "the share of pictures whose class a classifier of training pictures recognises"
    return title, ("samples", "held-out pictures", "these, coded"), cells


def _cost(rows: Sequence[Measures], _: bool) -> Cells:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        cost = row.cost
        memory = cost.memory if cost.device_memory is None else cost.device_memory
        cells.append(
            (
                f"{cost.parameters:,}",
                NONE if cost.inner_parameters is None else f"{cost.inner_parameters:,}",
                *(NONE if x is None else f"{x:.3g}" for x in (cost.seconds_alone, cost.seconds_together)),
                NONE if cost.elements_per_second is None else f"{cost.elements_per_second:,.0f}",
                NONE if memory is None else f"{memory / _MIB:,.0f}",
            )
        )
    together = rows[0].cost.together
    header = ("parameters", "autoencoder's", "s a sample, alone", f"s, among {together}", "elements/s", "MiB at most")
    return "cost: seconds and memory are of a process that loads the model and samples, and does nothing else", header, cells


def _training(rows: Sequence[Measures], _: bool) -> Cells:
    cells: list[tuple[str, ...]] = [(*_trained(row.training), *_trained(row.inner_training)) for row in rows]
    header = ("steps", "minutes", "pictures", "autoencoder: steps", "minutes", "pictures")
    return "training: minutes of steps, without pauses and evaluations", header, cells


def _trained(training: Training | None) -> tuple[str, ...]:
    if training is None:
        return (NONE,) * 3
    return f"{training.steps:,}", f"{training.minutes:.1f}", f"{training.pictures:,}"


def _networks(rows: Sequence[Measures]) -> Mapping[str, list[str]]:
    """Returns the measures of each feature network that samples of any run are measured by."""
    sets = (row.samples[0] for row in rows if row.samples)
    return {name: list(metrics["measures"]) for one in sets for name, metrics in one.metrics.items()}


def _recognised(row: Measures) -> Uncertain | None:
    shares = [one.recognised for one in row.samples if one.recognised is not None]
    return Uncertain.over(shares) if shares else None


def _spread(spread: Spread | None) -> tuple[str, str, str]:
    if spread is None:
        return NONE, NONE, NONE
    return _pm(spread.value, 3), f"{spread.matched.mean:.3f}", f"{spread.floor:.3f}"


def _pm(value: Uncertain, digits: int, scale: float = 1, unit: str = "") -> str:
    error = "" if value.error is None else f" +- {scale * value.error:.{digits}f}"
    return f"{scale * value.mean:.{digits}f}{error}{unit}"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
