"""SparseDCT: an image as a sorted list of non-zero quantised DCT coefficients."""

import dataclasses
import operator
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from dct_jax.codec.channel_order import ChannelOrder
from dct_jax.codec.color import component_steps
from dct_jax.codec.triples import first_fault
from dct_jax.codec.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dct_jax.codec.codec import DCTCodec


MAX_PIXELS = 2**28
"""Larger images are not read from files: a forged size must not take the memory."""


def image_size(size: tuple[int, int]) -> tuple[int, int]:
    """Returns (H, W) as plain integers. Raises ValueError unless these are two and positive."""
    if type(size) is tuple and len(size) == 2 and type(size[0]) is type(size[1]) is int and size[0] > 0 < size[1]:
        return size  # the common case, which a batch of small images meets often
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        raise ValueError(f"the size is {size!r}; it must be two integers, height and width in pixels") from None
    if height < 1 or width < 1:
        raise ValueError(f"the size is {height} x {width} pixels; it must be positive")
    return height, width


@dataclass(frozen=True, eq=False)
class SparseDCT:
    """A list of triples (channel, position, value), sorted by channel in the codec's channel order,
    then by position.

    Attributes:
        channels: int32 [L], component * B^2 + zigzag index.
        positions: int32 [L], raster index of the block on the luma grid.
        values: int32 [L], never 0.
        size: (H, W), the image in pixels.
        codec: block size, quantisation tables, chroma subsampling and channel order.

    Raises:
        ValueError: if the size is not two positive integers. `validate` checks the triples.
    """

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    size: tuple[int, int]
    codec: "DCTCodec"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", image_size(self.size))

    @classmethod
    def empty(cls, size: tuple[int, int], codec: "DCTCodec") -> "SparseDCT":
        """Returns the list without triples: a grey image."""
        nothing = np.zeros(0, np.int32)
        return cls(nothing, nothing, nothing, size, codec)

    @classmethod
    def from_jpeg(
        cls,
        source: bytes | str | PathLike,
        channel_order: ChannelOrder = "banded",
        upright: bool = True,
        strict: bool = True,
    ) -> "SparseDCT":
        """Reads a JPEG file's coefficients, without pixels: see `dct_jax.codec.jpeg.read_jpeg`."""
        from dct_jax.codec.jpeg import read_jpeg  # the file format stands above the list

        return read_jpeg(source, channel_order, upright, strict)

    def to_jpeg(self) -> bytes:
        """Returns a JPEG file with these coefficients: see `dct_jax.codec.jpeg.write_jpeg`."""
        from dct_jax.codec.jpeg import write_jpeg

        return write_jpeg(self)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), the luma grid in blocks."""
        return self.codec.grid(self.size)

    def __len__(self) -> int:
        return len(self.channels)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SparseDCT)
            and (self.size, self.codec) == (other.size, other.codec)
            and np.array_equal(self.channels, other.channels)
            and np.array_equal(self.positions, other.positions)
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, part: slice) -> "SparseDCT":
        """Returns a part of the list; a prefix is a coarse version of the image."""
        if not isinstance(part, slice):
            raise TypeError(f"a list is cut with slices, as in sparse[:100], not with {part!r}")
        return dataclasses.replace(self, channels=self.channels[part], positions=self.positions[part], values=self.values[part])

    def validate(self, vocabulary: Vocabulary) -> None:
        """Raises ValueError, naming the first offending index, if the list is not one of the
        vocabulary's. Its own grid of blocks may be smaller than the vocabulary's; its positions are
        those of its own grid."""
        arrays = {"channels": self.channels, "positions": self.positions, "values": self.values}
        for name, array in arrays.items():
            if not (isinstance(array, np.ndarray) and array.ndim == 1 and np.issubdtype(array.dtype, np.integer)):
                raise ValueError(f"{name} must be a one-dimensional array of integers")
            if len(array) != len(self.channels):
                raise ValueError(f"{name} has {len(array)} elements, channels has {len(self.channels)}; they must agree")
        if any(ours > theirs for ours, theirs in zip(self.grid, vocabulary.grid)):
            raise ValueError(f"the list's grid is {self.grid} blocks; it must fit into {tuple(vocabulary.grid)}")

        channels, positions, values = (_whole(name, array) for name, array in arrays.items())
        v = vocabulary
        steps = component_steps(v.chroma_subsampling)[-1]
        index, fault = first_fault(
            channels, positions, values, v.rank[: v.num_channels], v.block_size**2, self.grid, steps, v.largest_value
        )
        if index >= 0:
            faults = (
                f"channels are 0..{v.num_channels - 1}",
                f"positions are 0..{self.grid[0] * self.grid[1] - 1}",
                "this channel has no coefficient at this position",
                f"values are -{v.largest_value}..{v.largest_value} and not 0",
                "it does not come after the triple before it; lists are sorted by channel, then position",
            )
            triple = (int(channels[index]), int(positions[index]), int(values[index]))
            raise ValueError(f"triple {index} is {triple}: {faults[fault]}")


def _whole(name: str, array: np.ndarray) -> np.ndarray:
    """Returns int32 [L] as it is, any other integers as int64 [L]."""
    if array.dtype == np.int32:
        return np.ascontiguousarray(array)
    if not np.can_cast(array.dtype, np.int64):
        raise ValueError(f"{name} are {array.dtype}; they must be int32")
    return array.astype(np.int64)
