"""Where pictures come from: the bundled ones, folders, tar, CSV and idx files, TFDS data sets; and
files of codes, which stand for pictures."""

import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dct_jax.config import DataConfig
from dct_jax.data.sources.csv import CsvSource
from dct_jax.data.sources.folder import FolderSource
from dct_jax.data.sources.idx import IdxSource
from dct_jax.data.sources.record import NO_LABEL, Part, Record, Source, hold_out
from dct_jax.storage.mirror import fetch, is_url

if TYPE_CHECKING:
    from dct_jax.data.sources.tar import TarSource

__all__ = [
    "BUNDLED",
    "FASHION",
    "LANDSCAPES",
    "NO_LABEL",
    "Part",
    "Record",
    "Source",
    "check_classes",
    "hold_out",
    "open_source",
    "open_sources",
    "source_path",
]

log = logging.getLogger(__name__)

LANDSCAPES = Path(__file__).parent.parent / "landscapes"
FASHION = LANDSCAPES.with_name("fashion")
BUNDLED = ("landscapes", "fashion")
"""Sources that come with the package."""


def open_source(source: str, split: str = "") -> Source:
    """Opens the pictures that DataConfig.source names.

    Args:
        source: "landscapes", "fashion", "folder:PATH", "tar:PATH", "csv:FILE", "idx:FOLDER",
            "codes:FILE", or "tfds:NAME[/CONFIG][:VERSION]".
        split: of a TFDS data set, as TFDS writes it, and "" for "train"; of a folder or a tar file,
            the sub-folder to take; of "fashion" and idx files, "train" or "test"; "" for all.

    Raises:
        ValueError: if the source is unknown, cannot be read, or has no pictures.
    """
    kind, _, rest = source.partition(":")
    path = source_path(source)
    if source == "landscapes":
        return FolderSource(LANDSCAPES, split, source)
    if source == "fashion":
        return IdxSource(FASHION, split, source)
    if kind == "folder" and rest:
        return _report_others(FolderSource(path, split))
    if kind == "tar" and rest:
        from dct_jax.data.sources.tar import TarSource

        return _report_others(TarSource(path, split))
    if kind == "csv" and rest:
        if split:
            raise ValueError(f"data.split is {split!r}; {source} has no parts: name a CSV file of the part")
        return CsvSource(path)
    if kind == "codes" and rest:
        from dct_jax.data.sources.codes import CodesSource

        if split:
            raise ValueError(f"data.split is {split!r}; {source} has no parts: name a file of the part's codes")
        return CodesSource(path)
    if kind == "idx" and rest:
        return IdxSource(path, split)
    if kind == "tfds" and rest:
        from dct_jax.data.sources.tfds import TFDSSource  # slow to import

        return TFDSSource(rest, split)
    known = (
        "'landscapes', 'fashion', 'folder:PATH', 'tar:PATH', 'csv:FILE', 'idx:FOLDER', 'codes:FILE' or "
        "'tfds:NAME[/CONFIG][:VERSION]'"
    )
    raise ValueError(f"data.source is {source!r}; it must be {known}")


def source_path(source: str) -> Path:
    """Returns where the files of a source lie on this disk; those at a URL are fetched."""
    kind, _, rest = source.partition(":")
    # Path's own method fails for a user that does not exist.
    return fetch(rest) if is_url(rest) and kind != "tfds" else Path(os.path.expanduser(rest))


def open_sources(data: DataConfig) -> tuple[Source, Source]:
    """Opens the pictures to train on, and those that are held out.

    Raises:
        ValueError: if there are none.
    """
    if data.held_out_split and _overlap(data.source, data.split, data.held_out_split):
        raise ValueError(
            f"data.held_out_split is {data.held_out_split!r} and data.split is {data.split!r}: held-out pictures would be "
            "trained on; name another data.split"
        )
    source = open_source(data.source, data.split)
    if data.held_out_split:
        return source, open_source(data.source, data.held_out_split)
    if isinstance(source, CsvSource):
        source.check_rows()
    return hold_out(source, data.held_out_every)


def _overlap(source: str, split: str, held_out: str) -> bool:
    """Returns whether two splits have the same pictures: "" is "train" for TFDS, whose "all" is
    every split, and all that another source has; one of two folders may lie in the other one. What
    two slices of one of TFDS's splits share is found only if they are equal."""
    if source.startswith("tfds:"):
        ours, theirs = ({part.strip() for part in text.split("+")} for text in (split or "train", held_out))
        shared = {part.partition("[")[0] for part in ours} & {part.partition("[")[0] for part in theirs}
        return "all" in ours | theirs or bool(ours & theirs or shared & (ours | theirs))  # a name alone is the whole split
    ours_at, theirs_at = PurePosixPath(split), PurePosixPath(held_out)
    return ours_at.is_relative_to(theirs_at) or theirs_at.is_relative_to(ours_at)


def check_classes(num_classes: int, field: str, training: Source, held_out: Source) -> None:
    """Raises ValueError unless pictures have the classes that a model needs.

    Args:
        num_classes: of the model.
        field: the path of the field that says it, `RunConfig.classes_field`.
        training, held_out: the pictures.
    """
    found = len(training.classes)
    if not num_classes:
        return
    numbers_alone = not found and training[0].label != NO_LABEL
    if num_classes != found and not numbers_alone:
        raise ValueError(f"{field} is {num_classes}, but {training.name} has {found} classes")
    if held_out.classes != training.classes:
        raise ValueError(f"{held_out.name} has other classes than {training.name}; with {field} they must be the same")


_reports: set[str] = set()


def _report_others(source: "FolderSource | TarSource") -> Source:
    """Logs once what a source leaves out, so that nobody wonders where pictures have gone."""
    if source.others and source.name not in _reports:
        _reports.add(source.name)
        kinds = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in source.others.most_common(10))
        log.warning("%s: %d files are not taken for pictures (%s)", source.name, source.others.total(), kinds)
    return source
