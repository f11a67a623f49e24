"""What held-out pictures show of a model: elements and bits, exactly as `evaluate` has them.

Axes: N pictures, h x w codes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dct_jax.codes.config import CodePriorConfig
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.comparison.measures import Bits, Elements, HeldOut, Uncertain
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.distributed.parallel import replicate
from dct_jax.dq_transformer.stage import TrainedDQTransformer
from dct_jax.evaluation.estimate import ratio
from dct_jax.training.stage import HeldOutPictures, Trained
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import AutoencoderRunConfig
from dct_jax.window.stage import TrainedWindow


class Counts(NamedTuple):
    """The elements of each picture, int [N], and what they are, in the plural."""

    numbers: np.ndarray
    unit: str


def measure_held_out(model: Trained, held: HeldOutPictures, batch_size: int) -> HeldOut:
    """Measures a model on held-out pictures.

    Args:
        model: of any system.
        held: the pictures, as the model's reader has them.
        batch_size: about how many pictures at a time; the numbers do not depend on it.
    """
    report = model.stage.findings(model, held, [], batch_size, False).report
    counts, elements = count_elements(model, held.content), None
    if counts:
        low, high = np.quantile(counts.numbers, (0.05, 0.95))
        elements = Elements(counts.unit, float(counts.numbers.mean()), float(low), float(high))
    different = len(np.unique(held.pictures))
    return HeldOut(held.name, len(held.pictures), different, elements, _bits_of(model, held, report), report)


def count_elements(model: Trained, content: Any) -> Counts | None:
    """Counts what pictures are made of: triples of a DCTransformer, codes of all that has an
    autoencoder; None for other systems.

    Args:
        model: of any system.
        content: what its reader's `held_out` made of N pictures.
    """
    match model:
        case TrainedModel():
            return Counts(np.array([len(sparse) for sparse in content.lists]), "triples")
        case TrainedCodePrior():
            pictures = content.content
            make = partial(model.encode, pictures) if pictures.ndim == 4 else lambda: pictures
            return count_codes(model.config, model.config.num_codes, len(pictures), make)
        case TrainedAutoencoder():
            codes = model.config.quantizer.num_codes
            return count_codes(model.config, codes, len(content), lambda: np.concatenate(list(model.tokenize(content))))
    return None


def count_codes(
    config: CodePriorConfig | AutoencoderRunConfig, codes: int, number: int, make_codes: Callable[[], np.ndarray]
) -> Counts:
    """Counts the codes of pictures. Only grids that may have holes are looked at.

    Args:
        config: of a prior over codes, or of an autoencoder.
        codes: K, how many codes there are; other symbols are holes.
        number: of pictures, N.
        make_codes: returns their grids, int [N, h, w].
    """
    if config.num_symbols == codes:
        return Counts(np.full(number, np.prod(config.grid)), "codes")
    return Counts((make_codes() < codes).sum(axis=(1, 2)), "codes")


def _bits_of(model: Trained, held: HeldOutPictures, report: dict[str, Any]) -> Bits | None:
    """Returns the bits that a system's findings report; None for systems that have none."""
    match model:
        case TrainedModel():
            picture, pixel = (report["bits"][name] for name in ("bits_per_image", "bits_per_pixel"))
            return Bits(*(Uncertain(one["mean"], _number(one["standard_error"])) for one in (picture, pixel)))
        case TrainedWindow() | TrainedDQTransformer():
            numbers, bits = report["held_out"], _bits_of_pictures(model, held)
            errors = (Uncertain.of(ratio(x, 1.0, held.pictures)).error for x in (bits, bits / _pixels(model)))
            means = (numbers[name] for name in ("bits_per_picture", "bits_per_pixel"))
            return Bits(*(Uncertain(mean, error) for mean, error in zip(means, errors)))
    return None


def _bits_of_pictures(model: TrainedCodePrior, held: HeldOutPictures) -> np.ndarray:
    """Returns the bits of each picture, [N]: `Stage.evaluate` tells means alone, so it is asked for
    one picture after another."""
    devices = jax.local_devices()[:1]
    variables = replicate(model.variables, devices)
    parts = (jax.tree.map(lambda x, i=i: x[i : i + 1], held.content) for i in range(len(held.pictures)))
    return np.array([model.stage.evaluate(variables, part, devices)["bits_per_picture"] for part in parts])


def _pixels(model: Trained) -> int:
    height, width = model.config.data.image_size
    return height * width


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
