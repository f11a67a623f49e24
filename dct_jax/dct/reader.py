"""Makes, from records, the lists of triples that a DCTransformer trains on, and chunks of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.codec.cropping import crop, mirror, smallest_steps
from dct_jax.data.crops import check_fits, seen_image
from dct_jax.data.reader import label_of
from dct_jax.data.skipped import Unusable
from dct_jax.data.sources import Record
from dct_jax.dct.chunks import Chunk, choose_chunk, make_chunks
from dct_jax.dct.config import DCTConfig

TOGETHER = 2**18
"""Images of one size are encoded together up to so many pixels; beyond, it gains nothing."""


class SeenPicture(NamedTuple):
    """A picture, uint8 [H, W, 3], or a list with `data.own_coefficients`; its class; and the codec
    of its list."""

    content: np.ndarray | SparseDCT
    label: int
    codec: DCTCodec


class HeldOut(NamedTuple):
    """N lists to evaluate, and the class of each, int32 [N]."""

    lists: list[SparseDCT]
    labels: np.ndarray


class ChunkReader:
    """Makes chunks of records: `data.reader.Reader` for a DCTransformer."""

    def __init__(self, config: DCTConfig) -> None:
        self.config, self.num_classes = config, config.model.num_classes
        self._canvas = config.vocabulary

    def see(self, record: Record, rng: np.random.Generator, train: bool) -> SeenPicture:
        """Takes a crop, or the whole picture, before it is encoded; or a part of the file's own
        list. With `model.qualities` it chooses one of them. Raises ValueError if the picture cannot
        be used."""
        label, flip = label_of(record, self.num_classes, self.config.classes_field), train and self.config.data.flip
        if self.config.data.own_coefficients:
            sparse = own_list(record, self.config, flip, rng)
            return SeenPicture(sparse, label, sparse.codec)
        image = seen_image(record, self.config.data, flip, rng)
        return SeenPicture(image, label, choose_codec(self.config, rng))

    def batch(self, seen: Sequence[SeenPicture], rngs: Sequence[np.random.Generator]) -> Chunk[np.ndarray]:
        """Makes a chunk of each list; early chunks come more often. Some classes are hidden."""
        model, lists = self.config.model, self._lists(seen)
        indices = [choose_chunk(len(one), model.chunk_size, model.max_chunks, rng) for one, rng in zip(lists, rngs)]
        labels = [self._perhaps_hidden(one.label, rng) for one, rng in zip(seen, rngs)]
        return make_chunks(lists, indices, labels, self._canvas, model.chunk_size, model.overlap)

    def held_out(self, seen: Sequence[SeenPicture]) -> HeldOut:
        """Returns the lists and classes of pictures."""
        # They are encoded one by one, as a list does not depend on how many are encoded together.
        lists = [sparse for one in seen for sparse in self._lists([one])]
        return HeldOut(lists, np.array([one.label for one in seen], np.int32))

    def picture(self, seen: SeenPicture) -> np.ndarray:
        """Returns the picture before the codec quantises it, uint8 [H, W, 3]."""
        return seen.codec.decode(seen.content) if isinstance(seen.content, SparseDCT) else seen.content

    def label(self, seen: SeenPicture) -> int:
        """Returns the picture's class; 0 without classes."""
        return seen.label

    def example(self, batch_size: int = 1) -> Chunk[np.ndarray]:
        """Makes chunks of empty lists, for their shapes."""
        model, zeros = self.config.model, [0] * batch_size
        blanks = [SparseDCT.empty(self.config.data.image_size, self.config.codec)] * batch_size
        return make_chunks(blanks, zeros, zeros, self._canvas, model.chunk_size, model.overlap)

    def _lists(self, seen: Sequence[SeenPicture]) -> list[SparseDCT]:
        """Returns the list of each picture. Pictures of one codec are encoded together."""
        lists = {i: one.content for i, one in enumerate(seen) if isinstance(one.content, SparseDCT)}
        images: dict[DCTCodec, dict[int, np.ndarray]] = {}
        for i, one in enumerate(seen):
            if isinstance(one.content, np.ndarray):
                images.setdefault(one.codec, {})[i] = one.content
        for codec, of_codec in images.items():
            lists |= zip(of_codec, encode_all(codec, list(of_codec.values())))
        return [lists[i] for i in range(len(seen))]

    def _perhaps_hidden(self, label: int, rng: np.random.Generator) -> int:
        """Returns the label, or hides it with the probability `training.label_dropout`."""
        dropout = self.config.training.label_dropout
        return self.num_classes if dropout and rng.random() < dropout else label


def choose_codec(config: DCTConfig, rng: np.random.Generator) -> DCTCodec:
    """Chooses one of the qualities that the model knows at random. Without qualities it returns the
    run's codec, and nothing is random."""
    if not config.model.qualities:
        return config.codec
    low, high = config.model.qualities
    return config.codec_of(int(rng.integers(low, high + 1)))


def own_list(record: Record, config: DCTConfig, flip: bool, rng: np.random.Generator) -> SparseDCT:
    """Takes a JPEG file's own coefficients: a crop of whole blocks, or all. The list has the tables
    of the codec; with `model.qualities` those of the file's own quality if the model knows it, else
    those of a random one.

    Raises:
        ValueError: if the file cannot be read, is no JPEG file, has another subsampling than the
            codec, or does not fit.
    """
    if isinstance(record.image, np.ndarray):
        raise Unusable("no JPEG file", "the source gives pixels; data.own_coefficients needs JPEG files")
    sparse = SparseDCT.from_jpeg(record.image, config.codec.channel_order, config.data.upright)
    size, (height, width) = config.data.image_size, sparse.size
    if config.data.fit == "whole":
        check_fits(sparse.size, size)
    else:
        if height < size[0] or width < size[1]:
            raise Unusable("too small", f"the picture has {height} x {width} pixels; it must have {size[0]} x {size[1]}")
        rows, cols = smallest_steps(sparse)
        top, left = rng.integers((height - size[0]) // rows + 1) * rows, rng.integers((width - size[1]) // cols + 1) * cols
        sparse = sparse if sparse.size == tuple(size) else crop(sparse, int(top), int(left), size)
    quality = sparse.codec.quality
    codec = config.codec_of(quality) if config.knows(quality) else choose_codec(config, rng)
    largest = codec.vocabulary(sparse.size).largest_value
    if sparse.codec != codec or (np.abs(sparse.values) > largest).any():  # which some encoders write
        sparse = codec.requantize(sparse)
    return mirror(sparse) if flip and rng.random() < 0.5 else sparse


def encode_all(codec: DCTCodec, images: Sequence[np.ndarray]) -> list[SparseDCT]:
    """Encodes images, uint8 [H, W, 3] each; small ones of one size together."""
    if len(images) > 1 and images[0].size * len(images) <= 3 * TOGETHER and len({image.shape for image in images}) == 1:
        return codec.encode_batch(np.stack(images))
    return [codec.encode(image) for image in images]
