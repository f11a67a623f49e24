"""Preparing TFDS data sets, its own ones and those of anyone's pictures, as array_record files,
which `TFDSSource` reads."""

import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from dct_jax.data.formats import FORMATS
from dct_jax.data.pixels import NO_IMAGE
from dct_jax.data.sources import NO_LABEL, Source, open_source
from dct_jax.data.sources.idx import IdxSource
from dct_jax.data.sources.tfds import import_tfds, is_prepared, one_line, open_builder, wrong_format
from dct_jax.storage.files import replacing_folder

SPLITS = frozenset({"train", "validation", "val", "test"})
VERSION = "1.0.0"  # TFDS wants one
SHARD_BYTES = 256 << 20
WRITER_OPTIONS = "group_size:1,uncompressed"  # one record at a time is read; images are compressed already

log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """A data set that was written.

    Attributes:
        folder: where it is; `tfds:FOLDER` reads it.
        splits: how many pictures each split has.
        skipped: how many files were left out, as they are no readable images.
    """

    folder: Path
    splits: dict[str, int]
    skipped: int


def prepare_tfds(dataset: str, data_dir: Path | None = None) -> Path:
    """Downloads one of TFDS's data sets, NAME[/CONFIG][:VERSION], and prepares it, below `data_dir`
    or where TFDS looks.

    Returns:
        the folder of the data set.

    Raises:
        ValueError: if there is no such data set, if it is prepared otherwise, if TensorFlow is not
            installed, or for whatever TFDS cannot do.
    """
    options = {} if data_dir is None else {"data_dir": os.path.expanduser(data_dir)}
    builder = open_builder(dataset, **options)
    if is_prepared(builder):
        if reason := wrong_format(builder):
            raise ValueError(f"tfds:{dataset}: {reason}")
        return Path(builder.data_path)
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        install = "pip install 'dct_jax[prepare]'"
        raise ValueError(f"preparing {dataset} needs TensorFlow, and that cannot be imported ({error}): {install}") from None
    builder = open_builder(dataset, file_format="array_record", **options)
    try:
        builder.download_and_prepare()
    except Exception as error:  # it raises errors of its own and of whatever it calls
        raise ValueError(f"{dataset} cannot be prepared: {one_line(error)}") from None
    return Path(builder.data_path)


def prepare_source(source: str, out: Path, name: str = "") -> Prepared:
    """Writes the pictures of "folder:PATH", "tar:PATH" or "idx:FOLDER" as a TFDS data set, without
    TensorFlow and without decoding them.

    The features are "image", the file as it is, or of idx files a PNG file of the pixels; "label"
    if there are classes; and "key", the file's name below PATH. Folders train, validation, val and
    test, if there are no others, become splits, as do the parts of idx files; otherwise all is
    "train". Records lie in a random order, equal every time, so that a part of a split, as
    "train[:90%]", has all classes.

    Args:
        source: the pictures.
        out: where to make the folder NAME/1.0.0.
        name: of the data set; made from PATH by default.

    Raises:
        ValueError: if the source cannot be opened, a split has no readable image, the name is no
            name for TFDS, or the folder is there already or cannot be written.
    """
    tfds = import_tfds()
    root = Path(os.path.expanduser(source.partition(":")[2]))
    name = name or re.sub(r"\W+", "_", root.resolve().name.lower().removesuffix(".tar")).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"the data set's name is {name!r}; it must begin with a small letter and have only these, digits and _ (--name)"
        )
    folder = Path(os.path.expanduser(out)) / name / VERSION
    if folder.exists():
        raise ValueError(f"{folder} is there already; remove it, or choose another --name or --out")
    sources = _splits(source)
    features = {"image": tfds.features.Image(), "key": tfds.features.Text()}
    classes = _classes(list(sources.values()))
    if classes:
        features["label"] = tfds.features.ClassLabel(names=classes)

    skipped: list[str] = []
    infos = []
    bar = tqdm(total=sum(map(len, sources.values())), unit=" pictures", disable=None)
    with bar, replacing_folder(folder) as temporary:
        identity = tfds.core.dataset_info.DatasetIdentity(name, tfds.core.Version(VERSION), str(temporary), module_name="")
        info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
        info.set_file_format("array_record")
        for split, part in sources.items():
            template = tfds.core.ShardedFileTemplate(temporary, dataset_name=name, split=split, filetype_suffix="array_record")
            lengths, size = _write(_records(part, f"{root}/", info.features, skipped, bar), template)
            if not lengths:
                raise ValueError(f"{part.name}: none of the {len(part)} files is a readable image; the last one: {skipped[-1]}")
            infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size))
        info.set_splits(tfds.core.splits.SplitDict(infos))
        info.write_to_directory(temporary)
    return Prepared(folder, {split.name: split.num_examples for split in infos}, len(skipped))


def _splits(source: str) -> dict[str, Source]:
    whole = open_source(source)
    if isinstance(whole, IdxSource):
        return {part: open_source(source, part) for part in whole.parts}
    if whole.classes and SPLITS.issuperset(whole.classes):
        parts = {split: open_source(source, split) for split in whole.classes}
        if sum(map(len, parts.values())) == len(whole):  # else there are pictures beside the folders
            return parts
    return {"train": whole}


def _classes(sources: Sequence[Source]) -> list[str]:
    """Returns the classes of all splits. If all splits have equal classes, these keep their order,
    and labels their numbers; otherwise they are sorted."""
    if len({source.classes for source in sources}) == 1:
        return list(sources[0].classes)
    return sorted({name for source in sources for name in source.classes})


def _records(source: Source, root: str, features: Any, skipped: list[str], bar: tqdm) -> Iterator[bytes]:
    """Makes the serialised records of the readable images of a source; why others are left out is
    appended to `skipped`."""
    for index in np.random.default_rng(0).permutation(len(source)):
        bar.update()
        try:
            image, label, key, _ = source[int(index)]
            image = image if isinstance(image, bytes) else _png(image)
            reason = _why_no_image(image, key)
        except ValueError as error:
            reason = str(error)
        if reason:
            log.warning("leaving out %s", reason)
            skipped.append(reason)
            continue
        example: dict[str, Any] = {"image": image, "key": os.fsencode(key.removeprefix(root))}
        if "label" in features:
            example["label"] = source.classes[label] if label != NO_LABEL else NO_LABEL
        yield features.serialize_example(example)


def _png(image: np.ndarray) -> bytes:
    """Returns a PNG file of pixels, uint8 [H, W, 3]; where all are grey, a grey one."""
    file = io.BytesIO()
    is_grey = (image == image[..., :1]).all()
    Image.fromarray(image[..., 0] if is_grey else image).save(file, "PNG")
    return file.getvalue()


def _why_no_image(data: bytes, key: str) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)):  # reads the header alone
            return ""
    except Exception:  # Pillow raises nearly anything for a damaged file
        return f"{key}: {NO_IMAGE}"


def _write(records: Iterator[bytes], template: Any) -> tuple[list[int], int]:
    """Writes one split; returns the numbers of records in its files, and all their bytes. Raises
    ValueError if the disk is full."""
    from array_record.python.array_record_module import ArrayRecordWriter

    lengths: list[int] = []
    total, size = 0, SHARD_BYTES
    writer: Any = None
    for record in records:
        with _refused_in_a_line():
            if size + len(record) > SHARD_BYTES:
                if writer:
                    writer.close()
                writer = ArrayRecordWriter(str(template.data_dir / f"{len(lengths)}"), WRITER_OPTIONS)
                lengths.append(0)
                size = 0
            writer.write(record)
        lengths[-1] += 1
        size += len(record)
        total += len(record)
    if writer:
        with _refused_in_a_line():
            writer.close()
    # Their names tell how many there are.
    for shard in range(len(lengths)):
        (template.data_dir / f"{shard}").rename(template.sharded_filepath(shard_index=shard, num_shards=len(lengths)))
    return lengths, total


@contextmanager
def _refused_in_a_line() -> Iterator[None]:
    """Turns array_record's error, as on a full disk, into ValueError."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"the data set cannot be written: {one_line(error)}") from None
