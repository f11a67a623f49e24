"""Means over images, and how certain they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and its standard error.

    Attributes:
        mean: of the images that were looked at.
        standard_error: its expected distance from the mean over all pictures; NaN for one picture.
    """

    mean: float
    standard_error: float

    def __format__(self, form: str) -> str:
        return f"{self.mean:{form}} +- {self.standard_error:{form}}"


def ratio(
    numerators: np.ndarray, denominators: np.ndarray | float = 1.0, pictures: Sequence[int] | np.ndarray | None = None
) -> Estimate:
    """The ratio of two sums over N images, such as bits to pixels.

    Its standard error is the delta method's, by the pictures that the images are crops of, as crops
    of one picture are alike: sqrt(G / (G - 1) * sum_g r_g^2) / sum of the denominators, where r_g
    adds up numerator - ratio * denominator over the images of picture g of G (Cochran, "Sampling
    Techniques", 1977, sections 6.4 and 9A). With denominator 1 and an image a picture it is a
    mean's.

    Args:
        numerators: float [N].
        denominators: float [N], or a number.
        pictures: [N], which picture each image is of; each of its own by default.
    """
    denominators = np.broadcast_to(denominators, numerators.shape)  # [N]
    value = numerators.sum() / denominators.sum()
    owners = np.arange(len(numerators)) if pictures is None else np.unique(pictures, return_inverse=True)[1]  # [N]
    residuals = np.bincount(owners, numerators - value * denominators)  # [G]
    groups = len(residuals)
    error = np.sqrt(groups / (groups - 1) * np.sum(residuals**2)) if groups > 1 else np.nan
    return Estimate(float(value), float(error / denominators.sum()))
