"""What a list of triples may contain: the alphabet that the codec writes and the model predicts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dct_jax.codec.channel_order import ChannelOrder, channel_order
from dct_jax.codec.color import ChromaSubsampling, component_steps


@dataclass(frozen=True)
class Vocabulary:
    """The channels, positions and values of lists on one grid of blocks.

    A codec and an image size determine it (`DCTCodec.vocabulary`); toys build it directly.

    Attributes:
        block_size: B.
        grid: (h, w), the luma grid in blocks.
        largest_value: V. Values run from -V to V; 0 stands in the table and is never listed.
        chroma_subsampling: "4:2:0" puts chroma block (i, j) at luma block (2i, 2j), and so on;
            "4:0:0" has no chroma.
        channel_order: the order in which the list runs through the channels.
    """

    block_size: int
    grid: tuple[int, int]
    largest_value: int
    chroma_subsampling: ChromaSubsampling = "4:2:0"
    channel_order: ChannelOrder = "banded"

    @property
    def num_channels(self) -> int:
        """C: 3 B^2, or B^2 without chroma."""
        return len(component_steps(self.chroma_subsampling)) * self.block_size**2

    @property
    def num_positions(self) -> int:
        """P = h * w, for luma and chroma alike."""
        return self.grid[0] * self.grid[1]

    @property
    def num_values(self) -> int:
        """The size of the value table, 2 V + 1."""
        return 2 * self.largest_value + 1

    @property
    def stop(self) -> int:
        """The stopping token, in the channel slot: what follows the last triple."""
        return self.num_channels

    @property
    def start(self) -> int:
        """What stands in the channel slot before the first triple. It is read, never predicted."""
        return self.num_channels + 1

    @cached_property
    def channels(self) -> np.ndarray:
        """int32 [C]: the channels as the list runs through them."""
        order = channel_order(self.block_size, self.channel_order)  # [3 B^2]
        return order[order < self.num_channels]

    @cached_property
    def rank(self) -> np.ndarray:
        """int32 [C + 2]: the place of each channel in that order; the start before all, the stop
        after all."""
        rank = np.empty(self.num_channels + 2, np.int32)
        rank[self.channels] = np.arange(self.num_channels)
        rank[self.stop] = self.num_channels
        rank[self.start] = -1
        return rank

    @cached_property
    def is_chroma(self) -> np.ndarray:
        """int32 [C]: 1 where a channel belongs to Cb or Cr, 0 where it is luma."""
        return (np.arange(self.num_channels) >= self.block_size**2).astype(np.int32)

    @cached_property
    def on_grid(self) -> np.ndarray:
        """bool [2, h * w]: where luma and chroma channels have coefficients; index it with
        `is_chroma[channel]`."""
        rows, cols = component_steps(self.chroma_subsampling)[-1]
        on_grid = np.zeros((2, *self.grid), bool)
        on_grid[0], on_grid[1, ::rows, ::cols] = True, True
        return on_grid.reshape(2, -1)

    @property
    def longest_list(self) -> int:
        """The number of triples of a list that has every coefficient."""
        blocks = (
            -(-self.grid[0] // rows) * -(-self.grid[1] // cols) for rows, cols in component_steps(self.chroma_subsampling)
        )
        return self.block_size**2 * sum(blocks)
