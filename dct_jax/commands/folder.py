"""A command's work on the files of a folder; a file that cannot be used stops no others."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from dct_jax.commands.arguments import say
from dct_jax.storage.files import read_limited, replacing
from dct_jax.tables import printable

LISTED = 5
"""So many files are named for each reason."""

Content = TypeVar("Content")
Result = TypeVar("Result")


class Folder:
    """The files of a folder: where their results go, which could not be used, and why.

    Use it in this order: `files`, `take` or `leave_out` each, `check`, `contents`, `write`,
    `report`.
    """

    def __init__(self, folder: Path, out: Path | None, done: str) -> None:
        """Opens `folder`. Results go to `out`, or beside the files if None. `done` says what a
        result is: "compressed", say."""
        self._folder, self._done = folder, done
        self._is_beside = out is None or out.resolve() == folder.resolve()
        self._out = folder if out is None else out
        self._outputs: dict[Path, Path] = {}
        self._read: list[tuple[Path, int]] = []  # and the file's bytes
        self._left_out: dict[tuple[str, str], list[Path]] = {}  # by "file" or "folder", and reason

    def files(self, is_wanted: Callable[[str], bool]) -> list[Path]:
        """Returns the tree's files, without hidden ones, whose lower-case suffix is wanted. Leaves
        out folders and files that cannot be looked at. Links to folders are not followed."""
        found = []

        def leave_folder_out(error: OSError) -> None:
            reason = f"what is in it cannot be listed ({error.strerror})"
            self.leave_out(Path(error.filename), reason, "folder")

        for place, folders, names in os.walk(self._folder, onerror=leave_folder_out):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in (Path(place, name) for name in names if not name.startswith(".")):
                try:
                    if is_wanted(file.suffix.lower()) and file.is_file():
                        found.append(file)
                except OSError as error:
                    self.leave_out(file, f"this file cannot be looked at ({error.strerror})")
        return sorted(found)

    def take(self, file: Path, suffix: str) -> None:
        """Names a file's result: the file's name with another suffix. Beside it, the name of a JPEG
        file also says what was done, as the original may stand there."""
        is_copy = self._is_beside and suffix == ".jpg"
        name = f"{file.stem}-{self._done}{suffix}" if is_copy else f"{file.stem}{suffix}"
        self._outputs[file] = self._out / file.relative_to(self._folder).with_name(name)

    def leave_out(self, path: Path, reason: str, kind: str = "file") -> None:
        """Notes why a file or a folder cannot be used; equal reasons are listed together."""
        self._left_out.setdefault((kind, reason.removeprefix(f"{path}: ")), []).append(path)

    def check(self) -> None:
        """Raises ValueError if there is nothing to do, two files would become one, or nothing can
        be written to the folder of the results, which is made later."""
        if not self._outputs and not self._left_out:
            raise ValueError(f"{self._folder}: no file in this folder can be {self._done}")
        first: dict[Path, Path] = {}
        for file, out in self._outputs.items():
            if (other := first.setdefault(out, file)) != file:
                raise ValueError(f"{other} and {file} would both become {out}; rename one of them")
        nearest = next(place for place in (self._out, *self._out.absolute().parents) if place.exists())
        if not self._is_beside and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise ValueError(f"{self._out} cannot be written; name another --out")

    def contents(self, parse: Callable[[bytes], Content]) -> Iterator[Content]:
        """Yields what `parse` makes of each file's bytes. Leaves a file out if it cannot be read,
        or `parse` raises ValueError."""
        for file in self._outputs:
            try:
                data = read_limited(file)
                content = parse(data)
            except ValueError as error:
                self.leave_out(file, str(error))
            else:
                self._read.append((file, len(data)))
                yield content

    def write(
        self, results: Iterable[tuple[int, Result | ValueError]], to_bytes: Callable[[Result], bytes]
    ) -> Mapping[int, int]:
        """Writes a file for each result, numbered as the `contents`. Leaves a file out if its
        result is a ValueError, or cannot have its name or place.

        Returns:
            By number, the bytes of each file that was written.

        Raises:
            OSError: if the disk is full.
        """
        written: dict[int, int] = {}
        with tqdm(total=len(self._outputs), unit=" files", disable=None) as bar:
            for number, result in results:
                file, _ = self._read[number]
                out = self._outputs[file]
                bar.update()
                try:
                    if isinstance(result, ValueError):
                        raise result
                    data = to_bytes(result)
                    with replacing(out) as path:
                        path.write_bytes(data)
                except ValueError as error:
                    self.leave_out(file, str(error).replace(f"{out} ", "its result ", 1))  # equal for many files
                else:
                    written[number] = len(data)
        return written

    def report(self, written: Mapping[int, int], lines: Sequence[str] = ()) -> int:
        """Says what was done, then `lines`, and for each reason which files were left out.

        Returns:
            The command's exit code: 2 if a file was left out.
        """
        done, before, after = len(written), sum(self._read[number][1] for number in written), sum(written.values())
        share = f" ({100 * after / before:.1f} %)" if before else ""
        count = f"{done} file{'s' * (done != 1)} {self._done}"
        say(f"{count}: {before:,} bytes became {after:,}{share} in {self._out}", *lines)
        for (kind, reason), paths in self._left_out.items():
            names = ", ".join(str(path.relative_to(self._folder)) for path in paths[:LISTED])
            more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
            count = f"{len(paths)} {kind}{'s were' if len(paths) != 1 else ' was'}"
            print(printable(f"dct_jax: {count} left out ({names}{more}): {reason}"), file=sys.stderr)
        return 2 if self._left_out else 0
