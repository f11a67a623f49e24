"""Measures how long codecs make the lists of pictures, and what is lost, to choose B and q."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.codec import DCTCodec
from dct_jax.tables import align


class ListStatistics(NamedTuple):
    """The lists of N images under one codec.

    Attributes:
        codec: the codec.
        lengths: int64 [N], triples of each list.
        nonzeros: int64 [C], how many coefficients of each channel are not zero, in all images.
        places: int64 [C], how many coefficients each channel has.
        largest: the largest magnitude of a value.
        decibels: float64 [N], the PSNR of each decoded image.
    """

    codec: DCTCodec
    lengths: np.ndarray
    nonzeros: np.ndarray
    places: np.ndarray
    largest: int
    decibels: np.ndarray

    @property
    def mean_psnr(self) -> float:
        """Returns the mean PSNR of the images that lose something, in dB; infinity if none does."""
        lossy = self.decibels[np.isfinite(self.decibels)]
        return float(lossy.mean()) if len(lossy) else np.inf


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of two images, uint8 [H, W, 3], in dB: infinity if
    they are equal."""
    difference = image.astype(np.int32) - other
    error = np.square(difference).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


def measure(image: np.ndarray, codec: DCTCodec) -> ListStatistics:
    """Measures one image, uint8 [H, W, 3]."""
    sparse = codec.encode(image)
    vocabulary = codec.vocabulary(sparse.size)
    return ListStatistics(
        codec,
        lengths=np.array([len(sparse)]),
        nonzeros=np.bincount(sparse.channels, minlength=vocabulary.num_channels),
        places=vocabulary.on_grid.sum(axis=1)[vocabulary.is_chroma],
        largest=int(np.abs(sparse.values).max(initial=0)),
        decibels=np.array([psnr(image, codec.decode(sparse))]),
    )


def join(parts: Sequence[ListStatistics]) -> ListStatistics:
    """Joins the statistics of parts, at least one, which have one codec."""
    _, lengths, nonzeros, places, largest, decibels = zip(*parts)
    images = np.concatenate(lengths), np.concatenate(decibels)
    return ListStatistics(parts[0].codec, images[0], np.sum(nonzeros, axis=0), np.sum(places, axis=0), max(largest), images[1])


def survey(images: Iterable[np.ndarray], codecs: Sequence[DCTCodec]) -> list[ListStatistics]:
    """Measures the images, at least one, under each codec. One image at a time is in memory."""
    parts = [[measure(image, codec) for codec in codecs] for image in images]
    return [join(column) for column in zip(*parts)]


def sweep(codec: DCTCodec, block_sizes: Sequence[int], qualities: Sequence[int]) -> list[DCTCodec]:
    """Returns a codec, and its copies with every block size and quality: each once, sorted by
    these. A codec with its own tables comes last."""
    pairs = [(b, q) for b in block_sizes for q in qualities]
    codecs = {codec, *(dataclasses.replace(codec, block_size=b, quality=q, tables=()) for b, q in pairs)}
    return sorted(codecs, key=lambda c: (c.block_size, c.quality or 101))


def table(rows: Sequence[ListStatistics]) -> str:
    """Makes a table, a line for each codec. Lengths are in triples; "tables" stands for a codec's
    own tables in place of q."""
    header = ("B", "q", "mean", "p5", "p50", "p95", "max", "non-zero %", "largest", "PSNR dB")
    return align([header, *(_cells(row) for row in rows)], names=0)


def _cells(row: ListStatistics) -> tuple[str, ...]:
    codec, lengths = row.codec, row.lengths
    sizes = (lengths.mean(), *np.percentile(lengths, (5, 50, 95)), lengths.max())
    return (
        str(codec.block_size),
        str(codec.quality or "tables"),
        *(f"{size:.0f}" for size in sizes),
        f"{100 * row.nonzeros.sum() / row.places.sum():.2f}",
        str(row.largest),
        f"{row.mean_psnr:.2f}",
    )
