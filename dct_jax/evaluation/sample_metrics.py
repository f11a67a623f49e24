"""How near samples are to real pictures: Frechet distances, precision, recall, and floors."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.crops import count_whole, gather, is_divided
from dct_jax.evaluation.distances import Moments, frechet_distance, precision_recall
from dct_jax.evaluation.features.network import FeatureNetwork
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.tables import align, say_pictures

KEEP = 10_000
"""Features of so many pictures are kept in memory."""


@dataclass(frozen=True)
class Measure:
    """A number, and numbers to compare it with.

    Attributes:
        name: "FID", "sFID", "FD-AlexNet", "precision" or "recall".
        value: the headline: all fakes against all reals (of precision and recall, `neighbour_count`
            of each).
        matched: `floor_count` fakes against the floor's reference.
        floor: `floor_count` other reals against the floor's reference. Quantised real pictures
            would have `matched` a little above it; samples are hardly nearer.
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
        different: how many pictures the reals are crops of; `real` if no two are of one.
        floor_count, floor_reference: how many pictures and reals the distances `matched` and
            `floor` are of.
        neighbours: k of precision and recall.
        neighbour_count: how many reals, and as many fakes, precision and recall are of.
        neighbour_floor: how many of each the `matched` and `floor` of precision and recall are of.
        measures: the numbers.
        notes: what should be known to read them, a line each.
    """

    features: str
    fingerprint: str
    real: int
    fake: int
    different: int
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
    """Frechet distances of all the network's features, and precision and recall in its "pool"
    features.

    The distances are of all fakes and all reals, as in the literature. They are not 0 for perfect
    samples, because means and covariances of finite sets differ. So there is a floor: n =
    min(fakes, half of the reals, `keep`) reals against the remaining ones, and n fakes against the
    remaining reals, too. Crops of one picture are not on both sides of a floor, so n becomes a
    little smaller where there are such crops. Only if that would leave less than k + 1, or if one
    picture has more crops than n, one picture is on both sides, and a note says so. Precision and
    recall depend on counts as well; they are of equal numbers of both, at most `keep`.
    (Kynkaanniemi et al. take features of VGG-16, not the network's.)

    Args:
        network: the features.
        real, fake: the pictures, read one at a time; the reals twice if a cache lacks them.
        k: neighbours of precision and recall.
        keep: how many pictures' features are kept in memory, chosen at random: 163 MB for a set
            with Inception and 10,000.
        seed: chooses the floor's pictures.
        batch_size: pictures that the network takes at a time.
        cache: a folder for the reals' statistics (230 MB with Inception); see `cache_folder`.

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
    """Compares two sets' statistics of the network's features, as `compare` does."""
    kept_real, kept_fake = real.kept["pool"], fake.kept["pool"]
    n = min(len(kept_real), len(kept_fake), real.count // 2)
    generator = np.random.default_rng(seed)
    mixed, fake_order = generator.permutation(len(kept_real)), generator.permutation(len(kept_fake))
    real_order = gather(mixed, real.owners)  # crops of a picture on one side
    least = k + 1  # what precision and recall need
    n = max(count_whole(real.owners[real_order], n), least)
    measures = []
    for name, title in network.distances.items():
        part = Moments.of(real.kept[name][real_order[:n]])
        rest = real.moments[name] - part
        fakes = fake.moments[name] if n == fake.count else Moments.of(fake.kept[name][fake_order[:n]])
        value = frechet_distance(fake.moments[name], real.moments[name])
        measures.append(Measure(title, value, frechet_distance(fakes, rest), frechet_distance(part, rest)))
    m = min(len(kept_real), len(kept_fake))
    half = max(count_whole(real.owners[real_order], min(m, len(kept_real) // 2)), least)
    divided = any(is_divided(real.owners[real_order], place) for place in (n, half))
    reference, others = kept_real[real_order[:half]], kept_real[real_order[half : 2 * half]]
    shares = [
        precision_recall(kept_real[mixed[:m]], kept_fake[fake_order[:m]], k),
        precision_recall(reference, kept_fake[fake_order[:half]], k),
        precision_recall(reference, others, k),
    ]
    measures += [Measure(name, *numbers) for name, numbers in zip(("precision", "recall"), zip(*shares))]
    return SampleMetrics(
        features=network.name,
        fingerprint=network.fingerprint,
        real=real.count,
        fake=fake.count,
        different=real.different,
        floor_count=n,
        floor_reference=real.count - n,
        neighbours=k,
        neighbour_count=m,
        neighbour_floor=half,
        measures=tuple(measures),
        notes=(*network.notes, *_notes(network, real, fake.count, n, min(len(kept_real), len(kept_fake)), divided)),
    )


def _notes(network: FeatureNetwork, reals: Statistics, fake: int, floor: int, kept: int, divided: bool) -> list[str]:
    notes, real = [], reals.count
    if reals.different < real:
        said = say_pictures(real, reals.different)
        notes.append(
            f"the {said} are compared with samples; a floor is of crops of some against crops of others, so samples can be "
            "below it, and it says little if the pictures are few"
        )
    if divided:
        notes.append("crops of one picture are on both sides of a floor, so that one is too low")
    for name, title in network.distances.items():
        dimensions, fewest = network.dimensions[name], min(real, fake, floor)
        if fewest <= dimensions:
            notes.append(
                f"{title}: {fewest} pictures are fewer than its {dimensions} features need ({dimensions + 1}); such a distance"
                " is too large, and can be compared only with others of the same counts"
            )
    if kept < (most := min(fake, real // 2)):
        notes.append(f"the floor is of {floor} pictures, as features of no more are kept; that of {most} is lower")
    return notes


def table(metrics: SampleMetrics) -> str:
    """Writes what the measures are of, aligned columns with a line for each measure, and the
    notes."""
    rows: list[tuple[str, ...]] = [("", "value", "matched", "floor")]
    for m in metrics.measures:
        digits = 4 if m.name in ("precision", "recall") else 3
        rows.append((m.name, *(f"{number:.{digits}f}" for number in (m.value, m.matched, m.floor))))
    network = f"{metrics.features} features ({metrics.fingerprint[:8]})"
    lines = [
        f"{network}; value: {metrics.fake} samples against {say_pictures(metrics.real, metrics.different)}",
        f"matched: {metrics.floor_count} samples against {metrics.floor_reference} pictures; floor: as many pictures instead",
        f"precision and recall (k = {metrics.neighbours}): {metrics.neighbour_count} of each; matched and floor: "
        f"{metrics.neighbour_floor} of each",
        "",
        align(rows),
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in metrics.notes)])
