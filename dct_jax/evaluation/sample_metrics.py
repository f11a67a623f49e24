"""How near samples are to real pictures: Frechet distances, precision and recall, and what real pictures get themselves."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.distances import Moments, frechet_distance, precision_recall
from dct_jax.evaluation.features.network import FeatureNetwork
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.tables import aligned

KEEP = 10_000
"""Features of so many pictures are kept in memory."""

REFERENCES = 10_000
"""So many training pictures stand for all of them, unless something else is asked for."""


@dataclass(frozen=True)
class Measure:
    """One number, and what to see it beside.

    Attributes:
        name: "FID", "sFID", "FD-AlexNet", "precision" or "recall".
        value: the headline: all fakes against all reals (of precision and recall, `neighbour_count` of each).
        matched: `floor_count` fakes against the floor's reference.
        floor: that many other reals against the same reference. Real pictures that the codec has
            quantised would have `matched` a little above this; samples cannot be expected to be nearer.
    """

    name: str
    value: float
    matched: float
    floor: float


@dataclass(frozen=True)
class SampleMetrics:
    """Samples compared with real pictures.

    Attributes:
        features: name of the feature network.
        fingerprint: its weights' hash.
        real, fake: how many pictures the headline distances are of.
        floor_count, floor_reference: how many pictures and reals the distances `matched` and `floor` are of.
        neighbours: k of precision and recall.
        neighbour_count: how many reals, and as many fakes, precision and recall are of.
        neighbour_floor: the same for their `matched` and `floor`.
        measures: the numbers.
        notes: what should be known to read them, a line each.
    """

    features: str
    fingerprint: str
    real: int
    fake: int
    floor_count: int
    floor_reference: int
    neighbours: int
    neighbour_count: int
    neighbour_floor: int
    measures: tuple[Measure, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; "measures" becomes {name: {"value", "matched", "floor"}}."""
        measures = {m.name: {"value": m.value, "matched": m.matched, "floor": m.floor} for m in self.measures}
        return dataclasses.asdict(self) | {"measures": measures, "notes": list(self.notes)}


def compare(
    network: FeatureNetwork,
    real: Pictures,
    fake: Pictures,
    *,
    k: int = 3,
    keep: int = KEEP,
    seed: int = 0,
    batch_size: int = 50,
    cache: Path | None = None,
) -> SampleMetrics:
    """Frechet distances of all the network's features, and precision and recall in its "pool" features.

    The distances are of all fakes and all reals, as in the literature. They are not 0 for perfect samples, because means and
    covariances of finite sets differ; hence the floor: n = min(fakes, half of the reals, `keep`) reals against the remaining
    ones, and n fakes against these too. Precision and recall depend on the counts as well; they are of equal numbers of both,
    at most `keep`. (Kynkaanniemi et al. take them in features of VGG-16; here they are in the network's own.)

    Args:
        network: the features.
        real, fake: the pictures; each is read one at a time, the reals twice where a cache does not know them.
        k: neighbours of precision and recall.
        keep: features of so many pictures are kept in memory, chosen at random: 163 MB for each set with Inception and 10,000.
        seed: draws the floor's pictures.
        batch_size: pictures that the network takes at a time.
        cache: a folder for the statistics of the reals (230 MB with Inception); see `caches.cache_folder`.

    Raises:
        ValueError: if there are too few pictures, or one is not uint8 [H, W, 3].
    """
    if k < 1 or keep < 2 * k + 2:
        raise ValueError(f"k is {k} and keep {keep}; k must be 1 or more, and keep {2 * k + 2} or more for that k")
    check_counts(len(real), len(fake), k)
    batch_size = min(batch_size, max(len(real), len(fake)))
    reals = statistics(network, real, keep, batch_size, cache, "real")
    fakes = statistics(network, fake, keep, batch_size, None, "fake")
    return compare_statistics(network, reals, fakes, k, seed)


def check_counts(real: int, fake: int, k: int = 3) -> None:
    """Raises ValueError if so few pictures cannot be compared."""
    for name, count, least in (("real", real, 2 * k + 2), ("fake", fake, k + 1)):
        if count < least:
            raise ValueError(f"there are {count} {name} pictures; with k = {k} there must be at least {least}")


def compare_statistics(network: FeatureNetwork, real: Statistics, fake: Statistics, k: int = 3, seed: int = 0) -> SampleMetrics:
    """The same for statistics of the network's that have been gathered."""
    kept_real, kept_fake = real.kept["pool"], fake.kept["pool"]
    n = min(len(kept_real), len(kept_fake), real.count // 2)
    generator = np.random.default_rng(seed)
    real_order, fake_order = generator.permutation(len(kept_real)), generator.permutation(len(kept_fake))
    measures = []
    for name, title in network.distances.items():
        part = Moments.of(real.kept[name][real_order[:n]])
        rest = real.moments[name] - part
        drawn = fake.moments[name] if n == fake.count else Moments.of(fake.kept[name][fake_order[:n]])
        value = frechet_distance(fake.moments[name], real.moments[name])
        measures.append(Measure(title, value, frechet_distance(drawn, rest), frechet_distance(part, rest)))
    m = min(len(kept_real), len(kept_fake))
    half = min(m, len(kept_real) // 2)
    reference, others = kept_real[real_order[:half]], kept_real[real_order[half : 2 * half]]
    shares = [
        precision_recall(kept_real[real_order[:m]], kept_fake[fake_order[:m]], k),
        precision_recall(reference, kept_fake[fake_order[:half]], k),
        precision_recall(reference, others, k),
    ]
    measures += [Measure(name, *numbers) for name, numbers in zip(("precision", "recall"), zip(*shares))]
    return SampleMetrics(
        features=network.name,
        fingerprint=network.fingerprint,
        real=real.count,
        fake=fake.count,
        floor_count=n,
        floor_reference=real.count - n,
        neighbours=k,
        neighbour_count=m,
        neighbour_floor=half,
        measures=tuple(measures),
        notes=(*network.notes, *_notes(network, real.count, fake.count, n)),
    )


def _notes(network: FeatureNetwork, real: int, fake: int, floor: int) -> list[str]:
    notes = []
    for name, title in network.distances.items():
        dimensions, fewest = network.dimensions[name], min(real, fake, floor)
        if fewest <= dimensions:
            notes.append(
                f"{title}: {fewest} pictures are fewer than its {dimensions} features need ({dimensions + 1}); such a distance"
                " is too large, and can be compared only with others of the same counts"
            )
    if floor < (most := min(fake, real // 2)):
        notes.append(f"the floor is of {floor} pictures, as features of no more are kept; that of {most} is lower")
    return notes


def table(metrics: SampleMetrics) -> str:
    """Aligned columns, a line for each measure, under a line that says what they are of; then the notes."""
    rows: list[tuple[str, ...]] = [("", "value", "matched", "floor")]
    for m in metrics.measures:
        digits = 4 if m.name in ("precision", "recall") else 3
        rows.append((m.name, *(f"{number:.{digits}f}" for number in (m.value, m.matched, m.floor))))
    network = f"{metrics.features} features ({metrics.fingerprint[:8]})"
    lines = [
        f"{network}; value: {metrics.fake} samples against {metrics.real} pictures",
        f"matched: {metrics.floor_count} samples against {metrics.floor_reference} pictures; floor: as many pictures instead",
        f"precision and recall (k = {metrics.neighbours}): {metrics.neighbour_count} of each; matched and floor: "
        f"{metrics.neighbour_floor} of each",
        "",
        aligned(rows),
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in metrics.notes)])
