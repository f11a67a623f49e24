"""Pictures that a CSV file lists."""

import csv
import os
from collections import Counter
from pathlib import Path

from dct_jax.data.sources.record import NO_LABEL, Record, read_record

PATH, LABEL = "image_path", "label"
LARGEST_FILE = 2**28
"""Bytes of a CSV file."""


class CsvSource:
    """The pictures of a CSV file's rows.

    Attributes:
        name, classes: as of any Source; the classes are the different labels, in order.
        paths: of the pictures, row after row.
    """

    def __init__(self, file: Path) -> None:
        """Reads the rows of a file with the column image_path and perhaps the column label.

        Args:
            file: of the rows; paths that are not absolute begin in its folder.

        Raises:
            ValueError: if it cannot be read, has no rows or no such column, or names missing files.
        """
        self.name = f"csv:{file}"
        try:
            if file.stat().st_size > LARGEST_FILE:
                raise ValueError(f"{self.name}: this file has more than {LARGEST_FILE >> 20} MiB")
            with file.open(newline="", encoding="utf-8-sig") as opened:  # Excel begins UTF-8 with a byte order mark
                rows = csv.DictReader(opened)
                columns = rows.fieldnames or []
                if PATH not in columns:
                    raise ValueError(f"{self.name}: there is no column {PATH!r}; there are {', '.join(columns) or 'none'}")
                found = [(row[PATH] or "", row.get(LABEL) or "") for row in rows]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{self.name}: this file cannot be read ({error})") from None
        if not found:
            raise ValueError(f"{self.name}: this file has no rows")
        self.paths = [file.parent / path for path, _ in found]
        missing = [path for path in self.paths if not os.path.isfile(path)]  # Path's own method fails for a name too long
        if missing:
            raise ValueError(f"{self.name}: {len(missing)} of its {len(found)} files are missing, such as {missing[0]}")
        self.classes = tuple(sorted({label for _, label in found if label}))
        numbers = {label: number for number, label in enumerate(self.classes)}
        self._labels = [numbers.get(label, NO_LABEL) for _, label in found]

    def check_rows(self) -> None:
        """Raises ValueError if a file has two rows, of which one might be held out."""
        twice = next((path for path, number in Counter(self.paths).items() if number > 1), None)
        if twice:
            what = f"{len(self)} rows name {len(set(self.paths))} files, such as {twice} more than once"
            raise ValueError(f"{self.name}: {what}; give each file one row, as one of two might be held out")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the file cannot be read or is too large."""
        return read_record(self.paths[index], self._labels[index])
