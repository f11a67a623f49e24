"""SparseDCT: an image as a sorted list of non-zero quantised DCT coefficients."""

from dataclasses import dataclass

import numpy as np

from dct_jax.codec.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class SparseDCT:
    """A list of triples (channel, position, value), sorted by channel in the codec's channel order, then by position.

    Attributes:
        channels: int32 [L], component * B^2 + zigzag index.
        positions: int32 [L], raster index of the block on the luma grid.
        values: int32 [L], never 0.
        grid: (h, w), the luma grid in blocks.
        size: (H, W), the image in pixels.
    """

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    grid: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def empty(cls, grid: tuple[int, int], size: tuple[int, int]) -> "SparseDCT":
        """The list without triples: a grey image."""
        nothing = np.zeros(0, np.int32)
        return cls(nothing, nothing, nothing, grid, size)

    def __len__(self) -> int:
        return len(self.channels)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SparseDCT)
            and (self.grid, self.size) == (other.grid, other.size)
            and np.array_equal(self.channels, other.channels)
            and np.array_equal(self.positions, other.positions)
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None

    def __getitem__(self, part: slice) -> "SparseDCT":
        """A part of the list on the same grid; a prefix is a coarse version of the image."""
        return SparseDCT(self.channels[part], self.positions[part], self.values[part], self.grid, self.size)

    def validate(self, vocabulary: Vocabulary) -> None:
        """Raises ValueError, naming the first offending index, if the list is not one of the vocabulary's."""
        arrays = {"channels": self.channels, "positions": self.positions, "values": self.values}
        for name, array in arrays.items():
            if not (isinstance(array, np.ndarray) and array.ndim == 1 and np.issubdtype(array.dtype, np.integer)):
                raise ValueError(f"{name} must be a one-dimensional array of integers")
            if len(array) != len(self.channels):
                raise ValueError(f"{name} has {len(array)} elements, channels has {len(self.channels)}; they must agree")
        if tuple(self.grid) != tuple(vocabulary.grid):
            raise ValueError(f"the list's grid is {tuple(self.grid)} blocks; it must be {tuple(vocabulary.grid)}")

        channels, positions, values = (array.astype(np.int64) for array in arrays.values())  # [L] each
        limit = vocabulary.largest_value
        bad_channel = (channels < 0) | (channels >= vocabulary.num_channels)
        bad_position = (positions < 0) | (positions >= vocabulary.num_positions)
        channel, position = np.where(bad_channel, 0, channels), np.where(bad_position, 0, positions)
        place = vocabulary.rank[channel].astype(np.int64) * vocabulary.num_positions + position  # [L], in list order
        unsorted = np.diff(place, prepend=-1) <= 0
        faults = {
            f"channels are 0..{vocabulary.num_channels - 1}": bad_channel,
            f"positions are 0..{vocabulary.num_positions - 1}": bad_position,
            "this channel has no coefficient at this position": ~vocabulary.on_grid[vocabulary.is_chroma[channel], position],
            f"values are -{limit}..{limit} and not 0": (values == 0) | (np.abs(values) > limit),
            "it does not come after the triple before it; lists are sorted by channel, then position": unsorted,
        }  # bool [L] each
        found = {why: int(np.argmax(bad)) for why, bad in faults.items() if bad.any()}
        if found:
            why = min(found, key=found.__getitem__)  # of several faults in one triple, the first in the order above
            triple = tuple(int(array[found[why]]) for array in arrays.values())
            raise ValueError(f"triple {found[why]} is {triple}: {why}")
