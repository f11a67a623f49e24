"""Where a model's bits go: log-likelihoods of lists by symbol, component, frequency band and chunk, with standard errors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.codec.channel_order import zigzag
from dct_jax.model import SymbolNats

COMPONENTS = ("Y", "Cb", "Cr")
STOP = "stop"
"""The stopping token belongs to no component and no band."""


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and the standard error of it.

    Attributes:
        mean: of the images that were looked at.
        standard_error: how far that is expected to be from the mean over all images of their kind; NaN for one image.
    """

    mean: float
    standard_error: float

    def __format__(self, form: str) -> str:
        return f"{self.mean:{form}} +- {self.standard_error:{form}}"


def ratio(numerators: np.ndarray, denominators: np.ndarray | float = 1.0) -> Estimate:
    """The ratio of two sums over N images, such as bits to pixels.

    Its standard error is the delta method's: that of the mean of numerator - ratio * denominator, divided by the mean
    denominator (Cochran, "Sampling Techniques", 1977, section 6.4). With a denominator of 1 it is a mean's.

    Args:
        numerators: float [N].
        denominators: float [N], or a number.
    """
    denominators = np.broadcast_to(denominators, numerators.shape)  # [N]
    value = numerators.sum() / denominators.sum()
    residuals, count = numerators - value * denominators, len(numerators)
    variance = np.sum(residuals**2) / (count - 1) / count if count > 1 else np.nan
    return Estimate(float(value), float(np.sqrt(variance) / denominators.mean()))


@dataclass(frozen=True)
class Bits:
    """What N held-out images cost under a model.

    Attributes:
        images, pixels, triples: how many there are.
        bits_per_image, bits_per_pixel, nats_per_triple: of everything; in the last, as in training, the stopping token counts
            as a triple.
        by_symbol: bits per image of the channels (with the stopping token), positions and values.
        by_component: of the triples of Y, Cb and Cr, and of the stopping token.
        by_band: of the triples whose frequencies, vertical and horizontal, have the sum 0, 1 .. 2 B - 2, and of the stopping
            token.
        by_chunk: of the elements of chunk 0, 1 and so on.
    """

    images: int
    pixels: int
    triples: int
    bits_per_image: Estimate
    bits_per_pixel: Estimate
    nats_per_triple: Estimate
    by_symbol: dict[str, Estimate]
    by_component: dict[str, Estimate]
    by_band: dict[str, Estimate]
    by_chunk: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and dictionaries, for JSON."""
        return asdict(self)


def break_down(lists: Sequence[SparseDCT], nats: Sequence[SymbolNats], chunk_size: int) -> Bits:
    """Adds up the log-likelihoods of the symbols of N lists.

    Args:
        lists: at least one, all of one codec.
        nats: of each list of L triples [L + 1] for each symbol, as `likelihood.element_log_prob` gives them.
        chunk_size: C.
    """
    codec = lists[0].codec
    area = codec.block_size**2
    bands = np.add(*np.divmod(zigzag(codec.block_size), codec.block_size))  # [B^2], of each zigzag index
    symbols = {name: _per_image([-getattr(one, name) for one in nats], [0] * len(lists), 1) for name in SymbolNats._fields}
    elements = [-sum(np.asarray(x, np.float64) for x in one) for one in nats]  # [L + 1] each
    components = [np.append(sparse.channels // area, len(COMPONENTS)) for sparse in lists]
    of_bands = [np.append(bands[sparse.channels % area], bands[-1] + 1) for sparse in lists]
    chunks = [np.arange(len(sparse) + 1) // chunk_size for sparse in lists]
    totals = np.array([x.sum() for x in elements])  # [N], nats
    pixels, triples = np.array([(sparse.size[0] * sparse.size[1], len(sparse)) for sparse in lists], float).T  # [N] each
    used = len(codec.component_steps)
    by_component = _per_image(elements, components, len(COMPONENTS) + 1)  # [N, 4]
    return Bits(
        images=len(lists),
        pixels=int(pixels.sum()),
        triples=int(triples.sum()),
        bits_per_image=ratio(totals / np.log(2)),
        bits_per_pixel=ratio(totals / np.log(2), pixels),
        nats_per_triple=ratio(totals, triples + 1),
        by_symbol={name: ratio(bits[:, 0]) for name, bits in symbols.items()},
        by_component=_named((*COMPONENTS[:used], STOP), by_component[:, [*range(used), -1]]),
        by_band=_named((*map(str, range(bands[-1] + 1)), STOP), _per_image(elements, of_bands, bands[-1] + 2)),
        by_chunk=_named(map(str, range(most := max(x[-1] for x in chunks) + 1)), _per_image(elements, chunks, most)),
    )


def _per_image(nats: Sequence[np.ndarray], groups: Sequence[np.ndarray | int], number: int) -> np.ndarray:
    """Nats [L + 1] and the group of each, for N images -> bits [N, number]."""
    rows = [np.bincount(np.broadcast_to(g, x.shape), x, minlength=number) for x, g in zip(nats, groups)]
    return np.array(rows) / np.log(2)


def _named(names: Any, bits: np.ndarray) -> dict[str, Estimate]:
    return {name: ratio(column) for name, column in zip(names, bits.T)}
