"""SparseDCT <-> .npz files, which carry the codec's settings."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from dct_jax.codec.channel_order import ChannelOrder
from dct_jax.codec.codec import BLOCK_SIZES, DCTCodec
from dct_jax.codec.color import ChromaSubsampling
from dct_jax.codec.sparse import MAX_PIXELS, SparseDCT

ARRAYS = ("channels", "positions", "values")

LARGEST_RATIO = 1032
"""The most bytes of an array for one of the file, which is what deflate reaches: 258 bytes for two
bits. Lists of periodic pictures repeat themselves, so no lower number is safe."""


def save_npz(file: BinaryIO, sparse: SparseDCT) -> None:
    """Writes a list and its codec's settings."""
    arrays = {name: getattr(sparse, name) for name in ARRAYS}
    codec = sparse.codec
    own = {"quality": codec.quality or 0, "tables": np.array(codec.tables, np.int32)}  # 0: the tables are the codec's own
    np.savez_compressed(file, **arrays, size=np.array(sparse.size), **dataclasses.asdict(codec) | own)


def load_npz(path: str | Path) -> SparseDCT:
    """Reads a list.

    Raises:
        ValueError: if the file is missing or is not one that save_npz writes; the message names it.
    """
    try:
        largest = LARGEST_RATIO * Path(path).stat().st_size
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in archive.infolist()):
                raise ValueError("it is compressed otherwise than NumPy does")
            codec = DCTCodec(
                block_size=int(_read(archive, "block_size", (), "iu")),
                quality=int(_read(archive, "quality", (), "iu")) or None,
                chroma_subsampling=cast(ChromaSubsampling, str(_read(archive, "chroma_subsampling", (), "U"))),
                channel_order=cast(ChannelOrder, str(_read(archive, "channel_order", (), "U"))),
                tables=tuple(_read(archive, "tables", (3 * max(BLOCK_SIZES) ** 2,), "i").tolist()),
            )
            height, width = (int(x) for x in _read(archive, "size", (2,), "iu"))
            if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
                raise ValueError(f"the size is {height} x {width} pixels; it must be positive and at most {MAX_PIXELS} in all")
            vocabulary = codec.vocabulary((height, width))
            channels = _read(archive, "channels", (min(vocabulary.longest_list, largest // 4),), "i")
            positions, values = (_read(archive, name, channels.shape, "i") for name in ARRAYS[1:])
            sparse = SparseDCT(channels, positions, values, (height, width), codec)
        codec.check(sparse)
        return dataclasses.replace(sparse, **{name: getattr(sparse, name).astype(np.int32) for name in ARRAYS})
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    # zipfile and NumPy raise nearly anything for a damaged file, even RuntimeError.
    except Exception as error:
        raise ValueError(f"{path}: this is no file of triples ({error})") from None


def _read(archive: zipfile.ZipFile, name: str, largest: tuple[int, ...], kinds: str) -> Any:
    """Reads an array whose header shows one of the kinds of dtype, and no more than `largest`."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} has format version {version}; it must be (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    fits = len(shape) == len(largest) and all(n <= limit for n, limit in zip(shape, largest))
    if not fits or dtype.kind not in kinds or dtype.itemsize > 256:
        raise ValueError(f"{name} is {dtype} {list(shape)}; it must be at most {list(largest)} of kind {kinds}")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
