"""Says where a model's bits go, by symbol, component, frequency band and chunk."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.codec.channel_order import frequencies
from dct_jax.dct.network import SymbolNats
from dct_jax.evaluation.estimate import Estimate, ratio

COMPONENTS = ("Y", "Cb", "Cr")
STOP = "stop"
"""The stopping token belongs to no component and no band."""


@dataclass(frozen=True)
class Bits:
    """The bits of N held-out images under a model.

    Attributes:
        pictures, images, pixels, triples: their numbers; several images may be crops of one
            picture.
        bits_per_image, bits_per_pixel, nats_per_triple: the cost of everything. In nats_per_triple
            the stopping token counts as a triple, as in training.
        by_symbol: bits per image of the channels (with the stopping token), positions and values.
        by_component: bits per image of the triples of Y, Cb and Cr, and of the stopping token.
        by_band: bits per image of the triples whose vertical and horizontal frequency have the sum
            0, 1 .. 2 B - 2, and of the stopping token.
        by_chunk: bits per image of the elements of chunk 0, 1 and so on.
    """

    pictures: int
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
        """Returns plain numbers and dictionaries, for JSON."""
        return asdict(self)


def break_down(
    lists: Sequence[SparseDCT], nats: Sequence[SymbolNats[np.ndarray]], chunk_size: int, pictures: Sequence[int] | None = None
) -> Bits:
    """Adds up the log-likelihoods of the symbols of N lists.

    Args:
        lists: at least one; their codecs differ in their tables alone.
        nats: the results of `likelihood.element_log_prob`: [L + 1] for a list of L triples.
        chunk_size: C.
        pictures: [N], the picture that each list shows; by default each shows another one.
    """
    owners = np.arange(len(lists)) if pictures is None else np.asarray(pictures)  # [N]

    def estimates(names: Iterable[str], bits: np.ndarray) -> dict[str, Estimate]:
        """Returns the mean of each column of [N, groups]."""
        return {name: ratio(column, 1.0, owners) for name, column in zip(names, bits.T)}

    codec = lists[0].codec
    area = codec.block_size**2
    bands = np.add(*frequencies(codec.block_size))  # [B^2], of each zigzag index
    by_symbol = np.array([[-x.sum(dtype=np.float64) for x in one] for one in nats]) / np.log(2)  # [N, 3]
    elements = [-np.sum([np.asarray(x, np.float64) for x in one], axis=0) for one in nats]  # [L + 1] each
    components = [np.append(sparse.channels // area, len(COMPONENTS)) for sparse in lists]
    of_bands = [np.append(bands[sparse.channels % area], bands[-1] + 1) for sparse in lists]
    chunks = [np.arange(len(sparse) + 1) // chunk_size for sparse in lists]
    totals = np.array([x.sum() for x in elements])  # [N], nats
    pixels, triples = np.array([(sparse.size[0] * sparse.size[1], len(sparse)) for sparse in lists], float).T  # [N] each
    number = len(codec.component_steps)
    by_component = _per_image(elements, components, len(COMPONENTS) + 1)  # [N, 4]
    return Bits(
        pictures=len(np.unique(owners)),
        images=len(lists),
        pixels=int(pixels.sum()),
        triples=int(triples.sum()),
        bits_per_image=ratio(totals / np.log(2), 1.0, owners),
        bits_per_pixel=ratio(totals / np.log(2), pixels, owners),
        nats_per_triple=ratio(totals, triples + 1, owners),
        by_symbol=estimates(SymbolNats._fields, by_symbol),
        by_component=estimates((*COMPONENTS[:number], STOP), by_component[:, [*range(number), -1]]),
        by_band=estimates((*map(str, range(bands[-1] + 1)), STOP), _per_image(elements, of_bands, bands[-1] + 2)),
        by_chunk=estimates(map(str, range(most := max(x[-1] for x in chunks) + 1)), _per_image(elements, chunks, most)),
    )


def _per_image(nats: Sequence[np.ndarray], groups: Sequence[np.ndarray], number: int) -> np.ndarray:
    """Adds up nats by their groups, [L + 1] each, for N images. Returns bits [N, number]."""
    return np.array([np.bincount(g, x, minlength=number) for x, g in zip(nats, groups)]) / np.log(2)
