"""Codes of pictures that `tokenize` wrote, in place of the pictures."""

from pathlib import Path

from dct_jax.data.codes_file import is_codes_file, read_codes, read_text_codes
from dct_jax.data.sources.record import NO_LABEL, Record


class CodesSource:
    """The grids of a file of codes, or of a text with a line of codes for each picture.

    A picture and its mirrored one are one record, so no split divides them.

    Attributes:
        name, classes: as of any Source; a text has no classes.
    """

    def __init__(self, file: Path) -> None:
        """Opens a file, whose codes stay on the disk; a text is read whole.

        Raises:
            ValueError: if it cannot be read.
        """
        self.name, self._file = f"codes:{file}", file
        if is_codes_file(file):
            found = read_codes(file)
            self._each, self.classes = 1 + found.header.mirrored, found.classes
            self._codes, self._keys, self._labels = found.codes, found.keys, found.labels.tolist()
        else:
            self._each, self.classes, self._codes = 1, (), read_text_codes(file)
            self._keys = [f"line {i + 1}" for i in range(len(self._codes))]
            self._labels = [NO_LABEL] * len(self._codes)

    def __len__(self) -> int:
        return len(self._codes) // self._each

    def __getitem__(self, index: int) -> Record:
        first = index * self._each
        return Record(b"", int(self._labels[first]), self._keys[first], self._codes[first : first + self._each])

    def __reduce__(self) -> tuple[type["CodesSource"], tuple[Path]]:
        """Another process opens the file itself, and is not sent what is in it."""
        return CodesSource, (self._file,)
