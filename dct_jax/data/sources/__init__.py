"""Where pictures come from: the bundled ones, folders, tar files, idx files and TFDS data sets."""

import os
from pathlib import Path

from dct_jax.data.sources.folder import FolderSource
from dct_jax.data.sources.idx import IdxSource
from dct_jax.data.sources.record import NO_LABEL, SUFFIXES, Part, Record, Source, hold_out

__all__ = ["FASHION", "LANDSCAPES", "NO_LABEL", "SUFFIXES", "Part", "Record", "Source", "hold_out", "open_source"]

LANDSCAPES = Path(__file__).parent.parent / "landscapes"
FASHION = LANDSCAPES.with_name("fashion")


def open_source(source: str, split: str = "") -> Source:
    """The pictures that DataConfig.source names.

    Args:
        source: "landscapes", "fashion", "folder:PATH", "tar:PATH", "idx:FOLDER", or "tfds:NAME[/CONFIG][:VERSION]".
        split: of a TFDS data set, as TFDS writes it, and "" for "train"; of a folder or a tar file, the sub-folder to take; of
            "fashion" and idx files, "train" or "test"; "" for all.

    Raises:
        ValueError: if the source is unknown, cannot be read, or has no pictures.
    """
    kind, _, rest = source.partition(":")
    path = Path(os.path.expanduser(rest))  # the method of Path's fails for a user that there is not
    if source == "landscapes":
        return FolderSource(LANDSCAPES, split)
    if source == "fashion":
        return IdxSource(FASHION, split)
    if kind == "folder" and rest:
        return FolderSource(path, split)
    if kind == "tar" and rest:
        from dct_jax.data.sources.tar import TarSource

        return TarSource(path, split)
    if kind == "idx" and rest:
        return IdxSource(path, split)
    if kind == "tfds" and rest:
        from dct_jax.data.sources.tfds import TFDSSource  # slow to import

        return TFDSSource(rest, split)
    known = "'landscapes', 'fashion', 'folder:PATH', 'tar:PATH', 'idx:FOLDER' or 'tfds:NAME[/CONFIG][:VERSION]'"
    raise ValueError(f"data.source is {source!r}; it must be {known}")
