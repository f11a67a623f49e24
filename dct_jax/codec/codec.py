"""DCTCodec: RGB images <-> sparse DCT triples, as section 3 of the paper describes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dct_jax.codec import transform
from dct_jax.codec.channel_order import CHANNEL_ORDERS, ChannelOrder, zigzag
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS, ChromaSubsampling, double, halve, pad_edges, rgb_to_ycc, ycc_to_rgb
from dct_jax.codec.sparse import SparseDCT
from dct_jax.codec.vocabulary import Vocabulary

BLOCK_SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class DCTCodec:
    """Turns images into lists of quantised DCT coefficients and back. It is also the codec's configuration.

    Attributes:
        block_size: B, the side of a block in samples: 1, 2, 4, 8 (JPEG's), 16 or 32.
        quality: q, 1..100: scales the quantisation tables as libjpeg does.
        chroma_subsampling: "4:2:0" halves chroma in both directions, "4:4:4" keeps it.
        channel_order: how the list is sorted: "banded" (the paper's), "interleaved" or "luma_first".

    Raises:
        ValueError: if a field is out of its range.
    """

    block_size: int = 8
    quality: int = 50
    chroma_subsampling: ChromaSubsampling = "4:2:0"
    channel_order: ChannelOrder = "banded"

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size is {self.block_size}; it must be one of {', '.join(map(str, BLOCK_SIZES))}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}; it must be from 1 to 100")
        if self.chroma_subsampling not in CHROMA_SUBSAMPLINGS:
            choices = ", ".join(CHROMA_SUBSAMPLINGS)
            raise ValueError(f"chroma_subsampling is {self.chroma_subsampling!r}; it must be one of {choices}")
        if self.channel_order not in CHANNEL_ORDERS:
            choices = ", ".join(CHANNEL_ORDERS)
            raise ValueError(f"channel_order is {self.channel_order!r}; it must be one of {choices}")

    @cached_property
    def quantization_tables(self) -> np.ndarray:
        """int32 [3, B, B]: the divisors of Y, Cb and Cr."""
        return transform.quantization_tables(self.block_size, self.quality)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """The luma grid, in blocks, of an image of (H, W) pixels."""
        return -(-size[0] // self.block_size), -(-size[1] // self.block_size)

    def vocabulary(self, size: tuple[int, int]) -> Vocabulary:
        """What lists of images of (H, W) pixels may contain."""
        return Vocabulary(
            block_size=self.block_size,
            grid=self.grid(size),
            largest_value=transform.largest_value(self.quantization_tables),
            chroma_subsampling=self.chroma_subsampling,
            channel_order=self.channel_order,
        )

    def encode(self, image: np.ndarray) -> SparseDCT:
        """uint8 [H, W, 3] RGB -> SparseDCT.

        Raises:
            ValueError: if the image is not uint8 [H, W, 3] with at least one pixel.
        """
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            raise ValueError(f"the image is {_describe(image)}; it must be a uint8 array [H, W, 3]")
        if image.size == 0:
            raise ValueError(f"the image has shape {image.shape}; it must have at least one pixel")
        return self.from_dct_image(self._transform(image), image.shape[:2])

    def decode(self, sparse: SparseDCT) -> np.ndarray:
        """SparseDCT -> uint8 [H, W, 3] RGB, cropped to the list's size.

        Raises:
            ValueError: if the list is not one that this codec writes; the message names the first offending index.
        """
        blocks = self.to_blocks(self.to_dct_image(sparse))
        (height, width), luma = sparse.size, transform.inverse(blocks[0], self.quantization_tables[0])
        planes = [luma[:height, :width]]
        for component in (1, 2):
            plane = transform.inverse(blocks[component], self.quantization_tables[component])
            if self._chroma_step == 2:
                plane = double(plane[: -(-height // 2), : -(-width // 2)], height, width)
            planes.append(plane[:height, :width])
        return ycc_to_rgb(np.stack(planes, axis=-1))

    def to_dct_image(self, sparse: SparseDCT) -> np.ndarray:
        """SparseDCT -> int32 [h, w, 3 B^2], the dense DCT image.

        Raises:
            ValueError: if the list is not one that this codec writes; the message names the first offending index.
        """
        if self.grid(sparse.size) != tuple(sparse.grid):
            raise ValueError(f"the list's grid is {sparse.grid}, but {sparse.size} pixels make {self.grid(sparse.size)} blocks")
        sparse.validate(self.vocabulary(sparse.size))
        return scatter(sparse, 3 * self.block_size**2)

    def from_dct_image(self, dense: np.ndarray, size: tuple[int, int]) -> SparseDCT:
        """int32 [h, w, 3 B^2] -> SparseDCT of an image of `size` = (H, W) pixels: the inverse of to_dct_image.

        Raises:
            ValueError: if the shape does not fit the size, or a coefficient is one that this codec never writes.
        """
        size = (int(size[0]), int(size[1]))
        vocabulary = self.vocabulary(size)
        shape = (*vocabulary.grid, vocabulary.num_channels)
        if dense.shape != shape:
            raise ValueError(f"the DCT image has shape {dense.shape}; {size} pixels need {shape}")
        flat = dense.reshape(-1, vocabulary.num_channels)[:, vocabulary.channels].T  # [3 B^2 in list order, h * w]
        rank, positions = np.nonzero(flat)  # [L] each, sorted by rank, then position
        sparse = SparseDCT(
            channels=vocabulary.channels[rank],
            positions=positions.astype(np.int32),
            values=flat[rank, positions].astype(np.int32),
            grid=vocabulary.grid,
            size=size,
        )
        sparse.validate(vocabulary)
        return sparse

    @property
    def _chroma_step(self) -> int:
        return 2 if self.chroma_subsampling == "4:2:0" else 1

    def _transform(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> int32 [h, w, 3 B^2]."""
        height, width = image.shape[:2]
        (rows, cols), step, size = self.grid((height, width)), self._chroma_step, self.block_size
        ycc = rgb_to_ycc(image)
        dense = np.zeros((rows, cols, 3, size**2), np.int32)
        order = zigzag(size)
        for component in range(3):
            plane, stride = ycc[..., component], 1 if component == 0 else step
            chroma_rows, chroma_cols = -(-rows // stride), -(-cols // stride)
            if stride == 2:
                # As in libjpeg, the right edge is extended before chroma is halved and the lower edge afterwards.
                plane = halve(pad_edges(plane, height + height % 2, chroma_cols * size * 2))
            plane = pad_edges(plane, chroma_rows * size, chroma_cols * size)
            blocks = transform.forward(plane, self.quantization_tables[component])  # [h', w', B, B]
            dense[::stride, ::stride, component] = blocks.reshape(chroma_rows, chroma_cols, -1)[..., order]
        return dense.reshape(rows, cols, -1)

    def to_blocks(self, dense: np.ndarray) -> list[np.ndarray]:
        """int32 [h, w, 3 B^2] -> the blocks of Y, Cb, Cr, int32 [h', w', B, B] each, on their own grids."""
        raster = np.argsort(zigzag(self.block_size))  # [B^2]: the zigzag index of each raster index
        rows, cols, _ = dense.shape
        components = dense.reshape(rows, cols, 3, -1)[..., raster].reshape(rows, cols, 3, self.block_size, -1)
        step = self._chroma_step
        return [components[:, :, 0], components[::step, ::step, 1], components[::step, ::step, 2]]


def scatter(sparse: SparseDCT, num_channels: int) -> np.ndarray:
    """A list that is known to be valid -> int32 [h, w, num_channels]; channels that it does not name are 0."""
    dense = np.zeros((sparse.grid[0] * sparse.grid[1], num_channels), np.int32)
    dense[sparse.positions, sparse.channels] = sparse.values
    return dense.reshape(*sparse.grid, num_channels)


def _describe(image: object) -> str:
    return f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
