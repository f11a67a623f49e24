"""What is measured of a run, as plain dataclasses that go to JSON and come back."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from dct_jax.evaluation.estimate import Estimate

T = TypeVar("T")


@dataclass(frozen=True)
class Uncertain:
    """A mean and its standard error, which is None for a single observation."""

    mean: float
    error: float | None

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """Returns an estimate as it goes to JSON, which has no NaN."""
        return cls(estimate.mean, None if math.isnan(estimate.standard_error) else estimate.standard_error)

    @classmethod
    def over(cls, numbers: Sequence[float]) -> Self:
        """Returns the mean of numbers, such as those of several seeds, and its standard error."""
        number = len(numbers)
        return cls(float(np.mean(numbers)), float(np.std(numbers, ddof=1) / number**0.5) if number > 1 else None)


@dataclass(frozen=True)
class Elements:
    """How many elements held-out pictures are made of.

    Attributes:
        unit: what an element is, in the plural.
        mean, low, high: the mean over pictures, and their 5th and 95th percentile.
    """

    unit: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Bits:
    """The exact bits of held-out pictures."""

    per_picture: Uncertain
    per_pixel: Uncertain


@dataclass(frozen=True)
class HeldOut:
    """What held-out pictures show.

    Attributes:
        name: of their source.
        pictures: how many.
        different: how many these are crops of; `pictures` if no two are of one.
        elements, bits: None if the system has none.
        report: what the system's `Stage.findings` reports, as `evaluate` writes it.
    """

    name: str
    pictures: int
    different: int
    elements: Elements | None
    bits: Bits | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Distortion:
    """What the codec or the autoencoder alone leaves of held-out pictures.

    Attributes:
        pictures: how many.
        psnr: in dB, the mean over the pictures that lose something.
        lpips: the mean of LPIPS over pictures, by the name of its network; empty without weights.
        distances: "FD-AlexNet" of reconstructions, and what else `compare_features` returns; empty
            without weights.
        notes: what should be known to read these numbers, and which ones are left out.
    """

    pictures: int
    psnr: float
    lpips: dict[str, float]
    distances: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SampleSet:
    """Samples of a seed.

    Attributes:
        seed: of the samples.
        metrics: what `SampleMetrics.to_dict` says of each feature network, by its name.
        recognised: the share of samples whose class the classifier recognises; None without
            classes.
    """

    seed: int
    metrics: dict[str, Any]
    recognised: float | None


@dataclass(frozen=True)
class Recognition:
    """The shares of held-out pictures whose class the classifier recognises: as they are, and after
    the codec or the autoencoder."""

    held_out: float
    coded: float


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: of the model, without its autoencoder.
        inner_parameters: of its autoencoder; None if it has none.
        seconds_alone, seconds_together: of a sample, alone and among `together` samples; None if
            the model samples nothing.
        together: samples of a batch.
        elements_per_second: of a batch; None if the system counts no elements.
        memory: the largest memory that the process had so far, in bytes; None where the system does
            not tell.
        device_memory: the largest memory on the device, in bytes; None on a CPU.
    """

    parameters: int
    inner_parameters: int | None
    seconds_alone: float | None
    seconds_together: float | None
    together: int
    elements_per_second: float | None
    memory: int | None
    device_memory: int | None


@dataclass(frozen=True)
class Training:
    """How long a run was trained.

    Attributes:
        steps: how many.
        minutes: of these steps, with compiling, without evaluations.
        pictures: how many the steps saw, each as often as it came; of a DCTransformer, a chunk of
            each.
    """

    steps: int
    minutes: float
    pictures: int


@dataclass(frozen=True)
class Measures:
    """All that is measured of a run; what the system does not have is None or empty.

    Attributes:
        run: its name.
        system: of its configuration.
        fingerprint: of its model.
        settings: of its sampler, by name: those that are not as its system has them.
        data: its pictures, in words.
        held_out, distortion, samples, recognition, cost, training: the measures.
        inner: the fingerprint of its autoencoder.
        inner_training: how long its autoencoder was trained, if that is known.
    """

    run: str
    system: str
    fingerprint: str
    settings: dict[str, Any]
    data: str
    held_out: HeldOut
    distortion: Distortion | None
    samples: tuple[SampleSet, ...]
    recognition: Recognition | None
    cost: Cost
    training: Training | None
    inner: str | None
    inner_training: Training | None


def to_plain(measure: Any) -> dict[str, Any]:
    """Returns a dataclass of measures as dictionaries, lists and numbers, for JSON."""
    return dataclasses.asdict(measure)


def from_plain(kind: type[T], values: Any) -> T:
    """Reads what `to_plain` and a round trip through JSON have made of a dataclass.

    Raises:
        ValueError: if the values are not those of this kind.
    """
    return _read(kind, values, kind.__name__)


def with_known_training(rows: Sequence[Measures]) -> list[Measures]:
    """Fills in how long autoencoders were trained, where their own runs stand among the rows."""
    known = {row.fingerprint: row.training for row in rows}
    return [
        row if row.inner_training or row.inner is None else dataclasses.replace(row, inner_training=known.get(row.inner))
        for row in rows
    ]


def _read(kind: Any, values: Any, name: str) -> Any:
    of = get_args(kind)
    if kind is Any:
        return values
    if isinstance(kind, UnionType):
        return None if values is None and NoneType in of else _read(of[0], values, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(values, dict) or values.keys() != hints.keys():
            raise ValueError(f"{name} must have {', '.join(hints)}")
        return kind(**{field: _read(hint, values[field], field) for field, hint in hints.items()})
    if get_origin(kind) is tuple and isinstance(values, list):
        return tuple(_read(of[0], value, name) for value in values)
    if get_origin(kind) is dict and isinstance(values, dict):
        return {field: _read(of[1], value, field) for field, value in values.items()}
    if isinstance(kind, type) and isinstance(values, (int, float) if kind is float else kind) and not isinstance(values, bool):
        return values
    raise ValueError(f"{name} is {str(values)[:40]!r}; it must be {getattr(kind, '__name__', kind)}")
