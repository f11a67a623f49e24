"""Where a model's bits go: log-likelihoods of lists by symbol, component, frequency band and chunk, with standard errors."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.codec.channel_order import zigzag
from dct_jax.dct.network import SymbolNats
from dct_jax.evaluation.estimate import Estimate, ratio

COMPONENTS = ("Y", "Cb", "Cr")
STOP = "stop"
"""The stopping token belongs to no component and no band."""


@dataclass(frozen=True)
class Bits:
    """What N held-out images cost under a model.

    Attributes:
        pictures, images, pixels, triples: how many there are; several images may be crops of one picture.
        bits_per_image, bits_per_pixel, nats_per_triple: of everything; in the last, as in training, the stopping token counts
            as a triple.
        by_symbol: bits per image of the channels (with the stopping token), positions and values.
        by_component: of the triples of Y, Cb and Cr, and of the stopping token.
        by_band: of the triples whose frequencies, vertical and horizontal, have the sum 0, 1 .. 2 B - 2, and of the stopping
            token.
        by_chunk: of the elements of chunk 0, 1 and so on.
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
        """Plain numbers and dictionaries, for JSON."""
        return asdict(self)


def break_down(
    lists: Sequence[SparseDCT], nats: Sequence[SymbolNats], chunk_size: int, pictures: Sequence[int] | None = None
) -> Bits:
    """Adds up the log-likelihoods of the symbols of N lists.

    Args:
        lists: at least one, all of one codec.
        nats: of each list of L triples [L + 1] for each symbol, as `likelihood.element_log_prob` gives them.
        chunk_size: C.
        pictures: [N], which picture each list is of; each of its own by default.
    """
    owners = np.arange(len(lists)) if pictures is None else np.asarray(pictures)  # [N]

    def named(names: Iterable[str], bits: np.ndarray) -> dict[str, Estimate]:
        """The mean of each column of [N, groups]."""
        return {name: ratio(column, 1.0, owners) for name, column in zip(names, bits.T)}

    codec = lists[0].codec
    area = codec.block_size**2
    bands = np.add(*np.divmod(zigzag(codec.block_size), codec.block_size))  # [B^2], of each zigzag index
    by_symbol = np.array([[-x.sum(dtype=np.float64) for x in one] for one in nats]) / np.log(2)  # [N, 3]
    elements = [-sum(np.asarray(x, np.float64) for x in one) for one in nats]  # [L + 1] each
    components = [np.append(sparse.channels // area, len(COMPONENTS)) for sparse in lists]
    of_bands = [np.append(bands[sparse.channels % area], bands[-1] + 1) for sparse in lists]
    chunks = [np.arange(len(sparse) + 1) // chunk_size for sparse in lists]
    totals = np.array([x.sum() for x in elements])  # [N], nats
    pixels, triples = np.array([(sparse.size[0] * sparse.size[1], len(sparse)) for sparse in lists], float).T  # [N] each
    used = len(codec.component_steps)
    by_component = _per_image(elements, components, len(COMPONENTS) + 1)  # [N, 4]
    return Bits(
        pictures=len(np.unique(owners)),
        images=len(lists),
        pixels=int(pixels.sum()),
        triples=int(triples.sum()),
        bits_per_image=ratio(totals / np.log(2), 1.0, owners),
        bits_per_pixel=ratio(totals / np.log(2), pixels, owners),
        nats_per_triple=ratio(totals, triples + 1, owners),
        by_symbol=named(SymbolNats._fields, by_symbol),
        by_component=named((*COMPONENTS[:used], STOP), by_component[:, [*range(used), -1]]),
        by_band=named((*map(str, range(bands[-1] + 1)), STOP), _per_image(elements, of_bands, bands[-1] + 2)),
        by_chunk=named(map(str, range(most := max(x[-1] for x in chunks) + 1)), _per_image(elements, chunks, most)),
    )


def _per_image(nats: Sequence[np.ndarray], groups: Sequence[np.ndarray], number: int) -> np.ndarray:
    """Nats [L + 1] and the group of each, for N images -> bits [N, number]."""
    return np.array([np.bincount(g, x, minlength=number) for x, g in zip(nats, groups)]) / np.log(2)
