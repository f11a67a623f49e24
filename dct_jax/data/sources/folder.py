"""Pictures in a folder: any tree of image files."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dct_jax.data.formats import FORMATS, SUFFIXES
from dct_jax.data.sources.record import NO_LABEL, Record


class FolderSource:
    """The image files below a folder, in the order of their names; hidden files and folders are
    left out, links are followed.

    Attributes:
        name, classes: as of any Source; the class of a file is the first sub-folder on its way.
        paths: the files.
        others: how many files of each other suffix lie there.
    """

    def __init__(self, root: Path, split: str = "") -> None:
        """Lists the pictures in a folder, or in the one of its sub-folders that `split` names.

        Raises:
            ValueError: if there is no such folder, or no image file below it.
        """
        self.name = f"folder:{root}{split and f' ({split})'}"
        if not root.is_dir():
            what = f"{root} is a file; name the folder that it is in" if root.is_file() else f"there is no folder {root}"
            raise ValueError(f"{self.name}: {what}")
        if split and not (root / split).is_dir():
            known = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no sub-folders at all"
            raise ValueError(f"{self.name}: there is no sub-folder {split!r} (data.split); there are {known}")
        self.root = root / split
        files = list(_files(self.root))
        self.paths = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
        self.others = Counter(path.suffix for path in files if path.suffix.lower() not in SUFFIXES)
        if not self.paths:
            raise ValueError(f"{self.name}: no image file below that folder ({', '.join(FORMATS)})")
        self.classes = tuple(sorted({path.relative_to(self.root).parts[0] for path in self.paths if path.parent != self.root}))
        labels = {name: label for label, name in enumerate(self.classes)}
        parts = (path.relative_to(self.root).parts for path in self.paths)
        self._labels = [labels[part[0]] if len(part) > 1 else NO_LABEL for part in parts]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the file cannot be read."""
        path = str(self.paths[index])
        try:
            with open(path, "rb") as file:
                return Record(file.read(), self._labels[index], path)
        except OSError as error:
            raise ValueError(f"{path}: this file cannot be read ({error.strerror})") from None


def _files(root: Path) -> Iterator[Path]:
    seen = set()  # links may lead in a circle
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder, name) for name in files if not name.startswith("."))
        yield from (path for path in paths if path.is_file())
