"""Pictures in a folder: any tree of image files."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dct_jax.data.formats import FORMATS, SUFFIXES
from dct_jax.data.sources.record import NO_LABEL, Record, read_record


class FolderSource:
    """The image files below a folder, in the order of their names; hidden files and folders are
    left out, links are followed.

    Attributes:
        name, classes: as of any Source; the class of a file is the first sub-folder on its way.
        paths: the files.
        others: how many files of each other suffix lie there.
    """

    def __init__(self, root: Path, split: str = "", name: str = "") -> None:
        """Lists the pictures in a folder, or in the one of its sub-folders that `split` names.
        `name` stands for the folder in messages.

        Raises:
            ValueError: if there is no such folder, no image file below it, or a folder or a file
                there that cannot be looked at.
        """
        self.name = f"{name or f'folder:{root}'}{split and f' ({split})'}"
        try:
            if not root.is_dir():
                what = f"{root} is a file; name the folder that it is in" if root.is_file() else f"there is no folder {root}"
                raise ValueError(f"{self.name}: {what}")
            if split and not (root / split).is_dir():
                known = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no sub-folders at all"
                raise ValueError(f"{self.name}: there is no sub-folder {split!r} (data.split); there are {known}")
            self.root = root / split
            files = list(_files(self.root))
        except OSError as error:
            raise ValueError(f"{self.name}: {error.filename} cannot be read ({error.strerror}), nor what is in it") from None
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
        """Raises ValueError if the file cannot be read or is too large."""
        return read_record(self.paths[index], self._labels[index])


def _files(root: Path) -> Iterator[Path]:
    """Finds the files below a folder. A folder is entered once, by its own name if that is below
    the root, or else by the first link to it, whatever the order in which the disk lists names.

    Raises:
        OSError: if a folder or a file cannot be looked at.
    """
    seen: set[str] = set()  # links may lead in a circle
    starts = [str(root)]
    while starts:
        links: list[str] = []
        for start in starts:
            for folder, folders, files in os.walk(start, onerror=_raise):
                real = os.path.realpath(folder)
                if real in seen:
                    folders.clear()
                    continue
                seen.add(real)
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                links += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]  # not walked yet
                paths = (Path(folder, name) for name in files if not name.startswith("."))
                yield from (path for path in paths if path.is_file())
        starts = sorted(links)


def _raise(error: OSError) -> None:
    """For `os.walk`, which goes on without a word otherwise."""
    raise error
