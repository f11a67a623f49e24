"""Measures of sets of pictures for evaluate: distances, blockiness and nearest pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from dct_jax import plots
from dct_jax.tables import align, say_pictures

if TYPE_CHECKING:
    from dct_jax.data.pictures import Pictures
    from dct_jax.evaluation.features import FeatureNetwork
    from dct_jax.evaluation.reference import Statistics

_SHOWN = 20
_MOST_BYTES = 1 << 30  # of the training pictures among which the nearest are looked for


def compare_sets(
    network: "FeatureNetwork",
    real: "Statistics",
    fakes: "Mapping[str, Statistics]",
    sets: "Mapping[str, Pictures]",
    block_size: int,
) -> dict[str, dict[str, float]]:
    """Measures each set's distances to the training pictures, and its blockiness. Prints the table.

    Args:
        network: whose features are compared.
        real: of the training pictures.
        fakes: of each set.
        sets: the pictures of each set.
        block_size: of the blocks whose borders may show.
    """
    from dct_jax.evaluation.blockiness import blockiness
    from dct_jax.evaluation.distances import frechet_distance

    report: dict[str, dict[str, float]] = {}
    for name, pictures in sets.items():
        distances = {
            title: frechet_distance(fakes[name].moments[kind], real.moments[kind]) for kind, title in network.distances.items()
        }
        edges = blockiness((pictures[i] for i in range(len(pictures))), block_size)
        report[name] = {"pictures": len(pictures), **distances, "blockiness": edges}
    header = ("", *next(iter(report.values())))
    lines = [(name, str(row["pictures"]), *(f"{x:.3f}" for x in list(row.values())[1:])) for name, row in report.items()]
    known = say_pictures(real.count, real.different, "training pictures")
    print(f"distances to the {known}, and steps across block borders by those inside blocks:\n")
    print(align([header, *lines]) + "\n")
    for name, one in fakes.items():
        report[name]["different"] = one.different
        if one.different < one.count:
            print(f"note: {name} are {say_pictures(one.count, one.different)}\n")
    return report


def nearest_pictures(
    samples: "Pictures", held_out: Sequence[np.ndarray], training: "Pictures"
) -> tuple[dict[str, Any] | None, dict[str, Figure]]:
    """Measures how far samples and held-out pictures are from their nearest training pictures.

    All are as the model could sample them, and of one size, or nothing is measured; training
    pictures of another size are left out. Prints deciles.

    Returns:
        What evaluation.json says, and nearest.png: samples above their nearest training pictures.
    """
    from dct_jax.evaluation.nearest import DECILES, nearest

    images = [samples[i] for i in range(len(samples))]
    shape = images[0].shape
    number = min(len(training), _MOST_BYTES // images[0].size)
    # At even distances, as a source may be sorted by class.
    others = (training[i * len(training) // number] for i in range(number))
    alike = [one for one in others if one.shape == shape]
    if not alike or any(one.shape != shape for one in (*images, *held_out)):
        print("the pictures have several sizes, so the nearest training pictures are not looked for\n")
        return None, {}
    references = np.stack(alike)
    number = len(references)
    ours, theirs = nearest(np.stack(images), references), nearest(np.stack(held_out), references)
    deciles = {name: np.quantile(near.distances, DECILES).tolist() for name, near in (("samples", ours), ("held-out", theirs))}
    ratios = [a / b if b else float("nan") for a, b in zip(*deciles.values())]
    print(f"root mean squared distance to the nearest of {number} training pictures, in grey levels, at each decile:\n")
    rows = [(name, *(f"{x:.1f}" for x in row)) for name, row in deciles.items()]
    print(align([("", *(f"{share:.0%}" for share in DECILES)), *rows, ("ratio", *(f"{x:.2f}" for x in ratios))]) + "\n")
    columns = min(_SHOWN, len(images))
    figure = plots.pairs([("sample", images[:columns]), ("nearest", [references[i] for i in ours.indices[:columns]])])
    return {"references": number, "deciles": deciles, "ratios": ratios}, {"nearest.png": figure}
