"""DCTCodec: RGB images <-> sparse DCT triples, as section 3 of the paper describes."""

import dataclasses
import itertools
import math
import operator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from dct_jax.codec.channel_order import CHANNEL_ORDERS, ChannelOrder, zigzag
from dct_jax.codec.color import CHROMA_SUBSAMPLINGS, ChromaSubsampling, component_steps, planes_to_rgb, rgb_to_planes
from dct_jax.codec.quantization import largest_value, quantization_tables
from dct_jax.codec.sparse import SparseDCT, image_size
from dct_jax.codec.transform import forward, inverse
from dct_jax.codec.triples import Components, gather, largest_magnitude, scatter_coefficients
from dct_jax.codec.vocabulary import Vocabulary

BLOCK_SIZES = (1, 2, 4, 8, 16, 32)
LARGEST_DIVISOR = 2**16 - 1
"""The largest divisor of a quantisation table; JPEG's widest tables have 16 bits."""
LARGEST_IN_FILES = 2047
"""The largest coefficient of a JPEG file. Encoders such as mozjpeg write some, around black and
white, that no 8-bit picture needs."""
_PIXELS_TOGETHER = 2**16  # of a batch of small images


@dataclass(frozen=True)
class DCTCodec:
    """Turns images into lists of quantised DCT coefficients and back; it is its own configuration.

    Attributes:
        block_size: B, the side of a block in samples: 1, 2, 4, 8 (JPEG's), 16 or 32.
        quality: q, 1..100, scales the quantisation tables as libjpeg does; None with `tables`.
        chroma_subsampling: "4:2:0" halves chroma in both directions, "4:2:2" its width, "4:4:0" its
            height, "4:4:4" keeps it, "4:0:0" drops it.
        channel_order: of the list: "banded" (the paper's), "interleaved" or "luma_first".
        tables: the divisors of Y, Cb and Cr (of Y alone for "4:0:0"), 3 B^2 numbers in raster
            order, in place of a quality's. Tables that are those of a quality become that quality,
            so that equal codecs compare equal. Where B is 1 or 2, qualities may share their tables;
            these become the lowest such quality.

    Raises:
        ValueError: if a field is out of its range.
    """

    block_size: int = 8
    quality: int | None = 50
    chroma_subsampling: ChromaSubsampling = "4:2:0"
    channel_order: ChannelOrder = "banded"
    tables: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_size", _integer("block_size", self.block_size))
        if self.quality is not None:
            object.__setattr__(self, "quality", _integer("quality", self.quality))
        object.__setattr__(self, "tables", tuple(_integer("tables", x) for x in np.ravel(self.tables).tolist()))
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size is {self.block_size}; it must be one of {', '.join(map(str, BLOCK_SIZES))}")
        if self.chroma_subsampling not in CHROMA_SUBSAMPLINGS:
            choices = ", ".join(CHROMA_SUBSAMPLINGS)
            raise ValueError(f"chroma_subsampling is {self.chroma_subsampling!r}; it must be one of {choices}")
        if self.channel_order not in CHANNEL_ORDERS:
            choices = ", ".join(CHANNEL_ORDERS)
            raise ValueError(f"channel_order is {self.channel_order!r}; it must be one of {choices}")
        if (self.quality is None) != bool(self.tables):
            raise ValueError(f"quality is {self.quality} and tables has {len(self.tables)} numbers; give one of the two")
        if self.quality is not None:
            if not 1 <= self.quality <= 100:
                raise ValueError(f"quality is {self.quality}; it must be from 1 to 100")
            return
        numbers = len(component_steps(self.chroma_subsampling)) * self.block_size**2
        if len(self.tables) != numbers:
            raise ValueError(f"tables has {len(self.tables)} numbers; it must have {numbers}")
        for i, divisor in enumerate(self.tables):
            if not 1 <= divisor <= LARGEST_DIVISOR:
                raise ValueError(f"tables[{i}] is {divisor}; it must be from 1 to {LARGEST_DIVISOR}")
        quality = _qualities(self.block_size, len(self.tables)).get(self.tables)
        if quality is not None:
            object.__setattr__(self, "quality", quality)
            object.__setattr__(self, "tables", ())

    @cached_property
    def quantization_tables(self) -> np.ndarray:
        """int32 [3, B, B]: the divisors of Y, Cb and Cr; [1, B, B] without chroma."""
        if self.quality is None:
            tables = np.array(self.tables, np.int32).reshape(-1, self.block_size, self.block_size)
        else:
            tables = quantization_tables(self.block_size, self.quality)[: len(self.component_steps)]
        tables.flags.writeable = False  # all users of this codec share it
        return tables

    @cached_property
    def component_steps(self) -> tuple[tuple[int, int], ...]:
        """The rows and columns of pixels to a sample of each component."""
        return component_steps(self.chroma_subsampling)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the luma grid, in blocks, of an image of (H, W) pixels."""
        height, width = image_size(size)
        return -(-height // self.block_size), -(-width // self.block_size)

    def vocabulary(self, size: tuple[int, int]) -> Vocabulary:
        """Returns what lists of images of (H, W) pixels may contain."""
        return _vocabulary(self, self.grid(size))

    def encode(self, image: np.ndarray) -> SparseDCT:
        """uint8 [H, W, 3] RGB -> SparseDCT.

        Raises:
            ValueError: if the image is not uint8 [H, W, 3] with at least one pixel.
        """
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            raise ValueError(f"the image is {_describe(image)}; it must be a uint8 array [H, W, 3]")
        return self.encode_batch(image[None])[0]

    def encode_batch(self, images: np.ndarray) -> list[SparseDCT]:
        """uint8 [N, H, W, 3] RGB -> N SparseDCT, as by `encode`, but sooner if images are small.

        Raises:
            ValueError: if the images are not uint8 [N, H, W, 3] with at least one pixel each.
        """
        if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3):
            raise ValueError(f"the images are {_describe(images)}; they must be a uint8 array [N, H, W, 3]")
        size = images.shape[1:3]
        if 0 in size:
            raise ValueError(f"an image has shape {images.shape[1:]}; it must have at least one pixel")
        together = max(1, min(len(images), _PIXELS_TOGETHER // (size[0] * size[1])))
        lists: list[SparseDCT] = []
        coefficients, planes = self._room(size, together)
        for first in range(0, len(images), together):
            part = images[first : first + together]
            if len(part) < together:
                coefficients, planes = self._room(size, len(part))
            stacks = (plane.reshape(len(part), len(plane) // len(part), plane.shape[1]) for plane in planes)
            rgb_to_planes(np.ascontiguousarray(part), *self.component_steps[-1], *stacks)
            for plane, table, component in zip(planes, self.quantization_tables, coefficients):
                forward(plane, table, component)
                if self.quality is None:  # rounding between libjpeg's passes may go beyond by 1
                    np.clip(component, -self._largest_value, self._largest_value, out=component)
            lists += self._gather(coefficients, size, len(part))
        return lists

    def decode(self, sparse: SparseDCT) -> np.ndarray:
        """SparseDCT -> uint8 [H, W, 3] RGB, cropped to the list's size.

        Raises:
            ValueError: if the list is not this codec's; the message names the first bad index.
        """
        coefficients = self.to_coefficients(sparse)
        planes = _planes(coefficients)
        for plane, table, component in zip(planes, self.quantization_tables, coefficients):
            inverse(component, table, plane)
        rgb = np.empty((*sparse.size, 3), np.uint8)
        planes_to_rgb(*planes, *self.component_steps[-1], rgb)
        return rgb

    def requantize(self, sparse: SparseDCT) -> SparseDCT:
        """Converts a list of another codec to this one's tables and channel order. Every
        coefficient is multiplied by its old divisor, divided by the new one, rounded half away from
        zero, and limited to this codec's largest value; zeros are dropped.

        Raises:
            ValueError: if the block sizes differ, or the subsamplings do and the list has chroma;
                or the list is damaged.
        """
        other = sparse.codec
        if other.block_size != self.block_size:
            raise ValueError(f"the list's block size is {other.block_size}; it must be {self.block_size}")
        old = other.to_coefficients(sparse)
        if other.chroma_subsampling != self.chroma_subsampling and any(x.any() for x in old[1:]):
            ours, theirs = self.chroma_subsampling, other.chroma_subsampling
            raise ValueError(f"the list has chroma subsampled {theirs}; for a codec of {ours} it must be encoded from pixels")
        new = [np.zeros(shape, np.int16) for shape in self._shapes(sparse.size)]
        for component, (source, target) in enumerate(zip(old, new)):
            if source.shape == target.shape:
                before, after = (x.quantization_tables[component].astype(np.int64)[..., None, None] for x in (other, self))
                rounded = (2 * np.abs(source) * before + after) // (2 * after)
                target[...] = np.sign(source) * np.minimum(rounded, self._largest_value)
        return self.from_coefficients(new, sparse.size)

    def to_coefficients(self, sparse: SparseDCT) -> list[np.ndarray]:
        """SparseDCT -> the quantised coefficients of each component, int16 [B, B, h', w']: vertical
        frequency, horizontal frequency, and block on the component's own grid.

        Raises:
            ValueError: if the list is not this codec's; the message names the first bad index.
        """
        self.check(sparse)
        coefficients = [np.zeros(shape, np.int16) for shape in self._shapes(sparse.size)]
        arrays = (sparse.channels, sparse.positions, sparse.values)
        channels, positions, values = (np.ascontiguousarray(x, np.int32) for x in arrays)
        rows, cols = self.component_steps[-1]
        scatter_coefficients(channels, positions, values, self._order[0], rows, cols, _three(coefficients))
        return coefficients

    def from_coefficients(self, coefficients: list[np.ndarray], size: tuple[int, int]) -> SparseDCT:
        """Inverts `to_coefficients` for an image of `size` = (H, W) pixels.

        Raises:
            ValueError: if these are no integers, the shapes do not fit the size, or a coefficient
                is one that neither this codec nor a JPEG file has.
        """
        expected = self._shapes(size)
        for component, shape in zip(coefficients, expected):
            if not isinstance(component, np.ndarray) or component.dtype.kind not in "iu":
                raise ValueError(f"a component's coefficients are {_describe(component)}; they must be integers {list(shape)}")
        if (shapes := [np.shape(x) for x in coefficients]) != expected:
            raise ValueError(f"the coefficients have shapes {shapes}; {size} pixels need {expected}")
        low, high = -(2**15), 2**15 - 1  # far out stays out of range
        whole = [np.ascontiguousarray(x if x.dtype == np.int16 else x.clip(low, high), np.int16) for x in coefficients]
        (sparse,) = self._gather(whole, size)
        if largest_magnitude(sparse.values) > self._largest_value:
            sparse.validate(self._of_files(size))  # which names it
        return sparse

    def to_dct_image(self, sparse: SparseDCT) -> np.ndarray:
        """SparseDCT -> int32 [h, w, C], the dense DCT image, C = 3 B^2 (B^2 without chroma).

        Raises:
            ValueError: if the list is not this codec's; the message names the first bad index.
        """
        self.check(sparse)
        (rows, cols), channels = sparse.grid, self.vocabulary(sparse.size).num_channels
        dense = np.zeros((rows * cols, channels), np.int32)
        dense[sparse.positions, sparse.channels] = sparse.values
        return dense.reshape(rows, cols, channels)

    def from_dct_image(self, dense: np.ndarray, size: tuple[int, int]) -> SparseDCT:
        """int32 [h, w, C] -> SparseDCT, the inverse of `to_dct_image`, of `size` = (H, W) pixels.

        Raises:
            ValueError: if these are no integers, the shape does not fit the size, or a coefficient
                is one that neither this codec nor a JPEG file has.
        """
        vocabulary = self.vocabulary(size)
        shape = (*vocabulary.grid, vocabulary.num_channels)
        if not isinstance(dense, np.ndarray) or dense.shape != shape or dense.dtype.kind not in "iu":
            raise ValueError(f"the DCT image is {_describe(dense)}; {size} pixels need integers {list(shape)}")
        flat = dense.reshape(-1, vocabulary.num_channels)[:, vocabulary.channels].T  # [C in list order, h * w]
        rank, positions = np.nonzero(flat)  # [L] each, sorted by rank, then position
        values = np.clip(flat[rank, positions], -(2**31), 2**31 - 1).astype(np.int32)  # far out stays out of range
        sparse = SparseDCT(vocabulary.channels[rank], positions.astype(np.int32), values, size, self)
        self.check(sparse)
        return sparse

    def check(self, sparse: SparseDCT) -> None:
        """Raises ValueError, which names the first offending index, unless the list is one of this
        codec or of a JPEG file with its tables. A model takes less: values up to
        `Vocabulary.largest_value`, to which `requantize` limits a file's."""
        if not isinstance(sparse, SparseDCT):
            raise ValueError(f"the list is {_describe(sparse)}; it must be a SparseDCT, as `encode` makes it")
        if sparse.codec != self:
            raise ValueError(f"the list's codec is {sparse.codec}; here it must be {self}: requantize it, or use its own codec")
        sparse.validate(self._of_files(sparse.size))

    @cached_property
    def _largest_value(self) -> int:
        return largest_value(self.quantization_tables)

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """The raster indices of zigzag indices, int32 [B^2]; the channels in the list's order,
        int32 [C]."""
        return zigzag(self.block_size), self.vocabulary((1, 1)).channels

    def _shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """(B, B, h', w') of each component's coefficients."""
        (rows, cols), b = self.grid(size), self.block_size
        return [(b, b, -(-rows // r), -(-cols // c)) for r, c in self.component_steps]

    def _room(self, size: tuple[int, int], number: int) -> tuple[list[np.ndarray], Components]:
        """Allocates the coefficients of images, one above the other, int16 [B, B, N * h', w'] for
        each component, and three planes of samples, uint8 [N * h' * B, w' * B]. All are parts of
        one array, which allocators hand out again without clearing it."""
        shapes = [(b, b, number * rows, cols) for b, _, rows, cols in self._shapes(size)]
        samples = [math.prod(shape) for shape in shapes]
        room, ends = np.empty(3 * sum(samples), np.uint8), list(itertools.accumulate(samples, initial=0))
        whole, rest = room[: 2 * ends[-1]].view(np.int16), room[2 * ends[-1] :]
        coefficients = [whole[i:j].reshape(shape) for i, j, shape in zip(ends, ends[1:], shapes)]
        planes = [rest[i:j].reshape(b * rows, b * cols) for i, j, (b, _, rows, cols) in zip(ends, ends[1:], shapes)]
        return coefficients, _three(planes)

    def _gather(self, coefficients: list[np.ndarray], size: tuple[int, int], number: int = 1) -> list[SparseDCT]:
        stacks = (x.reshape(*x.shape[:2], number, x.shape[2] // number, x.shape[3]) for x in _three(coefficients))
        raster, in_order = self._order
        rows, cols = self.component_steps[-1]
        channels, positions, values, starts = gather(Components(*stacks), raster, in_order, rows, cols)
        parts = itertools.pairwise(starts.tolist())
        return [SparseDCT(channels[i:j], positions[i:j], values[i:j], size, self) for i, j in parts]

    def _of_files(self, size: tuple[int, int]) -> Vocabulary:
        """Returns what lists of JPEG files may contain: larger coefficients than pictures need."""
        vocabulary = self.vocabulary(size)
        if self.block_size != 8 or vocabulary.largest_value >= LARGEST_IN_FILES:
            return vocabulary
        return dataclasses.replace(vocabulary, largest_value=LARGEST_IN_FILES)

    def __reduce__(self) -> tuple:
        return DCTCodec, dataclasses.astuple(self)  # without what is cached

    def __str__(self) -> str:
        tables = f"quality {self.quality}" if self.quality else "tables of its own"
        return f"B = {self.block_size}, {tables}, {self.chroma_subsampling}, {self.channel_order}"


def _three(components: list[np.ndarray]) -> Components:
    """Returns Y, Cb and Cr. Without chroma the latter are empty: compiled code wants one form."""
    return Components(*[*components, *[components[0][..., :0, :0]] * 2][:3])


def _planes(coefficients: list[np.ndarray]) -> Components:
    """Allocates the samples of three components, uint8 [h' * B, w' * B] each."""
    return _three([np.empty((x.shape[0] * x.shape[2], x.shape[1] * x.shape[3]), np.uint8) for x in coefficients])


@lru_cache(maxsize=16)
def _vocabulary(codec: DCTCodec, grid: tuple[int, int]) -> Vocabulary:
    return Vocabulary(
        block_size=codec.block_size,
        grid=grid,
        largest_value=largest_value(codec.quantization_tables),
        chroma_subsampling=codec.chroma_subsampling,
        channel_order=codec.channel_order,
    )


@lru_cache
def _qualities(block_size: int, numbers: int) -> dict[tuple[int, ...], int]:
    """Returns the quality of each standard set of tables, by its first `numbers` numbers."""
    return {
        tuple(quantization_tables(block_size, quality).ravel()[:numbers].tolist()): quality for quality in range(100, 0, -1)
    }


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; it must be an integer") from None


def _describe(image: object) -> str:
    return f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
