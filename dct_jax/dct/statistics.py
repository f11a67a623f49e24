"""Measures how long codecs make the lists of pictures, and what is lost, to choose B and q."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.codec import DCTCodec
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import pixels
from dct_jax.data.skipped import Skipped, skip_of
from dct_jax.data.sources import Source
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


def sampled_images(source: Source, number: int, size: tuple[int, int] | None, skipped: Skipped) -> Iterator[np.ndarray]:
    """Yields pictures at even distances in the source, uint8 [H, W, 3].

    Args:
        source: the pictures.
        number: how many pictures, from 1 to all.
        size: (H, W), to which central crops are reduced; None leaves pictures as they are.
        skipped: it counts the pictures that cannot be used.

    Raises:
        ValueError: if none of the pictures can be used, or too few.
    """
    for i in range(number):
        index = i * len(source) // number
        key = f"{source.name}, picture {index}"
        try:
            record = source[index]
            key = record.key
            image = pixels(record)
            image = image if size is None else central_crop(image, size)
        except ValueError as error:
            skipped.note(1, [skip_of(key, error)])
            continue
        skipped.note(1, [])
        yield image
    if len(skipped) == number:
        first = next(iter(skipped.by_key.values()))
        raise ValueError(f"{source.name}: none of the {number} pictures that were tried can be used; {first.message}")


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
